rule measure_contributions:
    """Sums of gradients of pristine and corrupt examples, and of null worlds, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        checkpoints=checkpoints_of,
    output:
        contributions=f"{RUN}/contributions.h5",
    log:
        f"{LOGS}/measure_contributions/{RUN_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_contributions/{RUN_NAME}.tsv"
    wildcard_constraints:
        subset=study.FULL,
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
        gpu=GPU,
        device=config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
    params:
        settings=canonical_json(study.contribution_settings(config)),
        code=code_of("measure_contributions"),
    message:
        "Measure contributions in {wildcards.model} on {wildcards.labels} labels with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_contributions --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q}"
        " --checkpoints {input.checkpoints:q} --contributions {output.contributions:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
