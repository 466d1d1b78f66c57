rule score_difficulty:
    """How hard each training example is for a model, from the reference runs."""
    input:
        evaluations=reference_files("evaluation"),
        labels=reference_files("labels"),
    output:
        difficulty=DIFFICULTY_FILE,
    log:
        f"{LOGS}/score_difficulty/{{dataset}}/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/score_difficulty/{{dataset}}/{{model}}.tsv"
    conda:
        CONDA
    resources:
        mem_mb=growing(lambda w: sum(estimates.table_mb(config, run) for run in references_of(w))),
        runtime=lasting(30),
    params:
        settings=lambda w: canonical_json(settings.difficulty_settings(config, w.dataset, w.model)),
        code=code_of(job_code.scoring()),
    message:
        "Score the difficulty of {wildcards.dataset} for {wildcards.model}"
    shell:
        "python -m workflow_scripts.score_difficulty --settings {params.settings:q} --code {params.code}"
        " --evaluations {input.evaluations:q} --labels {input.labels:q}"
        " --difficulty {output.difficulty:q}"
        f"{TO_LOG}"


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
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=canonical_json(settings.split_settings(config)),
        code=code_of(job_code.splitting()),
    message:
        "Split {wildcards.dataset} into easy and hard examples for {wildcards.model}"
    shell:
        "python -m workflow_scripts.split_easy_hard --settings {params.settings:q} --code {params.code}"
        " --images {input.images:q} --difficulty {input.difficulty:q} --split {output.split:q}"
        f"{TO_LOG}"


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
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=canonical_json(settings.halves_settings(config)),
        code=code_of(job_code.halving()),
    message:
        "Split {wildcards.dataset} into two halves"
    shell:
        "python -m workflow_scripts.split_halves --settings {params.settings:q} --code {params.code}"
        " --images {input.images:q} --halves {output.halves:q}"
        f"{TO_LOG}"
