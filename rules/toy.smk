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
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
        gpu=0,
    params:
        settings=canonical_json(study.toy_settings(config)),
        code=code_of("run_toy"),
    message:
        "Run the regressions in six dimensions"
    shell:
        "python -m workflow_scripts.jobs.launch --device cpu --"
        " python -m workflow_scripts.run_toy --settings {params.settings:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q} > {log:q} 2>&1"
