rule evaluate:
    """Loss and prediction of every example at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        checkpoints=checkpoints_of,
        parts=evaluation_parts,
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
        gpu=lambda w: 0 if evaluation_parts(w) else GPU,
        device=lambda w: "cpu" if evaluation_parts(w) else config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
        workers=OPERATIONAL["workers"],
        images_memory_mb=OPERATIONAL["images_memory_mb"],
    params:
        settings=canonical_json({}),
        code=lambda w: code_of("evaluate") + code_of_network(w),
    message:
        "Evaluate {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.evaluate --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --checkpoints {input.checkpoints:q}"
        " --parts {input.parts:q} --evaluation {output.evaluation:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


rule evaluate_part:
    """Loss and prediction of some of the examples at some checkpoints of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        checkpoints=checkpoints_of_block,
    output:
        evaluation=temp(SHARD),
    log:
        f"{LOGS}/evaluate_part/{PART_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_part/{PART_NAME}.tsv"
    wildcard_constraints:
        result="evaluation",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(lambda w: compute_mb(w, 256) + table_mb(w)),
        runtime=growing(lambda w: minutes(w, len(steps_of_block(w)) / int(w.shards))),
        gpu=GPU,
        device=config["device"],
        jobs_per_gpu=OPERATIONAL["jobs_per_gpu"],
        workers=OPERATIONAL["workers"],
        images_memory_mb=OPERATIONAL["images_memory_mb"],
    params:
        settings=canonical_json({}),
        code=lambda w: code_of("evaluate") + code_of_network(w),
    message:
        "Evaluate {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with {wildcards.optimizer},"
        " seed {wildcards.seed}, steps {wildcards.first} to {wildcards.last}, shard {wildcards.shard} of"
        " {wildcards.shards}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.evaluate --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --checkpoints {input.checkpoints:q}"
        " --parts --shard {wildcards.shard} --shards {wildcards.shards} --evaluation {output.evaluation:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


rule join_evaluation:
    """The parts of a run's evaluation as one."""
    input:
        parts=parts_of_evaluation,
    output:
        whole=temp(WHOLE),
        cut=temp(touch(CUT)),
    log:
        f"{LOGS}/join_evaluation/{RESULT_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/join_evaluation/{RESULT_NAME}.tsv"
    wildcard_constraints:
        result="evaluation",
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(lambda w: 2 * table_mb(w)),
        runtime=growing(30),
        gpu=0,
        sharded=lambda w: "sharded" if evaluation_shards(w) > 1 else "no-sharded",
    params:
        settings=canonical_json({}),
        code=code_of("join_evaluation"),
    message:
        "Join the parts of the evaluation of {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with"
        " {wildcards.optimizer}, seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.join_evaluation --settings {params.settings:q} --{resources.sharded}"
        " --parts {input.parts:q} --whole {output.whole:q} > {log:q} 2>&1"
