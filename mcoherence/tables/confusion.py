"""Gradient confusion along training: how the gradients of a run's mini-batches lie to one another.

Source: arXiv 1904.06963; how they are measured is in `mcoherence.measuring.confusion`.

Index letters: K checkpoints, B mini-batches, U = B (B - 1) / 2 pairs of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.files.hdf5 import open_hdf5
from mcoherence.study.result_names import CONFUSION_SCHEMA, NO_BATCH_NORM
from mcoherence.study.runs import Run
from mcoherence.tables.accuracy import accuracy_of_run
from mcoherence.tables.columns import Column
from mcoherence.tables.runs import named

# (batch norm, skip connections)
PLAIN = (False, False)
VARIANTS = {"batch norm": (True, False), "skip connections": (False, True), "both": (True, True)}
FIRST_EPOCH = 1  # in training counts from the end of the first epoch on
STRUCTURE = ("architecture", "width", "depth", "normalised", "skip")
COLUMNS = {
    "architecture": Column("", "of the network"),
    "width": Column("units", "of the network's hidden layers"),
    "depth": Column("layers", "hidden layers of the network"),
    "normalised": Column("", "whether the network has batch norm, which normalises by the mini-batch here"),
    "skip": Column("", "whether connections skip its hidden layers"),
    "pairs": Column("pairs", "pairs of mini-batches that are compared"),
    "confusion": Column("(loss/weight)²", "η, the least that is at least 0 and every pair's g_i · g_j ≥ -η"),
    "min_cosine": Column("share", "least cosine of two mini-batches' gradients (arXiv 1904.06963)"),
    "cosine_05": Column("share", "5% quantile of the pairs' cosines"),
    "median_cosine": Column("share", "their median"),
    "cosine_95": Column("share", "95% quantile of the pairs' cosines"),
    "negative": Column("share", "pairs whose cosine is below 0"),
}


def table(
    results: str, runs: Sequence[Run], noise: Mapping[str, float], *, structures: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """The cosines of the mini-batches' gradients, a row per run and checkpoint.

    Columns: run, architecture, width, depth, normalised, skip (of its network), step, epoch, pairs, confusion,
    min_cosine, cosine_05, median_cosine, cosine_95, negative, train_accuracy (on the labels trained on), batch_norm,
    diverged (the numbers are NaN there).

    Args:
        results: the study's folder.
        runs: those of the experiment.
        noise: label set -> fraction of random labels.
        structures: network -> architecture, width, depth, normalised and skip.
    """
    frames = []
    for run in runs:
        rows = _rows_of_run(results, run, mini_batch_statistics(structures[run.model]))
        structure = pd.DataFrame({name: structures[run.model][name] for name in STRUCTURE}, index=rows.index)
        frames.append(named(run, noise, pd.concat([structure, rows], axis=1)))
    return pd.concat(frames, ignore_index=True)


def mini_batch_statistics(structure: Mapping[str, Any]) -> str:
    """By what statistics a network of this structure normalised: minibatch; none, for one without batch norm."""
    return "minibatch" if structure["normalised"] else NO_BATCH_NORM


def cosines(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosines of all pairs of gradients, float64 [K, U], of their inner products [K, B, B].

    A gradient that vanishes has the cosine NaN with every other, without a warning.
    """
    first, second = np.triu_indices(gram.shape[-1], 1)
    norms = np.sqrt(np.einsum("kbb->kb", gram))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(gram[:, first, second] / (norms[:, first] * norms[:, second]))


def _rows_of_run(results: str, run: Run, batch_norm: str) -> pd.DataFrame:
    """The rows of one run, without the columns that name it and its network."""
    with open_hdf5(Path(run.file(results, "confusion")), CONFUSION_SCHEMA) as file:
        step, epoch, diverged, gram = (file[name][:] for name in ("step", "epoch", "diverged", "gram"))
    scores = accuracy_of_run(results, run)
    accuracy = scores.loc[scores["part"] == "train", "accuracy"].to_numpy()
    of_pairs = cosines(gram)
    lost = np.isnan(of_pairs).any(axis=1)
    least, low, median, high = (_quantile(of_pairs, share) for share in (0.0, 0.05, 0.5, 0.95))
    first, second = np.triu_indices(gram.shape[-1], 1)
    return pd.DataFrame(
        {
            "step": step,
            "epoch": epoch,
            "pairs": of_pairs.shape[1],
            "confusion": np.maximum(0.0, -gram[:, first, second].min(axis=1)),
            "min_cosine": least,
            "cosine_05": low,
            "median_cosine": median,
            "cosine_95": high,
            "negative": np.where(lost, np.nan, (of_pairs < 0).mean(axis=1)),
            "train_accuracy": np.where(diverged, np.nan, accuracy),
            "batch_norm": batch_norm,
            "diverged": diverged,
        }
    )


def _quantile(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """A quantile over the pairs of values [K, U], linear between them; NaN where one is NaN; [K]."""
    return np.asarray(np.quantile(values, share, axis=1))
