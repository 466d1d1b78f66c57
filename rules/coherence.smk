rule measure_coherence:
    """Sums of per-example gradients, per group and parameter, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=split_of,
        checkpoints=checkpoints_of,
        parts=coherence_parts,
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
        runtime=growing(lambda w: measuring_minutes(w, sample_size_of(w))),
        gpu=lambda w: 0 if coherence_parts(w) else GPU,
        device=lambda w: "cpu" if coherence_parts(w) else config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
        workers=OPERATIONAL["workers"],
        images_memory_mb=OPERATIONAL["images_memory_mb"],
    params:
        settings=settings_of_measurement,
        code=code_of("measure_coherence"),
    message:
        "Measure {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --parts {input.parts:q} --coherence {output.coherence:q}"
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
            runtime=growing(lambda w: measuring_minutes(w, sample_size_of(w))),
            gpu=lambda w: 0 if coherence_parts(w) else GPU,
            device=lambda w: "cpu" if coherence_parts(w) else config["device"],
            jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
            workers=OPERATIONAL["workers"],
            images_memory_mb=OPERATIONAL["images_memory_mb"],
        params:
            settings=settings_of_measurement,
            code=code_of("measure_coherence"),
        message:
            "Measure {wildcards.model} on {wildcards.labels} labels with {wildcards.optimizer}, seed {wildcards.seed},"
            " on a sample of {wildcards.size}"


rule measure_coherence_part:
    """Sums of per-example gradients over some of the sample at some checkpoints of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=split_of,
        checkpoints=checkpoints_of_block,
    output:
        coherence=temp(SHARD),
    log:
        f"{LOGS}/measure_coherence_part/{PART_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_coherence_part/{PART_NAME}.tsv"
    wildcard_constraints:
        result=r"coherence(_m\d+)?",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(lambda w: compute_mb(w, 256, bytes_per_value=8)),
        runtime=growing(lambda w: measuring_minutes(w, sample_size_of(w), len(steps_of_block(w)), int(w.shards))),
        gpu=GPU,
        device=config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
        workers=OPERATIONAL["workers"],
        images_memory_mb=OPERATIONAL["images_memory_mb"],
    params:
        settings=settings_of_measurement,
        code=code_of("measure_coherence"),
    message:
        "Measure {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}, steps {wildcards.first} to {wildcards.last}, shard {wildcards.shard} of"
        " {wildcards.shards}"
    shell:
        "python -m workflow_scripts.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --parts --coherence {output.coherence:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


rule add_shards:
    """The shards of a measurement at some checkpoints as one."""
    input:
        shards=shards_of_block,
    output:
        block=temp(BLOCK),
    log:
        f"{LOGS}/add_shards/{BLOCK_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/add_shards/{BLOCK_NAME}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(BASE_MB),
        runtime=growing(60),
        gpu=0,
    params:
        settings=canonical_json({}),
        code=code_of("add_shards"),
    message:
        "Add {wildcards.shards} shards of {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with"
        " {wildcards.optimizer}, seed {wildcards.seed}, steps {wildcards.first} to {wildcards.last}"
    shell:
        "python -m workflow_scripts.add_shards --settings {params.settings:q}"
        " --shards {input.shards:q} --block {output.block:q} > {log:q} 2>&1"


rule join_coherence:
    """The blocks of a run's measurement as one."""
    input:
        blocks=blocks_of_coherence,
    output:
        whole=temp(WHOLE),
        cut=temp(touch(CUT)),
    log:
        f"{LOGS}/join_coherence/{RESULT_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/join_coherence/{RESULT_NAME}.tsv"
    wildcard_constraints:
        result=r"coherence(_m\d+)?",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(BASE_MB),
        runtime=growing(30),
        gpu=0,
    params:
        settings=canonical_json({}),
        code=code_of("join_coherence"),
    message:
        "Join the parts of the measurement of {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with"
        " {wildcards.optimizer}, seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.join_coherence --settings {params.settings:q}"
        " --blocks {input.blocks:q} --whole {output.whole:q} > {log:q} 2>&1"
