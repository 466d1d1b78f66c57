rule measure_coherence:
    """Sums of per-example gradients, per group and parameter, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=split_of,
        checkpoints=checkpoints_of,
        parts=lambda w: measured_parts(w, coherence_of(w)),
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
        **measuring_resources(coherence_of),
    params:
        settings=lambda w: settings_of_measurement(w, coherence_of(w)),
        code=lambda w: code_of("measure_coherence") + code_of_network(w),
    message:
        "Measure {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --parts {input.parts:q} --coherence {output.coherence:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


if runs_of_study.makes(config, "sample_size"):

    use rule measure_coherence as measure_sample_size with:
        output:
            coherence=f"{RUN}/coherence_m{{size}}.h5",
        log:
            f"{LOGS}/measure_sample_size/{RUN_NAME}/m{{size}}.log",
        benchmark:
            f"{BENCHMARKS}/measure_sample_size/{RUN_NAME}/m{{size}}.tsv"
        wildcard_constraints:
            size=r"\d+",
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
        **part_resources(),
    params:
        settings=lambda w: settings_of_measurement(w, w.result),
        code=lambda w: code_of("measure_coherence") + code_of_network(w),
    message:
        "Measure {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}, steps {wildcards.first} to {wildcards.last}, shard {wildcards.shard} of"
        " {wildcards.shards}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --parts --coherence {output.coherence:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
