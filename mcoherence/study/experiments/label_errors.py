"""Which training labels are wrong: examples ranked by what training shows of them, against labels that were changed."""

from collections.abc import Mapping
from typing import Any

from mcoherence.data.subsets import TRAINED_HALF
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
from mcoherence.study.runs import Config, Grid, grid
from mcoherence.study.subset_sizes import known_size


def grids(config: Config) -> list[Grid]:
    """The runs on everything, whose examples are ranked."""
    return [grid(config["label_errors"])]


def second_split_grids(config: Config) -> list[Grid]:
    """For each of them the runs on either half and those that go on with the other, for second-split forgetting."""
    return [grid(config["label_errors"], subsets=list(TRAINED_HALF))]


def halves_needed(config: Config) -> list[Needed]:
    """What the table of examples reads of the runs on halves."""
    return [Needed(second_split_grids(config), ("evaluation", "halves"))]


def schemes(config: Config) -> dict[str, str]:
    """Label set -> how its labels are changed."""
    return {name: config["labels"][name].get("scheme", "uniform") for name in config["label_errors"]["labels"]}


def check(config: Config) -> None:
    """Check that every label set has labels that are changed and labels that are not, as far as the config tells."""
    section = config["label_errors"]
    for name in section["labels"]:
        entry = config["labels"][name]
        key = f"label_errors.labels: found {name}, "
        if not 0 < entry["fraction"] < 1:
            raise UserError(
                f"{key}whose fraction is {entry['fraction']:g}, expected one between 0 and 1, so that there are wrong "
                "labels to be found among right ones; take it out, or set another fraction"
            )
        if keeps_every_label(entry):
            raise UserError(
                f"{key}whose transition keeps every label, expected one that changes some; correct "
                f"labels.{name}.transition, or take it out"
            )
        for dataset in section["datasets"]:
            there = known_size(config, dataset, "train")
            if there is not None and not 0 < round(entry["fraction"] * there) < there:
                raise UserError(
                    f"{key}which changes {round(entry['fraction'] * there)} of the {there} labels of "
                    f"datasets.{dataset}, expected some and not all of them; set another fraction"
                )


def keeps_every_label(entry: Mapping[str, Any]) -> bool:
    """Whether the transition of a label set leaves every class what it is."""
    transition = entry.get("transition")
    if isinstance(transition, Mapping):
        return all(before == after for before, after in transition.items())
    return transition is not None and all(row[place] == 1 for place, row in enumerate(transition))


EXPERIMENT = Experiment(
    sections=("label_errors",),
    schema=section_schema(
        "Which training labels are wrong: examples ranked by alignment, gradient norm, loss and other scores along "
        "training, against the labels that were changed.",
        datasets=NAMES,
        models=NAMES,
        labels=NAMES,
        optimizer=one_name("Optimiser of the runs."),
        seeds=SEEDS,
    ),
    check=check,
    tables={
        "examples": Table(grids, ("example_scores", "evaluation", "labels"), further=halves_needed),
        "label_errors": Table(tables=("examples",), own=lambda config: {"schemes": schemes(config)}),
    },
    figures={
        "label_errors": Figure(
            ("label_errors",), DIFFICULTY, "5.7 which labels are wrong (no claim of the four papers)"
        )
    },
    every_checkpoint="forgetting is read from checkpoint to checkpoint",
    every_example="every example is ranked",
)
