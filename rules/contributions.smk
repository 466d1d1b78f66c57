rule measure_contributions:
    """Sums of gradients of pristine and corrupt examples, and of null worlds, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        checkpoints=checkpoints_of,
        parts=lambda w: measured_parts(w, "contributions"),
    output:
        contributions=f"{RUN}/contributions.h5",
    log:
        f"{LOGS}/measure_contributions/{RUN_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_contributions/{RUN_NAME}.tsv"
    wildcard_constraints:
        subset=runs_of_study.FULL,
    conda:
        CONDA
    threads: 1
    resources:
        **measuring_resources(lambda w: "contributions"),
    params:
        settings=lambda w: settings_of_measurement(w, "contributions"),
        code=lambda w: code_of("measure_contributions") + code_of_network(w),
    message:
        "Measure contributions in {wildcards.model} on {wildcards.labels} labels with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_contributions --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q}"
        " --checkpoints {input.checkpoints:q} --parts {input.parts:q} --contributions {output.contributions:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


rule measure_contributions_part:
    """Sums of gradients of some of the pristine and corrupt examples, at some checkpoints of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        checkpoints=checkpoints_of_block,
    output:
        contributions=temp(SHARD),
    log:
        f"{LOGS}/measure_contributions_part/{PART_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_contributions_part/{PART_NAME}.tsv"
    wildcard_constraints:
        subset=runs_of_study.FULL,
        result="contributions",
    conda:
        CONDA
    threads: 1
    resources:
        **part_resources(),
    params:
        settings=lambda w: settings_of_measurement(w, w.result),
        code=lambda w: code_of("measure_contributions") + code_of_network(w),
    message:
        "Measure contributions in {wildcards.model} on {wildcards.labels} labels with {wildcards.optimizer},"
        " seed {wildcards.seed}, steps {wildcards.first} to {wildcards.last}, shard {wildcards.shard} of"
        " {wildcards.shards}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_contributions --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q}"
        " --checkpoints {input.checkpoints:q} --parts --contributions {output.contributions:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
