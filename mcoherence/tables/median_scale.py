"""Memorisation by optimiser, size of mini-batch and rate: a row per run, with the rate that was chosen for its kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mcoherence.study.runs import Run
from mcoherence.tables.accuracy import accuracy_of_run
from mcoherence.tables.columns import Column
from mcoherence.tables.crossings import between, first_crossing
from mcoherence.tables.inputs import classes_of
from mcoherence.tables.runs import rows_of_runs

# The accuracy on pristine examples that chooses a rate, and that on corrupt ones whose time is compared: the experiment
# is about these. The level of equal fit is a threshold of claims, `claims.equal_fit`.
CHOICE, MEMORISED = 0.9, 0.5
KIND = ["dataset", "model", "method", "batch_size"]

COLUMNS = {
    "method": Column("", "entry of the config's optimizers that the run's own was made of"),
    "reference": Column("", "whether that is the method which the others are compared with"),
    "batch_size": Column("examples", "of a mini-batch"),
    "rate": Column("", "factor of that entry's lr"),
    "tuning": Column("", "whether the seed is one of those that choose the rate, which are not reported"),
    "chosen": Column(
        "", "whether the run has the rate that was chosen for its data set, network, method and batch size"
    ),
    "group_size": Column("examples", "whose mean gradient is one of those that the method compares"),
    "per_class": Column("examples", "group_size over the number of classes: of each class in a group, on average"),
    "choice_epoch": Column("passes", "when the accuracy on pristine examples first reaches 0.9; inf if never"),
    "fit_epoch": Column(
        "passes", "when the accuracy on pristine examples first reaches claims.equal_fit; inf if never"
    ),
    "corrupt_at_fit": Column("share", "corrupt examples predicted as their changed label, there"),
    "test_at_fit": Column("share", "test examples predicted as their clean label, there"),
    "memorised_epoch": Column("passes", "when the accuracy on corrupt examples first reaches 0.5; inf if never"),
    "end_epoch": Column("passes", "epoch of the last checkpoint"),
    "end_pristine": Column("share", "accuracy on pristine examples at the last checkpoint"),
    "end_corrupt": Column("share", "accuracy on corrupt examples at the last checkpoint"),
    "end_test": Column("share", "test accuracy at the last checkpoint"),
}


def table(
    results: str,
    runs: Sequence[Run],
    noise: Mapping[str, float],
    *,
    entries: Mapping[str, Mapping[str, Any]],
    tuning_seeds: Sequence[int],
    reference: str,
    fit: float,
) -> pd.DataFrame:
    """When each run fits pristine and corrupt examples, and which rate was chosen for its kind; a row per run.

    Columns: run, those of `COLUMNS`, diverged (a run that diverged reaches nothing: its times are inf, and its
    accuracies are missing).

    Args:
        results: the study's folder.
        runs: those of the experiment.
        noise: label set -> fraction of random labels.
        entries: optimiser entry -> method, batch_size, rate, group_size.
        tuning_seeds: of the runs that rates are chosen on.
        reference: the method that all others are compared with.
        fit: accuracy on pristine examples at which what is fitted of the corrupt ones is compared.
    """

    def rows_of(run: Run) -> pd.DataFrame:
        entry = entries[run.optimizer]
        classes = classes_of(results, run)
        known = {
            "method": entry["method"],
            "reference": entry["method"] == reference,
            "batch_size": entry["batch_size"],
            "rate": float(entry["rate"]),
            "tuning": run.seed in tuning_seeds,
            "group_size": float(entry["group_size"]),
            "per_class": entry["group_size"] / classes,
        }
        return pd.DataFrame([known | times_of_run(accuracy_of_run(results, run), fit)])

    rows = rows_of_runs(runs, noise, rows_of)
    rows.insert(list(rows.columns).index("tuning") + 1, "chosen", is_chosen(rows))
    return rows


def times_of_run(accuracy: pd.DataFrame, fit: float) -> dict[str, Any]:
    """When a run fits pristine and corrupt examples, and what it has then and in the end, from its accuracies."""
    curves = accuracy.set_index(["step", "epoch", "part"])["accuracy"].unstack("part").reset_index().sort_values("step")
    lost = bool(accuracy["diverged"].any())
    levels = np.array([CHOICE, fit])
    pristine = np.full(2, np.nan) if lost else first_crossing(curves["pristine"], levels)
    memorised = np.full(1, np.nan) if lost else first_crossing(curves["corrupt"], [MEMORISED])
    choice_epoch, fit_epoch = (float(value) for value in _or_never(between(curves["epoch"], pristine)))
    last = curves.iloc[-1]
    return {
        "choice_epoch": choice_epoch,
        "fit_epoch": fit_epoch,
        "corrupt_at_fit": float(between(curves["corrupt"], pristine)[1]),
        "test_at_fit": float(between(curves["test"], pristine)[1]),
        "memorised_epoch": float(_or_never(between(curves["epoch"], memorised))[0]),
        "end_epoch": float(last["epoch"]),
        **{f"end_{part}": np.nan if lost else float(last[part]) for part in ("pristine", "corrupt", "test")},
        "diverged": lost,
    }


def is_chosen(rows: pd.DataFrame) -> pd.Series:
    """Whether each run has the rate chosen for its data set, network, method and batch size, bool.

    Of the rates at which all tuning seeds reach an accuracy of 0.9 on pristine examples, the one whose median time is
    the shortest; of equals the lowest. None where no rate gets there.
    """
    tuning = rows[rows["tuning"]]
    soonest = tuning.groupby([*KIND, "rate"])["choice_epoch"].agg(["median", "max"]).reset_index()
    soonest = soonest[np.isfinite(soonest["max"])].sort_values(["median", "rate"], kind="stable")
    chosen = soonest.drop_duplicates(KIND).set_index(KIND)["rate"]
    own = pd.Series(list(rows[KIND].itertuples(index=False, name=None)), index=rows.index)
    return rows["rate"] == own.map(chosen.to_dict())


def _or_never(times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(np.isnan(times), np.inf, times)
