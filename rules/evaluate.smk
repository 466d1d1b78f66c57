rule evaluate:
    """Loss and prediction of every example at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        checkpoints=checkpoints_of,
    output:
        evaluation=f"{RUN}/evaluation.h5",
    log:
        f"{LOGS}/evaluate/{RUN_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate/{RUN_NAME}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(lambda w: compute_mb(w, 256) + table_mb(w)),
        runtime=growing(lambda w: minutes(w, len(steps_of(w)))),
        gpu=GPU,
        device=config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
        workers=OPERATIONAL["workers"],
        images_memory_mb=OPERATIONAL["images_memory_mb"],
    params:
        settings=canonical_json({}),
        code=code_of("evaluate"),
    message:
        "Evaluate {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.evaluate --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --checkpoints {input.checkpoints:q}"
        " --evaluation {output.evaluation:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
