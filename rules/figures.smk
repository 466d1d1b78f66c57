# One rule per figure: the tables that it is drawn from, and its place in the report.
FIGURES_OF_EXPERIMENT = {
    "label_noise": {
        "coherence_by_step": (["coherence"], "2. Coherence", "coherence along training"),
        "coherence_by_loss": (
            ["coherence", "accuracy"],
            "2. Coherence",
            "coherence against training loss",
        ),
        "layer_coherence": (["coherence"], "2. Coherence", "coherence per layer"),
        "pristine_corrupt": (
            ["coherence"],
            "2. Coherence",
            "pristine against corrupt examples",
        ),
        "training_curves": (["accuracy"], "3. Training", "accuracy and loss"),
        "generalization_gap": (
            ["accuracy"],
            "3. Training",
            "gap between training and test accuracy",
        ),
    },
    "easy_hard": {
        "easy_hard": (
            ["easy_hard"],
            "4. Easy and hard examples",
            "train on easy, hard or random",
        ),
    },
    "sample_size": {
        "sample_size": (["sample_size"], "2. Coherence", "samples of several sizes"),
    },
    "adversarial_start": {
        "adversarial_start": (
            ["adversarial_start"],
            "4. Easy and hard examples",
            "adversarial initialisation",
        ),
    },
}
FIGURES = {
    name: figure for experiment in config["experiments"] for name, figure in FIGURES_OF_EXPERIMENT[experiment].items()
}

for figure, (tables, category, title) in FIGURES.items():

    rule:
        name:
            f"draw_{figure}"
        input:
            **{table: f"{RESULTS}/tables/{table}.parquet" for table in tables},
        output:
            png=report(
                f"{RESULTS}/figures/{figure}.png",
                category=category,
                caption=f"../docs/captions/figures/{figure}.rst",
                labels={"figure": title},
            ),
            pdf=f"{RESULTS}/figures/{figure}.pdf",
        log:
            f"{LOGS}/draw_{figure}.log",
        benchmark:
            f"{BENCHMARKS}/draw_{figure}.tsv"
        conda:
            CONDA
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
            gpu=0,
        params:
            settings=canonical_json(config["figures"]),
            code=code_of(f"draw_{figure}"),
            # Not in the command itself: Snakemake formats that later, when the loop has moved on.
            module=f"workflow_scripts.draw_{figure}",
            tables=" ".join(f"--{table.replace('_', '-')} {RESULTS}/tables/{table}.parquet" for table in tables),
        message:
            f"Draw {figure.replace('_', ' ')}"
        shell:
            "python -m {params.module} --settings {params.settings:q} {params.tables}"
            " --png {output.png:q} --pdf {output.pdf:q} > {log:q} 2>&1"
