"""Statements on finding wrong labels by what training shows of single examples, which no paper of the four makes.

They are reported only.
"""

import pandas as pd

from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables
from mcoherence.claims.nulls import equal_conditions
from mcoherence.claims.registry import claim
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.examples import AT_CHECKPOINTS, LAST, MEAN

ALIGNMENTS = ("class_cosine", "all_cosine")
AGAINST = "loss"


@claim(
    "E15",
    "Wrong labels are found better by a score's mean over training than by its value at the end.",
    short="mean over training finds errors",
    source="implied by arXiv 2001.10528 and 2009.10795; no published numbers for these networks",
    statistic="AUROC of the mean over the checkpoints minus AUROC at the last one, mean over the label sets",
    unit="points",
    figure="label_errors",
    tables=("label_errors",),
    needs="runs on labels that are wrong in part, with scores of their examples",
    level="III",
)
def mean_over_last(tables: Tables, settings: ClaimSettings) -> Parts:
    """AUROC of the mean minus AUROC at the end, for every score and network; mean over the label sets of a seed."""
    parts = {}
    for where, rows in _networks(tables["label_errors"]):
        for score in AT_CHECKPOINTS:
            mean, last = (_of(rows, score, over) for over in (MEAN, LAST))
            parts[f"{where}, {score}"] = _compared(mean, last, settings)
    return parts


@claim(
    "E16",
    "Wrong labels are found better by how an example's gradient aligns with the others' than by its loss.",
    short="alignment finds errors",
    source="this project's question; no paper asserts it",
    statistic=(
        "AUROC of the cosine with the others of the label, and with all others, minus AUROC of the loss, mean over the "
        "label sets, at the last checkpoint and as means over the checkpoints"
    ),
    unit="points",
    figure="label_errors",
    tables=("label_errors",),
    needs="runs on labels that are wrong in part, with scores of their examples",
    level="III",
)
def alignment_over_loss(tables: Tables, settings: ClaimSettings) -> Parts:
    """AUROC of either cosine minus that of the loss, at the end and as means; mean over the label sets of a seed."""
    parts = {}
    for where, rows in _networks(tables["label_errors"]):
        for score in ALIGNMENTS:
            for over in (LAST, MEAN):
                alignment, loss = (_of(rows, one, over) for one in (score, AGAINST))
                parts[f"{where}, {score}, {over}"] = _compared(alignment, loss, settings)
    return parts


def _networks(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    groups = table.groupby(["dataset", "model", "optimizer"], observed=True)
    return [(", ".join(map(str, keys)), rows) for keys, rows in groups]


def _of(rows: pd.DataFrame, score: str, over: str) -> pd.DataFrame:
    """AUROC by seed and label set, without seeds that have not all label sets."""
    chosen = rows[(rows["ranked_by"] == score) & (rows["over"] == over)]
    return chosen.pivot(index="seed", columns="labels", values="auroc").dropna()


def _compared(more: pd.DataFrame, less: pd.DataFrame, settings: ClaimSettings) -> Measured:
    """The mean over label sets of the difference within a seed, and which label sets have the least and the most."""
    by_labels = sorted((float(value), str(name)) for name, value in (more - less).mean().items())
    note = " to ".join(f"{value:+.3f} ({name})" for value, name in (by_labels[0], by_labels[-1])) if by_labels else ""
    means: list[PerSeed] = [one.mean(axis=1) for one in (more, less)]
    return Measured(means[0] - means[1], null=equal_conditions(means, settings.confidence), note=note)
