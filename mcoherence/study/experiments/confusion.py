"""Gradient confusion (arXiv 1904.06963) of networks that differ in width, depth, batch norm and skip connections."""

from typing import Any

from mcoherence.errors import UserError
from mcoherence.study.experiment import NAMES, SEEDS, SWEEPS, Experiment, Figure, Table, one_name, section_schema
from mcoherence.study.experiments.sweep import swept_value
from mcoherence.study.runs import Config, Grid, grid

MINI_BATCHES = 15  # the fewest with 100 pairs, the number that arXiv 1904.06963 takes


def grids(config: Config) -> list[Grid]:
    """The runs whose mini-batches are compared."""
    return [grid(config["confusion"])]


def structure_of(entry: Config) -> dict[str, Any]:
    """Architecture, width, depth, normalised and skip of an entry of `models`; None where it has no one width."""
    return {
        "architecture": entry["architecture"],
        **{setting: swept_value(entry, setting) for setting in ("width", "depth")},
        "normalised": bool(entry.get("batch_norm", False)),
        "skip": bool(entry.get("skip", False)),
    }


def structures(config: Config) -> dict[str, dict[str, Any]]:
    """Network -> what tells it from the others."""
    return {name: structure_of(config["models"][name]) for name in config["confusion"]["models"]}


def check(config: Config) -> None:
    """Check that every network has a width and a depth."""
    for name, structure in structures(config).items():
        if structure["width"] is None or structure["depth"] is None:
            raise UserError(
                f"confusion.models: found {name}, whose hidden layers have no one width, expected mlp or deep_mlp; "
                f"set models.{name}.architecture: deep_mlp, or take it out"
            )


EXPERIMENT = Experiment(
    sections=("confusion",),
    schema=section_schema(
        "Gradient confusion (arXiv 1904.06963): the least cosine of the gradients of two mini-batches, along the runs "
        "of networks that differ in width, depth, batch norm and skip connections.",
        datasets=NAMES,
        models=NAMES,
        labels=NAMES,
        optimizer=one_name("Optimiser of the runs."),
        seeds=SEEDS,
        mini_batches={
            "type": "integer",
            "minimum": 2,
            "maximum": 1000,
            "default": MINI_BATCHES,
            "description": "Mini-batches, each of training.batch_size examples, that are compared in pairs; no example "
            "is in two. 15 are the fewest with the 100 pairs of arXiv 1904.06963. Their gradients are in memory at "
            "once.",
        },
    ),
    check=check,
    tables={
        "confusion": Table(
            grids,
            ("confusion", "evaluation", "labels"),
            own=lambda config: {"structures": structures(config)},
        ),
    },
    figures={
        "confusion": Figure(
            ("confusion",), SWEEPS, "6.2 gradient confusion by width and depth (no claim of the four papers)"
        ),
    },
    every_checkpoint="its table has accuracy and confusion of each checkpoint beside each other",
)
