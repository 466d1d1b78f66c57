LABEL_NOISE_RUNS = runs_of_study.label_noise_runs(config["label_noise"])
EASY_HARD_RUNS = runs_of_study.easy_hard_runs(config["easy_hard"])
CONTRIBUTION_RUNS = runs_of_study.contribution_runs(config)
REFERENCE_RUNS = [
    run
    for dataset in config["easy_hard"]["datasets"]
    for model in config["easy_hard"]["models"]
    for run in runs_of_study.reference_runs(config["easy_hard"], dataset, model)
]
DIFFICULTY = [DIFFICULTY_FILE.format(dataset=run.dataset, model=run.model) for run in REFERENCE_RUNS]
SECOND_SPLIT = [
    file
    for dataset in config["easy_hard"]["datasets"]
    for model in config["easy_hard"]["models"]
    for file in files_of_runs(runs_of_study.second_split_runs(config["easy_hard"], dataset, model), "evaluation.h5")
    + [HALVES.format(dataset=dataset)]
]
# What each table is made from: result files of runs, and the labels and images that give them their meaning.
SOURCES_OF_TABLE = {
    "label_noise": {
        "accuracy": files_of_runs(LABEL_NOISE_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in LABEL_NOISE_RUNS]
        + [IMAGES.format(dataset=run.dataset) for run in LABEL_NOISE_RUNS],
        "coherence": files_of_runs(LABEL_NOISE_RUNS, "coherence.h5"),
        "learning_time": files_of_runs(LABEL_NOISE_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in LABEL_NOISE_RUNS],
        "group_alignment": files_of_runs(LABEL_NOISE_RUNS, "coherence.h5"),
        "overfit": files_of_runs(LABEL_NOISE_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in LABEL_NOISE_RUNS]
        + [IMAGES.format(dataset=run.dataset) for run in LABEL_NOISE_RUNS],
        "early_stopping": files_of_runs(LABEL_NOISE_RUNS, "evaluation.h5", "coherence.h5")
        + [run.labels_path(RESULTS) for run in LABEL_NOISE_RUNS]
        + [IMAGES.format(dataset=run.dataset) for run in LABEL_NOISE_RUNS],
    },
    "contributions": {
        "contributions": files_of_runs(CONTRIBUTION_RUNS, "contributions.h5"),
    },
    "easy_hard": {
        "easy_hard": files_of_runs(EASY_HARD_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in EASY_HARD_RUNS]
        + [SPLIT.format(dataset=run.dataset, model=run.model) for run in EASY_HARD_RUNS]
        + [IMAGES.format(dataset=run.dataset) for run in EASY_HARD_RUNS],
        "difficulty": DIFFICULTY
        + [run.labels_path(RESULTS) for run in REFERENCE_RUNS]
        + (SECOND_SPLIT if runs_of_study.makes(config, "second_split") else []),
        "difficulty_agreement": DIFFICULTY
        + [run.labels_path(RESULTS) for run in REFERENCE_RUNS]
        + files_of_runs(REFERENCE_RUNS, "evaluation.h5"),
    },
    "second_split": {},  # columns of the table difficulty
    "difficulty_coherence": {
        "difficulty_coherence": files_of_runs(
            runs_of_study.difficulty_coherence_runs(config["easy_hard"]), "difficulty_coherence.h5"
        ),
    },
    # tables of rules of their own
    "toy": {},
    "bound": {},
}
if runs_of_study.makes(config, "sample_size"):
    runs = runs_of_study.sample_size_runs(config["sample_size"])
    sizes = config["sample_size"]["sizes"]
    SOURCES_OF_TABLE["sample_size"] = {
        "sample_size": files_of_runs(runs, "coherence.h5", *(f"coherence_m{size}.h5" for size in sizes)),
    }
if runs_of_study.makes(config, "sweep"):
    runs = runs_of_study.sweep_runs(config["sweep"])
    SOURCES_OF_TABLE["sweep"] = {
        "sweep": files_of_runs(runs, "evaluation.h5", "coherence.h5")
        + [run.labels_path(RESULTS) for run in runs]
        + [IMAGES.format(dataset=run.dataset) for run in runs],
    }
if runs_of_study.makes(config, "adversarial_start"):
    runs = runs_of_study.adversarial_start_runs(config["adversarial_start"])
    SOURCES_OF_TABLE["adversarial_start"] = {
        "adversarial_start": files_of_runs(runs, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in runs]
        + [SPLIT.format(dataset=run.dataset, model=run.model) for run in runs]
        + [IMAGES.format(dataset=run.dataset) for run in runs],
    }
TABLE_SOURCES = {
    table: sources for experiment in config["experiments"] for table, sources in SOURCES_OF_TABLE[experiment].items()
}
TABLES = {
    table: f"{RESULTS}/tables/{table}.parquet"
    for table in [*TABLE_SOURCES, *(name for name in ("toy", "bound") if runs_of_study.makes(config, name))]
}


rule tabulate:
    """One tidy table from the result files of many runs."""
    input:
        lambda w: list(dict.fromkeys(TABLE_SOURCES[w.table])),
    output:
        csv=f"{RESULTS}/tables/{{table}}.csv",
        parquet=f"{RESULTS}/tables/{{table}}.parquet",
    log:
        f"{LOGS}/tabulate/{{table}}.log",
    benchmark:
        f"{BENCHMARKS}/tabulate/{{table}}.tsv"
    wildcard_constraints:
        table="|".join(table for tables in SOURCES_OF_TABLE.values() for table in tables),
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=growing(max(map(table_mb, runs_of_study.all_runs(config)), default=1000)),
        runtime=growing(60),
        gpu=0,
    params:
        settings=lambda w: canonical_json(study.table_settings(config, w.table)),
        code=code_of("tabulate"),
    message:
        "Tabulate {wildcards.table}"
    shell:
        "python -m workflow_scripts.jobs.launch --device cpu --"
        " python -m workflow_scripts.tabulate --settings {params.settings:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q} > {log:q} 2>&1"
