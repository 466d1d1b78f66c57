# Where the split varies with the seed, every seed has images of its own besides those of the entry, which say what they are
# images of.
for rule_name, path, job_name, whose in (
    ("prepare_dataset", IMAGES, "{dataset}", "{wildcards.dataset}"),
    ("prepare_dataset_of_seed", IMAGES_OF_SEED, "{dataset}/seed{seed}", "{wildcards.dataset}, seed {wildcards.seed}"),
):

    rule:
        name:
            rule_name
        output:
            images=path,
        log:
            f"{LOGS}/{rule_name}/{job_name}.log",
        benchmark:
            f"{BENCHMARKS}/{rule_name}/{job_name}.tsv"
        priority: 10  # before any training: what is wrong with data, and with functions of the user's own, is told first
        conda:
            CONDA
        threads: lambda w: 16 if source_of(w) in DECODED_SOURCES else 1
        resources:
            mem_mb=lambda w, threads, attempt: attempt * (3000 + 250 * threads),
            runtime=lasting(lambda w: 1440 if source_of(w) == "folder" else 60),
            data_folder=config["data_folder"],
            download="download" if config["download"] else "no-download",
        params:
            settings=lambda w: canonical_json(settings.preparation_settings(config, w.dataset, seed_of(w))),
            code=lambda w: code_of(job_code.preparation(config, w.dataset)),
            module=lambda w: module_of_source(source_of(w)),
        message:
            f"Prepare the images of {whose}"
        shell:
            "python -m workflow_scripts.prepare_dataset --module {params.module:q} --settings {params.settings:q} --code {params.code:q}"
            " --data-folder {resources.data_folder:q} --{resources.download:q}"
            " --images {output.images:q} --threads {threads:q}"
            f"{TO_LOG}"


# What a function of the user's own returns is known once it was called. So the study's first trainings wait, those on other
# data too, until all such data sets are prepared and checked, as they wait for the checks of networks (networks.smk): only
# while the file is missing, and only runs that are not there, or that are of the data as the function returned them before.
rule check_data:
    """Whether a data set of a user's own has the examples and classes that the study asks for."""
    input:
        images=IMAGES,
    output:
        checked=CHECKED_DATA,
    log:
        f"{LOGS}/check_data/{{dataset}}-{{check}}-{{used}}.log",
    benchmark:
        f"{BENCHMARKS}/check_data/{{dataset}}-{{check}}-{{used}}.tsv"
    wildcard_constraints:
        check=f"[0-9a-f]{{{SHORT_DIGEST}}}",
        used=f"[0-9a-f]{{{SHORT_DIGEST}}}",
    priority: 10
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: data_check_settings(w.dataset),
        code=lambda w: code_of(job_code.preparation(config, w.dataset)),
    message:
        "Check the data {wildcards.dataset}"
    shell:
        "python -m workflow_scripts.check_data --settings {params.settings:q} --code {params.code:q}"
        " --images {input.images:q} --checked {output.checked:q}"
        f"{TO_LOG}"


rule corrupt_labels:
    """Labels of one label set and seed, with the masks selected and changed."""
    input:
        images=images_of_run,
    output:
        labels=LABELS,
    log:
        f"{LOGS}/corrupt_labels/{{dataset}}/{{labels}}/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/corrupt_labels/{{dataset}}/{{labels}}/seed{{seed}}.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=lambda w: canonical_json(settings.corruption_settings(config, w.labels, int(w.seed))),
        code=code_of(job_code.corruption()),
    message:
        "Corrupt the labels of {wildcards.dataset}: {wildcards.labels}, seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.corrupt_labels --settings {params.settings:q} --code {params.code}"
        " --images {input.images:q} --labels {output.labels:q}"
        f"{TO_LOG}"
