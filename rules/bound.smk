rule calculate_bound:
    """The bound on the generalisation gap along the runs of plain SGD, beside the gap, as a tidy table."""
    input:
        coherence=f"{RESULTS}/tables/coherence.parquet",
        accuracy=f"{RESULTS}/tables/accuracy.parquet",
    output:
        csv=f"{RESULTS}/tables/bound.csv",
        parquet=f"{RESULTS}/tables/bound.parquet",
    log:
        f"{LOGS}/calculate_bound.log",
    benchmark:
        f"{BENCHMARKS}/calculate_bound.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=canonical_json(settings.bound_settings(config)),
        code=code_of("calculate_bound"),
    message:
        "Calculate the bound on the generalisation gap"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.calculate_bound --settings {params.settings:q}"
        " --coherence {input.coherence:q} --accuracy {input.accuracy:q}"
        " --csv {output.csv:q} --parquet {output.parquet:q}"
        f"{TO_LOG}"
