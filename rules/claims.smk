rule check_claims:
    """The papers' claims, tested on the tables, with intervals over seeds."""
    input:
        tables=TABLES.values(),
        images=catalogue.images_of_study(config),
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
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=canonical_json(settings.claim_settings(config)),
        code=code_of(job_code.claim_check()),
    message:
        "Check the papers' claims"
    shell:
        f"{ON_CPU}"
        "python -m workflow_scripts.check_claims --package mcoherence.claims --settings {params.settings:q} --code {params.code}"
        " --tables {input.tables:q} --images {input.images:q} --json {output.json:q} --html {output.html:q}"
        f"{TO_LOG}"
