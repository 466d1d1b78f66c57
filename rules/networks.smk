# Networks are checked before any is trained, each in a job of a second or so. Training waits for it and does not depend on
# it: no number does. So the file is an input only while it is missing, of runs that are not there, or that are of the
# network as it was before; what is there already is not trained again because of a check. (An input that is `ancient`
# would not do: where Snakemake makes such a one again, it does not look at its dependants' own params.) The file's name
# holds a digest of what the check depends on, which training of that network depends on too.
from mcoherence.files.digests import SHORT_DIGEST, short_digest
from mcoherence.study.network_uses import checked_network, method_that_counts, network_use

CHECKED = f"{CHECKS}/{{dataset}}/{{model}}/{{method}}-{{check}}.json"


@cache
def check_of(dataset, model, method):
    """The file of the check of a network, and whether there is one of that network as it was before."""
    network = canonical_json(checked_network(config, dataset, model))
    key = short_digest(f"{network} {code_of(job_code.checking(config, model))}")
    path = Path(CHECKED.format(dataset=dataset, model=model, method=method, check=key))
    return path, any(path.parent.glob(f"{method}-*.json"))


def networks_checked(wildcards):
    """Input of training from fresh weights: the check, where it is to be waited for."""
    method = method_that_counts(config, wildcards.model, wildcards.optimizer)
    path, checked_before = check_of(wildcards.dataset, wildcards.model, method)
    if path.exists():
        return []
    there = Path(run_of(wildcards).training_log(RESULTS, 0)).exists()
    return [] if there and not checked_before else str(path)


rule check_network:
    """Whether a network can be trained, by a method where it is a user's own, and measured."""
    output:
        checked=CHECKED,
    log:
        f"{LOGS}/check_network/{{dataset}}/{{model}}/{{method}}-{{check}}.log",
    benchmark:
        f"{BENCHMARKS}/check_network/{{dataset}}/{{model}}/{{method}}-{{check}}.tsv"
    wildcard_constraints:
        method="[a-z0-9_]+",
        check=f"[0-9a-f]{{{SHORT_DIGEST}}}",
    conda:
        CONDA
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
    params:
        settings=lambda w: canonical_json(network_use(config, w.dataset, w.model, w.method)),
        code=lambda w: code_of(job_code.checking(config, w.model)),
    message:
        "Check the network {wildcards.model} for {wildcards.dataset}"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.check_network --settings {params.settings:q} --code {params.code:q}"
        " --device {resources.device:q} --checked {output.checked:q}"
        f"{TO_LOG}"
