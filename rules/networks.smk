# Networks are checked before any is trained, each in a job of a second or so. Training waits for it and does not depend on
# it: no number does. So the file is an input only while it is missing, of runs that are not there, or that are of the
# network as it was before; what is there already is not trained again because of a check. (An input that is `ancient`
# would not do: where Snakemake makes such a one again, it does not look at its dependants' own params.) The file's name
# holds two digests: of the network, on which its training depends too, and of what is done with it, on which that may not
# depend: where only the latter is new, what is trained is not checked again. A network of
# a user's own makes of the number of classes what it likes. Where only the data tell that number, such a network is checked
# twice: at once, for ten classes, and once the images are there, for theirs.
for rule_name, path, images, words in (
    ("check_network", CHECKED, [], "for"),
    ("check_network_on_data", CHECKED_ON_DATA, IMAGES, "for the classes of"),
):

    rule:
        name:
            rule_name
        input:
            images=images,
        output:
            checked=path,
        log:
            f"{LOGS}/{rule_name}/{{dataset}}/{{model}}/{{method}}-{{check}}-{{used}}.log",
        benchmark:
            f"{BENCHMARKS}/{rule_name}/{{dataset}}/{{model}}/{{method}}-{{check}}-{{used}}.tsv"
        wildcard_constraints:
            method="[a-z0-9_]+",
            check=f"[0-9a-f]{{{SHORT_DIGEST}}}",
            used=f"[0-9a-f]{{{SHORT_DIGEST}}}",
        priority: 10  # before any training, that of other networks too
        conda:
            CONDA
        resources:
            mem_mb=growing(lambda w: estimates.check_mb(config, w.dataset, w.model)),
            runtime=lasting(30),
            device=config["device"],
        params:
            settings=lambda w: canonical_json(network_use(config, w.dataset, w.model, w.method)),
            code=lambda w: code_of(job_code.checking(config, w.model)),
        message:
            f"Check the network {{wildcards.model}} {words} {{wildcards.dataset}}, method {{wildcards.method}}"
        shell:
            f"{ON_CPU}"
            "python -m workflow_scripts.check_network --settings {params.settings:q} --code {params.code:q}"
            " --device {resources.device:q} --images {input.images:q} --checked {output.checked:q}"
            f"{TO_LOG}"
