rule score_difficulty:
    """How hard each training example is for a model, from the reference runs."""
    input:
        evaluations=lambda w: files_of_runs(
            study.reference_runs(config["easy_hard"], w.dataset, w.model),
            "evaluation.h5",
        ),
        labels=lambda w: [
            run.labels_path(RESULTS) for run in study.reference_runs(config["easy_hard"], w.dataset, w.model)
        ],
    output:
        difficulty=f"{RESULTS}/difficulty/{{dataset}}/{{model}}/difficulty.h5",
    log:
        f"{LOGS}/score_difficulty/{{dataset}}/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/score_difficulty/{{dataset}}/{{model}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=lambda w: sum(
            map(table_mb, study.reference_runs(config["easy_hard"], w.dataset, w.model)),
        ),
        runtime=30,
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
        difficulty=f"{RESULTS}/difficulty/{{dataset}}/{{model}}/difficulty.h5",
    output:
        split=SPLIT,
    log:
        f"{LOGS}/split_easy_hard/{{dataset}}/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/split_easy_hard/{{dataset}}/{{model}}.tsv"
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
        " --difficulty {input.difficulty:q} --split {output.split:q} > {log:q} 2>&1"
