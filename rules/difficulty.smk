rule score_difficulty:
    """How hard each training example is for a model, from the reference runs."""
    input:
        evaluations=lambda w: files_of_runs(
            runs_of_study.reference_runs(config["easy_hard"], w.dataset, w.model),
            "evaluation.h5",
        ),
        labels=lambda w: [
            run.labels_path(RESULTS) for run in runs_of_study.reference_runs(config["easy_hard"], w.dataset, w.model)
        ],
    output:
        difficulty=DIFFICULTY_FILE,
    log:
        f"{LOGS}/score_difficulty/{{dataset}}/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/score_difficulty/{{dataset}}/{{model}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(
            lambda w: sum(map(table_mb, runs_of_study.reference_runs(config["easy_hard"], w.dataset, w.model))),
        ),
        runtime=growing(30),
        gpu=0,
    params:
        settings=lambda w: canonical_json(study.difficulty_settings(config, w.dataset, w.model)),
        code=code_of("score_difficulty"),
    message:
        "Score the difficulty of {wildcards.dataset} for {wildcards.model}"
    shell:
        "python -m workflow_scripts.score_difficulty --settings {params.settings:q}"
        " --evaluations {input.evaluations:q} --labels {input.labels:q}"
        " --difficulty {output.difficulty:q} > {log:q} 2>&1"


rule split_easy_hard:
    """Easy, hard and random examples, train and test parts of each."""
    input:
        images=IMAGES,
        difficulty=DIFFICULTY_FILE,
    output:
        split=SPLIT,
    log:
        f"{LOGS}/split_easy_hard/{{dataset}}/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/split_easy_hard/{{dataset}}/{{model}}.tsv"
    localrule: True
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        settings=canonical_json(study.split_settings(config)),
        code=code_of("split_easy_hard"),
    message:
        "Split {wildcards.dataset} into easy and hard examples for {wildcards.model}"
    shell:
        "python -m workflow_scripts.split_easy_hard --settings {params.settings:q}"
        " --images {input.images:q} --difficulty {input.difficulty:q} --split {output.split:q} > {log:q} 2>&1"


rule split_halves:
    """Two random halves of a training part, for second-split forgetting."""
    input:
        images=IMAGES,
    output:
        halves=HALVES,
    log:
        f"{LOGS}/split_halves/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/split_halves/{{dataset}}.tsv"
    localrule: True
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        settings=canonical_json(study.halves_settings(config)),
        code=code_of("split_halves"),
    message:
        "Split {wildcards.dataset} into two halves"
    shell:
        "python -m workflow_scripts.split_halves --settings {params.settings:q}"
        " --images {input.images:q} --halves {output.halves:q} > {log:q} 2>&1"


rule measure_difficulty_coherence:
    """Sums of per-example gradients of easy, hard and random examples, at every checkpoint of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=SPLIT,
        checkpoints=checkpoints_of,
        parts=lambda w: measured_parts(w, "difficulty_coherence"),
    output:
        coherence=f"{RUN}/difficulty_coherence.h5",
    log:
        f"{LOGS}/measure_difficulty_coherence/{RUN_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_difficulty_coherence/{RUN_NAME}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        **measuring_resources(lambda w: "difficulty_coherence"),
    params:
        settings=lambda w: settings_of_measurement(w, "difficulty_coherence"),
        code=lambda w: code_of("measure_difficulty_coherence") + code_of_network(w),
    message:
        "Measure easy and hard examples in {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with"
        " {wildcards.optimizer}, seed {wildcards.seed}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_difficulty_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --parts {input.parts:q} --coherence {output.coherence:q}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


rule measure_difficulty_coherence_part:
    """Sums of per-example gradients of some of the easy, hard and random examples, at some checkpoints of a run."""
    input:
        images=IMAGES,
        labels=LABELS,
        split=SPLIT,
        checkpoints=checkpoints_of_block,
    output:
        coherence=temp(SHARD),
    log:
        f"{LOGS}/measure_difficulty_coherence_part/{PART_NAME}.log",
    benchmark:
        f"{BENCHMARKS}/measure_difficulty_coherence_part/{PART_NAME}.tsv"
    wildcard_constraints:
        result="difficulty_coherence",
    conda:
        CONDA
    threads: 1
    resources:
        **part_resources(),
    params:
        settings=lambda w: settings_of_measurement(w, w.result),
        code=lambda w: code_of("measure_difficulty_coherence") + code_of_network(w),
    message:
        "Measure easy and hard examples in {wildcards.model} on {wildcards.labels} labels ({wildcards.subset}) with"
        " {wildcards.optimizer}, seed {wildcards.seed}, steps {wildcards.first} to {wildcards.last}, shard"
        " {wildcards.shard} of {wildcards.shards}"
    shell:
        "python -m workflow_scripts.jobs.launch --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu} --"
        " python -m workflow_scripts.measure_difficulty_coherence --settings {params.settings:q}"
        " --images {input.images:q} --labels {input.labels:q} --split {input.split:q}"
        " --checkpoints {input.checkpoints:q} --parts --coherence {output.coherence:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards}"
        " --workers {resources.workers} --images-memory-mb {resources.images_memory_mb}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
