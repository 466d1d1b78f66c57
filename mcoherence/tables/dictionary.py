"""What the columns of the tidy tables mean: those of several tables here, for there a name means the same in each.

A column that only one table has is described in the table's module, `mcoherence.tables.NAME`, as an entry of `COLUMNS`.
"""

import importlib
from collections.abc import Iterable, Mapping

import pandas as pd

from mcoherence.errors import UserError
from mcoherence.tables.columns import Column

COLUMNS = {
    "dataset": Column("", "entry of the config's datasets"),
    "model": Column("", "entry of the config's models"),
    "labels": Column("", "entry of the config's labels"),
    "noise": Column("share", "training labels selected for corruption; some keep their class"),
    "optimizer": Column("", "entry of the config's optimizers"),
    "subset": Column("", "part of the training images that the run trained on: full, easy, hard, random"),
    "seed": Column("", "seed of the run: initial weights, order of the examples, corruption of the labels"),
    "step": Column("updates", "optimiser updates made before the checkpoint"),
    "epoch": Column("passes", "passes over the run's training examples made before the checkpoint"),
    "part": Column("", "examples scored: train, its pristine (label kept) and corrupt (label changed) part, test"),
    "group": Column(
        "",
        "examples gathered: train or all, pristine (label kept), corrupt (changed), heldout; redrawn (random labels)",
    ),
    "layer": Column("", "layer of the network; model stands for all layers together"),
    "original": Column("", "class of the example before corruption"),
    "label": Column("", "label of the example that the run trained on"),
    "changed": Column("", "whether the example's label is not its original one"),
    "n": Column("examples", "how many the row is about"),
    "accuracy": Column("share", "examples predicted as their label: that trained on, or the clean one for test"),
    "loss": Column("nats", "mean cross-entropy per example"),
    "sq_norm_of_sum": Column("(loss/weight)²", "|S|², the squared norm of the sum of the examples' gradients"),
    "m_coherence": Column(
        "examples", "|S|²/Q: what a step for one example does for all, in units of its own (arXiv 2008.01217)"
    ),
    "alpha": Column("share", "m-coherence over the number of examples (arXiv 2203.10036)"),
    "pairwise_alignment": Column("share", "mean inner product of two examples' gradients over mean squared norm"),
    "cosine": Column("share", "S_a · S_b / (|S_a| |S_b|), between the two groups' summed gradients"),
    "train_accuracy": Column("share", "training examples predicted as the label trained on"),
    "test_accuracy": Column("share", "test examples predicted as their clean label"),
    "other": Column("", "what the row compares with: another seed or score, or another group of examples"),
    "batch_norm": Column(
        "", "statistics that batch norm normalised by in measuring: running, sample, minibatch; none without it"
    ),
    "diverged": Column("", "whether loss or weights had stopped being finite; what is measured is missing then"),
}


def columns_of(table: str) -> Mapping[str, Column]:
    """The columns that the table of this name can have: those of several tables, and its own."""
    module = importlib.import_module(f"mcoherence.tables.{table}")
    own: Mapping[str, Column] = getattr(module, "COLUMNS", {})
    return {**COLUMNS, **own}


def dictionary(tables: Iterable[tuple[str, Iterable[str]]]) -> pd.DataFrame:
    """One row per table and column: table, column, unit, meaning.

    Args:
        tables: (name of a table, names of its columns).

    Raises:
        UserError: nothing describes a column.
    """
    rows = []
    for table, columns in tables:
        described = columns_of(table)
        for column in columns:
            if column not in described:
                raise UserError(
                    f"table {table}: found the column {column!r}, expected one that is described; add it to COLUMNS of "
                    f"mcoherence/tables/{table}.py"
                )
            rows.append((table, column, described[column].unit, described[column].meaning))
    return pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"])
