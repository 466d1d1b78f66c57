rule run_toy:
    """Gradient descent on the two regressions in six dimensions, as a tidy table."""
    output:
        csv=f"{RESULTS}/tables/toy.csv",
        parquet=f"{RESULTS}/tables/toy.parquet",
    log:
        f"{LOGS}/run_toy.log",
    benchmark:
        f"{BENCHMARKS}/run_toy.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=500,
        runtime=10,
    params:
        settings=canonical_json(settings.toy_settings(config)),
        code=code_of("run_toy"),
    message:
        "Run the regressions in six dimensions"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.run_toy --settings {params.settings:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q}"
        f"{TO_LOG}"
