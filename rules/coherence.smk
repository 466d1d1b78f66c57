rule measure_coherence:
    """Sums of per-example gradients, per group and parameter, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=split_of,
        checkpoints=CHECKPOINTS,
    output:
        coherence=f"{RUN}/coherence.h5",
    log:
        f"{LOGS}/measure_coherence/{RUN_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_coherence/{RUN_NAME}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=GPU,
        device=config["device"],
    params:
        settings=lambda w: canonical_json(study.measurement_settings(config, w.subset)),
        code=code_of("measure_coherence"),
    message:
        "Measure {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.measure_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --coherence {output.coherence:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
