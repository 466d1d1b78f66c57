# One rule per figure: the tables that it is drawn from, and its place in the report.
FIGURES_OF_EXPERIMENT = {
    "label_noise": {
        "summary": (
            [
                "coherence",
                "accuracy",
                *(["easy_hard"] if study.makes(config, "easy_hard") else []),
            ],
            "0. At a glance",
            "the study at a glance",
        ),
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
        "group_alignment": (
            ["group_alignment"],
            "2. Coherence",
            "pristine, corrupt and held-out examples against each other",
        ),
        "optimizers": (
            ["accuracy"],
            "3. Training",
            "optimisers at equal updates and equal examples",
        ),
        "early_stopping": (
            ["early_stopping"],
            "3. Training",
            "best against last checkpoint",
        ),
    },
    "contributions": {
        "contributions": (
            ["contributions"],
            "2. Coherence",
            "contributions of pristine and corrupt examples",
        ),
    },
    "easy_hard": {
        "easy_hard": (
            ["easy_hard"],
            "4. Easy and hard examples",
            "train on easy, hard or random",
        ),
        "difficulty": (
            ["difficulty", "difficulty_agreement"],
            "4. Easy and hard examples",
            "how hard examples are, and how far seeds agree",
        ),
        "examples": (
            ["difficulty"],
            "4. Easy and hard examples",
            "the easiest and the hardest examples",
        ),
    },
    "second_split": {
        "second_split": (
            ["difficulty"],
            "4. Easy and hard examples",
            "learned on one half, forgotten on the other",
        ),
    },
    "difficulty_coherence": {
        "difficulty_coherence": (
            ["difficulty_coherence"],
            "4. Easy and hard examples",
            "which examples help which",
        ),
    },
    "toy": {
        "toy_regression": (
            ["toy"],
            "2. Coherence",
            "an example in six dimensions",
        ),
    },
    "bound": {
        "bound": (
            ["bound"],
            "3. Training",
            "bound of the gap between training and test loss (relative)",
        ),
    },
    "sample_size": {
        "sample_size": (["sample_size"], "2. Coherence", "samples of several sizes"),
    },
    "sweep": {
        "sweep": (
            ["sweep"],
            "5. Exploratory sweeps",
            "a setting of the network swept (no claim)",
        ),
    },
    "adversarial_start": {
        "adversarial_start": (
            ["adversarial_start"],
            "4. Easy and hard examples",
            "adversarial initialisation",
        ),
    },
}
if study.makes(config, "label_noise") and study.winsorization(config):
    FIGURES_OF_EXPERIMENT["label_noise"]["winsorization"] = (
        ["overfit"],
        "3. Training",
        "overfitting by winsorised SGD",
    )
FIGURES = {
    name: figure for experiment in config["experiments"] for name, figure in FIGURES_OF_EXPERIMENT[experiment].items()
}

# Figures that show images read the stores too.
STORES_OF_FIGURE = {
    "examples": [IMAGES.format(dataset=dataset) for dataset in config["easy_hard"]["datasets"]],
}

for figure, (tables, category, title) in FIGURES.items():
    stores = STORES_OF_FIGURE.get(figure, [])

    rule:
        name:
            f"draw_{figure}"
        input:
            **{table: f"{RESULTS}/tables/{table}.parquet" for table in tables},
            images=stores,
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
        localrule: True
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
            tables=" ".join(
                [f"--{table.replace('_', '-')} {RESULTS}/tables/{table}.parquet" for table in tables]
                + (["--images", *stores] if stores else [])
            ),
        message:
            f"Draw {figure.replace('_', ' ')}"
        shell:
            "python -m {params.module} --settings {params.settings:q} {params.tables}"
            " --png {output.png:q} --pdf {output.pdf:q} > {log:q} 2>&1"
