"""A statement on gradient confusion, of a paper that is none of the four: reported only."""

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import cast

import pandas as pd

from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables
from mcoherence.claims.nulls import equal_conditions
from mcoherence.claims.registry import claim
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.confusion import FIRST_EPOCH, PLAIN, VARIANTS

Network = tuple[float, float, bool, bool]  # width, depth, whether it has batch norm, whether it has skips
STRUCTURE = ["width", "depth", "normalised", "skip"]
TRAINED = "in training"
STAGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "at the start": lambda rows: rows[rows["step"] == 0],
    TRAINED: lambda rows: rows[rows["epoch"] >= FIRST_EPOCH],
}


@claim(
    "E13",
    "Gradient confusion falls with the width of a network and rises with its depth; batch norm and skip connections "
    "lower it.",
    short="confusion falls with width",
    source="arXiv 1904.06963 (of the two together), there on MNIST, CIFAR-10 and CIFAR-100",
    statistic=(
        "least cosine of two mini-batches' gradients, which is low where confusion is high, at step 0 and as a mean "
        "over the checkpoints from the end of the first epoch on: wider minus narrower and shallower minus deeper, "
        "without batch norm and skips; with each of these, and with both, minus without"
    ),
    unit="number",
    figure="confusion",
    tables=("confusion",),
    needs="networks that differ in width, in depth, in batch norm or in skip connections alone",
    level="III",
)
def confusion_by_structure(tables: Tables, settings: ClaimSettings) -> Parts:
    """How much higher the least cosine is for the wider, the shallower, and the one with batch norm or skips.

    Only networks of one architecture are compared, and only those that differ in one of these settings, or in both
    batch norm and skips. The learning rate of a part is that of the network that should have the higher cosine; at the
    start there is none.
    """
    parts: dict[str, Measured] = {}
    groups = tables["confusion"].groupby(["dataset", "labels", "optimizer", "architecture"])
    for (dataset, labels, optimizer, _), rows in groups:
        names = {tuple(row): str(name) for name, *row in rows[["model", *STRUCTURE]].itertuples(index=False)}
        for stage, chosen in STAGES.items():
            where = f"{dataset}, {labels}, {optimizer}, {{}}, {stage}"
            least = least_cosines(chosen(rows))
            for what, networks in _compared(least).items():
                more, less = (least[network] for network in networks)
                null = equal_conditions([more, less], settings.confidence)
                trained = (str(dataset), names[networks[0]], str(optimizer)) if stage == TRAINED else None
                parts[where.format(what)] = Measured(more - less, null=null, trained=trained)
    return parts


def least_cosines(rows: pd.DataFrame) -> dict[Network, PerSeed]:
    """Network -> the mean over the rows of the least cosine, by seed."""
    means = rows.groupby([*STRUCTURE, "seed"])["min_cosine"].mean()
    by_network = means.groupby(STRUCTURE)
    return {cast("Network", network): of_network.droplevel([0, 1, 2, 3]) for network, of_network in by_network}


def _compared(least: Collection[Network]) -> dict[str, tuple[Network, Network]]:
    """What is compared -> the network whose least cosine the statement has higher, and the one with the lower."""
    widths, depths = (sorted({network[axis] for network in least}) for axis in (0, 1))
    found: dict[str, tuple[Network, Network]] = {}
    for depth in depths:
        of_depth = [width for width in widths if (width, depth, *PLAIN) in least]
        for narrower, wider in pairwise(of_depth):
            what = f"depth {depth:g}, width {wider:g} over {narrower:g}"
            found[what] = (wider, depth, *PLAIN), (narrower, depth, *PLAIN)
    for width in widths:
        of_width = [depth for depth in depths if (width, depth, *PLAIN) in least]
        for shallower, deeper in pairwise(of_width):
            what = f"width {width:g}, depth {shallower:g} over {deeper:g}"
            found[what] = (width, shallower, *PLAIN), (width, deeper, *PLAIN)
        for depth in of_width:
            for name, variant in VARIANTS.items():
                if (width, depth, *variant) in least:
                    what = f"width {width:g}, depth {depth:g}, with {name}"
                    found[what] = (width, depth, *variant), (width, depth, *PLAIN)
    return found
