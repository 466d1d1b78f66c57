rule plan:
    """What the study will take, printed; needs none of its files, and is no part of it."""
    log:
        f"{LOGS}/plan.log",
    localrule: True
    conda:
        CONDA
    resources:
        mem_mb=1000,
        runtime=10,
        device=config["device"],
    params:
        settings=canonical_json(config),
    message:
        "Plan the study"
    shell:
        "python -m workflow_scripts.plan --settings {params.settings:q} --device {resources.device:q} 2> {log:q}"
