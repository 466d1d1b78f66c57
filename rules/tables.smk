LABEL_NOISE_RUNS = study.label_noise_runs(config["label_noise"])
EASY_HARD_RUNS = study.easy_hard_runs(config["easy_hard"])
# What each table is made from: result files of runs, and the labels and images that give them their meaning.
SOURCES_OF_TABLE = {
    "label_noise": {
        "accuracy": files_of_runs(LABEL_NOISE_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in LABEL_NOISE_RUNS]
        + [IMAGES.format(dataset=run.dataset) for run in LABEL_NOISE_RUNS],
        "coherence": files_of_runs(LABEL_NOISE_RUNS, "coherence.h5"),
        "learning_time": files_of_runs(LABEL_NOISE_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in LABEL_NOISE_RUNS],
    },
    "easy_hard": {
        "easy_hard": files_of_runs(EASY_HARD_RUNS, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in EASY_HARD_RUNS]
        + [SPLIT.format(dataset=run.dataset, model=run.model) for run in EASY_HARD_RUNS]
        + [IMAGES.format(dataset=run.dataset) for run in EASY_HARD_RUNS],
    },
}
if study.makes(config, "sample_size"):
    runs = study.sample_size_runs(config["sample_size"])
    sizes = config["sample_size"]["sizes"]
    SOURCES_OF_TABLE["sample_size"] = {
        "sample_size": files_of_runs(runs, "coherence.h5", *(f"coherence_m{size}.h5" for size in sizes)),
    }
if study.makes(config, "adversarial_start"):
    runs = study.adversarial_start_runs(config["adversarial_start"])
    SOURCES_OF_TABLE["adversarial_start"] = {
        "adversarial_start": files_of_runs(runs, "evaluation.h5")
        + [run.labels_path(RESULTS) for run in runs]
        + [SPLIT.format(dataset=run.dataset, model=run.model) for run in runs]
        + [IMAGES.format(dataset=run.dataset) for run in runs],
    }
TABLE_SOURCES = {
    table: sources for experiment in config["experiments"] for table, sources in SOURCES_OF_TABLE[experiment].items()
}
TABLES = {table: f"{RESULTS}/tables/{table}.parquet" for table in TABLE_SOURCES}


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
        table="|".join(TABLE_SOURCES),
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=max(map(table_mb, study.all_runs(config))),
        runtime=60,
        gpu=0,
    params:
        settings=lambda w: canonical_json(study.table_settings(config, w.table)),
        code=code_of("tabulate"),
    message:
        "Tabulate {wildcards.table}"
    shell:
        "python -m workflow_scripts.tabulate --settings {params.settings:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q} > {log:q} 2>&1"
