rule measure_coherence:
    """Sums of per-example gradients, per group and parameter, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=split_of,
        checkpoints=checkpoints_of,
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
        mem_mb=growing(lambda w: compute_mb(w, 256, bytes_per_value=8)),
        runtime=growing(lambda w: measuring_minutes(w, config["measurement"]["sample_size"])),
        gpu=GPU,
        device=config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
        workers=OPERATIONAL["workers"],
        images_memory_mb=OPERATIONAL["images_memory_mb"],
    params:
        settings=lambda w: canonical_json(study.measurement_settings(config, w.subset)),
        code=code_of("measure_coherence"),
    message:
        "Measure {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --coherence {output.coherence:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


if study.makes(config, "sample_size"):

    use rule measure_coherence as measure_sample_size with:
        output:
            coherence=f"{RUN}/coherence_m{{size}}.h5",
        log:
            f"{LOGS}/measure_sample_size/{RUN_NAME}/m{{size}}.log",
        benchmark:
            f"{BENCHMARKS}/measure_sample_size/{RUN_NAME}/m{{size}}.tsv"
        wildcard_constraints:
            size=r"\d+",
        resources:
            mem_mb=growing(lambda w: compute_mb(w, 256, bytes_per_value=8)),
            runtime=growing(lambda w: measuring_minutes(w, int(w.size))),
            gpu=GPU,
            device=config["device"],
            jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
            workers=OPERATIONAL["workers"],
            images_memory_mb=OPERATIONAL["images_memory_mb"],
        params:
            settings=lambda w: canonical_json(study.sample_size_settings(config, int(w.size))),
            code=code_of("measure_coherence"),
        message:
            "Measure {wildcards.model} on {wildcards.labels} labels with {wildcards.optimizer}, seed {wildcards.seed},"
            " on a sample of {wildcards.size}"
