"""Coherence on samples of several sizes m, along the same runs."""

from mcoherence.study.experiment import (
    COHERENCE,
    NAMES,
    SEEDS,
    Experiment,
    Figure,
    Table,
    one_or_more_names,
    section_schema,
)
from mcoherence.study.result_names import OTHER_SAMPLE
from mcoherence.study.runs import Config, Grid, grid


def grids(config: Config) -> list[Grid]:
    """The runs that are measured again and again."""
    return [grid(config["sample_size"])]


def files(config: Config) -> tuple[str, ...]:
    """The measurement that all runs have, and one for each size."""
    return ("coherence", *(f"{OTHER_SAMPLE}{size}" for size in config["sample_size"]["sizes"]))


EXPERIMENT = Experiment(
    sections=("sample_size",),
    schema=section_schema(
        "The experiment on the sample size m: the runs of these entries are measured on samples of further sizes.",
        datasets=NAMES,
        models=NAMES,
        labels=NAMES,
        optimizer=one_or_more_names(
            "Optimiser of the runs; several are several rates, and the claim is tested at each."
        ),
        seeds=SEEDS,
        sizes={
            "type": "array",
            "items": {"type": "integer", "minimum": 2},
            "minItems": 1,
            "uniqueItems": True,
            "description": "Sizes of the samples, besides measurement.sample_size: at most the training examples that "
            "are not in that sample, with which they share none; twice or half of it answers the papers' doubling.",
        },
    ),
    tables={
        "sample_size": Table(grids, files, own=lambda config: {"sizes": config["sample_size"]["sizes"]}),
    },
    figures={"sample_size": Figure(("sample_size",), COHERENCE, "2.4 samples of several sizes")},
)
