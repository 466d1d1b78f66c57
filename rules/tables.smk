TABLES = {name: table_file(RESULTS, name) for name in catalogue.tables_of(config)}


rule tabulate:
    """One tidy table, from the result files of many runs or from other tables."""
    input:
        lambda w: catalogue.files_of_table(config, w.table),
    output:
        csv=f"{RESULTS}/tables/{{table}}.csv",
        parquet=f"{RESULTS}/tables/{{table}}.parquet",
    log:
        f"{LOGS}/tabulate/{{table}}.log",
    benchmark:
        f"{BENCHMARKS}/tabulate/{{table}}.tsv"
    wildcard_constraints:
        table="|".join(TABLES) or "none",
    conda:
        CONDA
    resources:
        mem_mb=growing(tabulating_mb),
        runtime=tabulating_minutes,
    params:
        settings=lambda w: canonical_json(settings.table_settings(config, w.table)),
        code=lambda w: code_of(job_code.tabulation(w.table)),
    message:
        "Tabulate {wildcards.table}"
    shell:
        ON_CPU
        + "python -m workflow_scripts.tabulate --module mcoherence.tables.{wildcards.table:q} --settings {params.settings:q}"
        " --code {params.code:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q}"
        f"{TO_LOG}"
