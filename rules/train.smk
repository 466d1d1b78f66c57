rule train:
    """One training run, from fresh weights to its last checkpoint."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=split_of,
    output:
        checkpoints=CHECKPOINTS,
        log=f"{RUN}/training_log.csv",
    log:
        f"{LOGS}/train/{RUN_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/train/{RUN_NAME}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=GPU,
        device=config["device"],
    params:
        settings=lambda w: canonical_json(study.training_settings(config, run_of(w))),
        code=code_of("train"),
    message:
        "Train {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.train --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {output.checkpoints:q} --log {output.log:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
