# One rule per figure: the tables that it is drawn from, and its place in the report, which orders sections and figures by
# name. So they are numbered, each the same in every study.
SUMMARY = "0. Summary"
COHERENCE = "2. Coherence along training"
GROUPS = "3. Pristine and corrupt examples"
TRAINING = "4. Optimisers, memorisation and generalisation"
DIFFICULTY_FIGURES = "5. Easy and hard examples"
FIGURES_OF_EXPERIMENT = {
    "label_noise": {
        "summary": (
            [
                "coherence",
                "accuracy",
                *(["easy_hard"] if runs_of_study.makes(config, "easy_hard") else []),
            ],
            SUMMARY,
            "the study at a glance",
        ),
        "coherence_by_step": (["coherence"], COHERENCE, "2.1 along training"),
        "coherence_by_loss": (
            ["coherence", "accuracy"],
            COHERENCE,
            "2.2 against training loss",
        ),
        "layer_coherence": (["coherence"], COHERENCE, "2.3 layer by layer"),
        "pristine_corrupt": (
            ["coherence"],
            GROUPS,
            "3.1 within pristine, corrupt and held-out examples",
        ),
        "group_alignment": (
            ["group_alignment"],
            GROUPS,
            "3.2 between these groups",
        ),
        "training_curves": (["accuracy"], TRAINING, "4.1 accuracy and loss"),
        "optimizers": (
            ["accuracy"],
            TRAINING,
            "4.2 optimisers at equal updates and equal examples",
        ),
        "generalization_gap": (
            ["accuracy"],
            TRAINING,
            "4.3 gap between training and test accuracy",
        ),
        "early_stopping": (
            ["early_stopping"],
            TRAINING,
            "4.5 best against last checkpoint",
        ),
    },
    "contributions": {
        "contributions": (
            ["contributions"],
            GROUPS,
            "3.3 contributions to the gradient",
        ),
    },
    "easy_hard": {
        "easy_hard": (["easy_hard"], DIFFICULTY_FIGURES, "5.1 trained on easy, hard or random"),
        "difficulty": (
            ["difficulty", "difficulty_agreement"],
            DIFFICULTY_FIGURES,
            "5.2 how hard examples are, and how far seeds agree",
        ),
        "examples": (
            ["difficulty"],
            DIFFICULTY_FIGURES,
            "5.3 the easiest and the hardest examples",
        ),
    },
    "difficulty_coherence": {
        "difficulty_coherence": (
            ["difficulty_coherence"],
            DIFFICULTY_FIGURES,
            "5.4 which examples help which",
        ),
    },
    "second_split": {
        "second_split": (
            ["difficulty"],
            DIFFICULTY_FIGURES,
            "5.5 learned on one half, forgotten on the other",
        ),
    },
    "adversarial_start": {
        "adversarial_start": (
            ["adversarial_start"],
            DIFFICULTY_FIGURES,
            "5.6 adversarial initialisation",
        ),
    },
    "sample_size": {
        "sample_size": (["sample_size"], COHERENCE, "2.4 samples of several sizes"),
    },
    "toy": {
        "toy_regression": (["toy"], COHERENCE, "2.5 an example in six dimensions"),
    },
    "bound": {
        "bound": (
            ["bound"],
            TRAINING,
            "4.6 bound of the gap between training and test loss (relative)",
        ),
    },
    "sweep": {
        "sweep": (["sweep"], "6. Exploratory sweeps", "6.1 a setting of the network swept (no claim)"),
    },
}
if runs_of_study.makes(config, "label_noise") and runs_of_study.winsorization(config):
    FIGURES_OF_EXPERIMENT["label_noise"]["winsorization"] = (
        ["overfit"],
        TRAINING,
        "4.4 overfitting by winsorised SGD",
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
            "python -m workflow_scripts.jobs.launch --device cpu --"
            " python -m {params.module} --settings {params.settings:q} {params.tables}"
            " --png {output.png:q} --pdf {output.pdf:q} > {log:q} 2>&1"
