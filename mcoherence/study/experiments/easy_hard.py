"""Easy and hard examples: scored by reference runs, then trained on apart, from fresh weights."""

from mcoherence.data.subsets import SUBSETS
from mcoherence.errors import UserError
from mcoherence.study.experiment import (
    DIFFICULTY,
    NAMES,
    SEEDS,
    Experiment,
    Figure,
    Needed,
    Table,
    one_name,
    section_schema,
)
from mcoherence.study.experiments import second_split
from mcoherence.study.runs import Config, Grid, grid


def reference_grids(config: Config, **axes: list[str]) -> list[Grid]:
    """The runs on everything whose learning times say which examples are hard; `axes` in place of the section's."""
    section = config["easy_hard"]
    return [grid(section, seeds=section["reference_seeds"], **axes)]


def grids(config: Config) -> list[Grid]:
    """The runs that are trained from fresh weights on the easy, the hard and the random part."""
    return [grid(config["easy_hard"], subsets=SUBSETS)]


def check(config: Config) -> None:
    """Check that the retraining has seeds of its own."""
    overlap = set(config["easy_hard"]["seeds"]) & set(config["easy_hard"]["reference_seeds"])
    if overlap:
        raise UserError(
            f"easy_hard.seeds: found {sorted(overlap)}, which are reference_seeds too, expected fresh weights; "
            "choose other seeds"
        )


def second_splits(config: Config) -> list[Needed]:
    """What the table difficulty reads of the runs on halves, where the study makes them."""
    if "second_split" not in config["experiments"]:
        return []
    return [Needed(second_split.grids(config), ("evaluation", "halves"))]


EXPERIMENT = Experiment(
    sections=("easy_hard",),
    schema=section_schema(
        "The experiment on easy and hard examples.",
        datasets=NAMES,
        models=NAMES,
        labels=one_name("Label set of the reference runs and the retraining."),
        optimizer=one_name("Optimiser of both."),
        reference_seeds={**SEEDS, "description": "Seeds of the runs that score the difficulty."},
        seeds={
            **SEEDS,
            "description": "Seeds of the retraining; none of the reference seeds, so that the weights are fresh.",
        },
        fraction={
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 0.5,
            "default": 0.5,
            "description": "Share called easy, and the same share hard.",
        },
        test_fraction={
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": 0.2,
            "description": "Share of each part that is kept for testing.",
        },
        split_seed={
            "type": "integer",
            "minimum": 0,
            "maximum": 2**63 - 1,
            "default": 0,
            "description": "Decides the random choices of the split.",
        },
        within_class={
            "type": "boolean",
            "default": False,
            "description": "Rank examples among those of their class, so that easy and hard ones have every class in "
            "equal shares; by default among all, as in arXiv 2003.07422, which can put whole classes on one side.",
        },
    ),
    check=check,
    tables={
        "easy_hard": Table(grids, ("evaluation", "labels", "split")),
        "difficulty": Table(
            reference_grids,
            ("difficulty", "labels"),
            further=second_splits,
            own=lambda config: {"second_split": "second_split" in config["experiments"]},
        ),
        "difficulty_agreement": Table(
            reference_grids,
            ("difficulty", "labels", "evaluation"),
            own=lambda config: {"fraction": config["easy_hard"]["fraction"]},
        ),
    },
    figures={
        "easy_hard": Figure(("easy_hard",), DIFFICULTY, "5.1 trained on easy, hard or random"),
        "difficulty": Figure(
            ("difficulty", "difficulty_agreement"), DIFFICULTY, "5.2 how hard examples are, and how far seeds agree"
        ),
        "examples": Figure(("difficulty",), DIFFICULTY, "5.3 the easiest and the hardest examples", images=True),
    },
    every_checkpoint="when an example is learned and forgotten is read from checkpoint to checkpoint",
    every_example="every example is scored",
)
