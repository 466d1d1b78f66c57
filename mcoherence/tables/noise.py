"""Tidy tables on label noise: groups against each other, contributions, overfitting, early stopping.

Every table begins with the columns that name a run, as those of `mcoherence.tables.runs`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.coherence import contribution, cosine_of_sums, cross_alignment, cross_m_coherence, m_coherence
from mcoherence.data.store import LABELS_SCHEMA, read_class_names, read_labels, read_targets
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.measuring.worlds import inner_with_total, over_updates
from mcoherence.study.result_names import COHERENCE_SCHEMA, CONTRIBUTIONS_SCHEMA, CORRUPT, GROUPS, HELDOUT, PRISTINE
from mcoherence.study.runs import Run, label_noise_runs
from mcoherence.tables.memorization import overfit, proper_accuracy
from mcoherence.tables.runs import TRAIN_GROUP, WHOLE_NETWORK, accuracy_of_run, of_run

MEASURED_WORLD = "measured"
# Groups of coherence.h5 whose sums are compared; train is pristine and corrupt examples together.
_MEMBERS = {
    GROUPS[PRISTINE]: [PRISTINE],
    GROUPS[CORRUPT]: [CORRUPT],
    GROUPS[HELDOUT]: [HELDOUT],
    TRAIN_GROUP: [PRISTINE, CORRUPT],
}
_PAIRS = [
    pair for pair in combinations(_MEMBERS, 2) if TRAIN_GROUP not in pair or GROUPS[HELDOUT] in pair
]  # disjoint groups only
_RANDOM_SCHEMES = ("uniform", "permute")  # a selected label is any class with the same chance


@dataclass(frozen=True)
class _Measured:
    """Sums of coherence.h5 over all parameters: n [K, G], sum_sq_norm Q [K, G], gram [K, G, G]; step, epoch [K]."""

    step: NDArray[np.int64]
    epoch: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    n: NDArray[np.int64]
    sum_sq_norm: NDArray[np.float64]
    gram: NDArray[np.float64]

    def inner(self, a: str, b: str) -> NDArray[np.float64]:
        """S_a . S_b of two groups by name, float64 [K]."""
        return np.asarray(self.gram[:, _MEMBERS[a]][:, :, _MEMBERS[b]].sum(axis=(1, 2)))

    def total(self, group: str) -> NDArray[np.float64]:
        """Q of a group by name, float64 [K]."""
        return np.asarray(self.sum_sq_norm[:, _MEMBERS[group]].sum(axis=1))

    def count(self, group: str) -> NDArray[np.int64]:
        """Number of examples of a group by name, int64 [K]."""
        return np.asarray(self.n[:, _MEMBERS[group]].sum(axis=1))


def group_alignment_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """How the gradient sums of two groups of examples lie to each other, per run, checkpoint and pair of groups.

    Columns: run, step, epoch, group_a, group_b (pairs of pristine, corrupt and heldout; heldout and train), layer
    ("model"), n_a, n_b, inner (S_a . S_b), cosine, cross_m_coherence, cross_alignment, diverged. A pair with an empty
    group has NaN.
    """
    frames = [
        of_run(run, noise, group_alignment_of_run(Path(f"{run.path(results)}/coherence.h5")))
        for run in label_noise_runs(experiment)
    ]
    return pd.concat(frames, ignore_index=True)


def group_alignment_of_run(path: Path) -> pd.DataFrame:
    """The rows of one run of `group_alignment_table`, without the columns that name the run."""
    sums = _read_measured(path)
    frames = []
    for a, b in _PAIRS:
        inner, totals, counts = sums.inner(a, b), (sums.total(a), sums.total(b)), (sums.count(a), sums.count(b))
        frames.append(
            pd.DataFrame(
                {
                    "step": sums.step,
                    "epoch": sums.epoch,
                    "group_a": a,
                    "group_b": b,
                    "layer": WHOLE_NETWORK,
                    "n_a": counts[0],
                    "n_b": counts[1],
                    "inner": inner,
                    "cosine": cosine_of_sums(inner, sums.inner(a, a), sums.inner(b, b)),
                    "cross_m_coherence": cross_m_coherence(inner, *totals),
                    "cross_alignment": cross_alignment(inner, *totals, *counts),
                    "diverged": sums.diverged,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def contributions_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """What pristine and corrupt examples contribute to the gradient, per run, checkpoint and world.

    The gradient is that of the fixed measured sample, where arXiv 2002.10657 takes the mini-batch's at every update.

    Columns: run, step, epoch, world ("measured", or "null 1", ... with shuffled tags), n_pristine, n_corrupt,
    sq_norm_of_sum (|S|^2), f_pristine, f_corrupt (S_p . S / S . S and S_c . S / S . S, which add up to 1), i_pristine,
    i_corrupt (the running sum over updates of <g, g^p> per pristine example and the same of corrupt ones, g = S / m and
    g^p = S_p / m, by trapezoids between checkpoints: an estimate that does not see what happens between them), diverged
    (NaN then).
    """
    frames = [
        of_run(run, noise, contributions_of_run(Path(f"{run.path(results)}/contributions.h5")))
        for run in label_noise_runs(experiment)
    ]
    return pd.concat(frames, ignore_index=True)


def contributions_of_run(path: Path) -> pd.DataFrame:
    """The rows of one run of `contributions_table`, without the columns that name the run."""
    with open_hdf5(path, CONTRIBUTIONS_SCHEMA) as file:
        step, epoch, diverged = (file[name][:] for name in ("step", "epoch", "diverged"))
        n, gram = file["n"][0], file["gram"][:].sum(axis=-1)  # [C], the same at every checkpoint; [K, C, C]
        corrupt = file["corrupt_cells"][:]
    squared = gram.sum(axis=(1, 2))
    frames = []
    for world, cells in enumerate(corrupt):
        columns: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "world": MEASURED_WORLD if world == 0 else f"null {world}",
        }
        groups = {"pristine": ~cells, "corrupt": cells}
        columns |= {f"n_{group}": int(n[members].sum()) for group, members in groups.items()}
        columns["sq_norm_of_sum"] = squared
        inner = {group: inner_with_total(gram, members) for group, members in groups.items()}
        columns |= {f"f_{group}": contribution(inner[group], squared) for group in groups}
        for group in groups:
            count = columns[f"n_{group}"]
            rate = inner[group] / (n.sum() ** 2 * count) if count else np.full(len(step), np.nan)
            columns[f"i_{group}"] = over_updates(step, rate)
        frames.append(pd.DataFrame(columns | {"diverged": diverged}))
    return pd.concat(frames, ignore_index=True)


def overfit_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """How far each run's training accuracy goes beyond what the test accuracy accounts for, per checkpoint.

    Columns: run, c (percentile clipped by winsorised SGD, 0 for an SGD entry that is alike but for that, else NaN),
    alike (number of the family of entries that differ in c alone, -1 for none), step, epoch, classes,
    train_accuracy, test_accuracy, pristine_share (share of the training labels that the corruption left as they
    were: what a network that predicts every true label scores), proper_accuracy (its expectation 1 - eps + eps / C),
    overfit (ta - [eps / C + (1 - eps) va]; both NaN for schemes of corruption other than uniform and permute), diverged
    (NaN then).

    Args:
        results: the study's folder.
        experiment: the label-noise experiment, with `winsorization`: {entry: {"c": ..., "alike": ...}}.
        noise: fraction of each label set.
    """
    frames = []
    for run in label_noise_runs(experiment):
        family = experiment["winsorization"].get(run.optimizer, {"c": np.nan, "alike": -1})
        rows = _overfit_of_run(results, run, noise[run.labels]).assign(c=float(family["c"]), alike=family["alike"])
        frames.append(of_run(run, noise, rows[["c", "alike", *rows.columns.drop(["c", "alike"])]]))
    return pd.concat(frames, ignore_index=True)


def _overfit_of_run(results: str, run: Run, eps: float) -> pd.DataFrame:
    images, labels_path = Path(f"{results}/data/{run.dataset}/images.h5"), Path(run.labels_path(results))
    labels, classes = read_labels(labels_path), len(read_class_names(images))
    rows = accuracy_of_run(Path(f"{run.path(results)}/evaluation.h5"), labels, read_targets(images, "test"))
    train, test = (rows[rows["part"] == part].reset_index(drop=True) for part in ("train", "test"))
    at_random = eps == 0 or _corruption_scheme(labels_path) in _RANDOM_SCHEMES
    ta, va = train["accuracy"], test["accuracy"]
    return pd.DataFrame(
        {
            "step": train["step"],
            "epoch": train["epoch"],
            "classes": classes,
            "train_accuracy": ta,
            "test_accuracy": va,
            "pristine_share": float(1 - labels.changed.mean()),
            "proper_accuracy": float(proper_accuracy(eps, classes)) if at_random else np.nan,
            "overfit": overfit(ta, va, eps, classes) if at_random else np.nan,
            "diverged": train["diverged"],
        }
    )


def early_stopping_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """The best checkpoint of each run against its last one; a row per run.

    The best is chosen by the accuracy on the test part itself, the first of equals, so that its accuracy is optimistic:
    what stopping early can give at most, not what stopping on held-out data would give.

    Columns: run, best_step, best_epoch, best_test_accuracy, best_m_coherence, last_step, last_epoch,
    last_test_accuracy, last_m_coherence (of the training sample, all parameters), diverged (NaN in all but the steps of
    a run that diverged at any checkpoint).
    """
    rows = [of_run(run, noise, _early_stopping_of_run(results, run)) for run in label_noise_runs(experiment)]
    return pd.concat(rows, ignore_index=True)


def _early_stopping_of_run(results: str, run: Run) -> pd.DataFrame:
    targets = read_targets(Path(f"{results}/data/{run.dataset}/images.h5"), "test")
    labels = read_labels(Path(run.labels_path(results)))
    rows = accuracy_of_run(Path(f"{run.path(results)}/evaluation.h5"), labels, targets)
    accuracy = rows.loc[rows["part"] == "test", "accuracy"].to_numpy()
    sums = _read_measured(Path(f"{run.path(results)}/coherence.h5"))
    coherence = m_coherence(sums.inner(TRAIN_GROUP, TRAIN_GROUP), sums.total(TRAIN_GROUP))
    lost = bool(sums.diverged.any())
    positions = {"best": -1 if lost else int(np.argmax(accuracy)), "last": -1}
    columns: dict[str, Any] = {}
    for which, position in positions.items():
        columns |= {
            f"{which}_step": sums.step[position],
            f"{which}_epoch": sums.epoch[position],
            f"{which}_test_accuracy": np.nan if lost else accuracy[position],
            f"{which}_m_coherence": np.nan if lost else coherence[position],
        }
    return pd.DataFrame([columns | {"diverged": lost}])


NOISE_TABLES = {
    "contributions": contributions_table,
    "early_stopping": early_stopping_table,
    "group_alignment": group_alignment_table,
    "overfit": overfit_table,
}


def _read_measured(path: Path) -> _Measured:
    with open_hdf5(path, COHERENCE_SCHEMA) as file:
        whole = {name: file[name][:].sum(axis=-1) for name in ("sum_sq_norm", "gram")}
        return _Measured(**{name: file[name][:] for name in ("step", "epoch", "diverged", "n")}, **whole)


def _corruption_scheme(labels: Path) -> str:
    with open_hdf5(labels, LABELS_SCHEMA) as file:
        return str(json.loads(file.attrs["settings"]).get("scheme", "uniform"))
