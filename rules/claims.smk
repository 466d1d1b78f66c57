rule check_claims:
    """The papers' claims, tested on the tables, with intervals over seeds."""
    input:
        **TABLES,
    output:
        json=f"{RESULTS}/claims.json",
        html=report(
            f"{RESULTS}/claims.html",
            category="1. Claims",
            caption="../docs/captions/claims.rst",
            labels={"item": "the papers' claims, tested"},
        ),
    log:
        f"{LOGS}/check_claims.log",
    benchmark:
        f"{BENCHMARKS}/check_claims.tsv"
    localrule: True
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        settings=canonical_json(study.claim_settings(config)),
        code=code_of("check_claims"),
    message:
        "Check the papers' claims"
    shell:
        "python -m workflow_scripts.jobs.launch --device cpu --"
        " python -m workflow_scripts.check_claims --settings {params.settings:q}"
        " --tables {input:q} --json {output.json:q} --html {output.html:q} > {log:q} 2>&1"
