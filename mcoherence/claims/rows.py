"""The rows of tables that the statistics of several claims are taken of, and logarithms of what is in them."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import cast

import numpy as np
import pandas as pd

from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.crossings import between, first_crossing
from mcoherence.tables.curves import ends_of_transients
from mcoherence.tables.rows import run_keys

ROUNDING = 1e-9  # of a step that is the exponential of a logarithm
Windows = Mapping[tuple[str, str, str], float]  # (data set, network, optimiser) -> the last step that is early


@dataclass(frozen=True, order=True)
class LabelSet:
    """A study's label set: the fraction of random labels, its name, and how parts of claims name it.

    level: the fraction, and the name too where the table has another set of that fraction.
    """

    noise: float
    labels: str
    level: str = field(compare=False)

    @property
    def words(self) -> str:
        """The label set in words, such as "noise 0.5" or "noise 0.5 (permuted)"."""
        return f"noise {self.level}"


def label_sets_by_noise(table: pd.DataFrame) -> list[LabelSet]:
    """The label sets of a table, by noise and then by name.

    Two of one noise, such as labels redrawn and labels permuted, are two conditions: claims never take a mean over
    them, and compare each of them with each of another noise. This and the next functions are where that is decided.
    """
    sets = sorted(table[["noise", "labels"]].drop_duplicates().itertuples(index=False, name=None))
    levels = [noise for noise, _ in sets]
    return [
        LabelSet(float(noise), str(name), f"{noise:g}" + (f" ({name})" if levels.count(noise) > 1 else ""))
        for noise, name in sets
    ]


def by_label_set(
    table: pd.DataFrame, keys: Sequence[str] = ()
) -> Iterator[tuple[tuple[str, ...], LabelSet, pd.DataFrame]]:
    """(values of the keys, label set, rows) for each combination that the table has, by the keys and then by noise."""
    sets = {one.labels: one for one in label_sets_by_noise(table)}
    groups = [
        (cast("tuple[str, ...]", tuple(names)), sets[str(labels)], rows)
        for (*names, labels), rows in table.groupby([*keys, "labels"], observed=True)
    ]
    for names, one, rows in sorted(groups, key=lambda group: group[:2]):
        yield tuple(map(str, names)), one, rows


def neighbours(table: pd.DataFrame) -> list[tuple[LabelSet, LabelSet]]:
    """Less and more noise: each label set with each of the next higher noise that the table has."""
    sets = label_sets_by_noise(table)
    levels = sorted({one.noise for one in sets})
    return [pair for pair in product(sets, sets) if (pair[0].noise, pair[1].noise) in pairwise(levels)]


def clean_and_random(table: pd.DataFrame) -> list[tuple[LabelSet, LabelSet, str]]:
    """Each label set without noise with each wholly random one, and what is added to a place where these are several.

    >>> names = {"noise": [0.0, 1.0, 1.0], "labels": ["clean", "drawn", "permuted"]}
    >>> [added for _, _, added in clean_and_random(pd.DataFrame(names))]
    [', noise 0 and 1 (drawn)', ', noise 0 and 1 (permuted)']
    """
    sets = label_sets_by_noise(table)
    pairs = [pair for pair in product(sets, sets) if (pair[0].noise, pair[1].noise) == (0.0, 1.0)]
    return [(clean, random, f", {clean.words} and {random.level}" if len(pairs) > 1 else "") for clean, random in pairs]


def wholly_random(table: pd.DataFrame) -> list[tuple[LabelSet, str]]:
    """Each wholly random label set, and what is added to a place where these are several."""
    sets = [one for one in label_sets_by_noise(table) if one.noise == 1]
    return [(one, f", {one.words}" if len(sets) > 1 else "") for one in sets]


def sgd_rows(table: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """The rows of runs that an entry of SGD trained."""
    rows: pd.DataFrame = table[table["optimizer"].isin(settings.entries("sgd"))]
    return rows


def of_sgd(table: pd.DataFrame, settings: ClaimSettings) -> list[tuple[str, pd.DataFrame]]:
    """(place, rows) for every data set and network trained with SGD."""
    rows = sgd_rows(table, settings)
    return [
        (f"{dataset}, {model}, {optimizer}", group)
        for (dataset, model, optimizer), group in rows.groupby(["dataset", "model", "optimizer"])
    ]


def past_transient(
    table: pd.DataFrame, settings: ClaimSettings, curves: pd.DataFrame | None = None, *, by: tuple[str, ...] = ()
) -> pd.DataFrame:
    """The rows of each run from the end of its initial transient on, see `mcoherence.tables.curves.end_of_transient`.

    A run whose transient has no end has no rows; where the study sets first_step, that stands for all ends.

    Args:
        table: with a step in each row.
        settings: of the study.
        curves: rows with the m-coherence that says where a run's transient ends, one curve a run; None: those of the
            table.
        by: columns besides the run's that tell the curves apart, such as the group of examples.
    """
    told_by = table if curves is None else curves
    keys = [*run_keys(told_by), *by]
    ends = ends_of_transients(told_by, keys, settings.reading)
    end = table[keys].merge(ends, on=keys, how="left")["end_of_transient"].to_numpy()
    return table[table["step"].to_numpy() >= end]


def while_learning(table: pd.DataFrame, accuracy: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """The rows of each run until it has fitted its training examples, that checkpoint too; all rows where it never has.

    What m-coherence does afterwards is not about learning these labels: a step that goes too far loses some of what was
    fitted, and the gradients of all that was lost agree, whatever the labels.
    """
    keys = run_keys(accuracy)
    fitted = accuracy[(accuracy["part"] == "train") & (accuracy["accuracy"] >= settings.fitted)]
    first = fitted.groupby(keys)["step"].min().rename("fitted_from").reset_index()
    end = table[keys].merge(first, on=keys, how="left")["fitted_from"].fillna(np.inf).to_numpy()
    return table[table["step"].to_numpy() <= end]


def early_windows(accuracy: pd.DataFrame, settings: ClaimSettings) -> dict[tuple[str, str, str], float]:
    """The last step that is early in training, by data set, network and optimiser, for the entries of SGD.

    Early is until learning is half-way, or at another early_share: the time at which the runs with the least label
    noise have come so far from their accuracy before training, that of chance, to the target accuracy, on the examples
    whose labels are right. Of the runs' times it is the geometric mean; a run that never gets there counts with its
    last step. Where all labels are random nothing is early.
    """
    windows = {}
    rows = sgd_rows(accuracy[accuracy["part"] == "pristine"], settings)
    for (dataset, model, optimizer), runs in rows[rows["noise"] < 1].groupby(["dataset", "model", "optimizer"]):
        least = runs[runs["noise"] == runs["noise"].min()]
        start = least.loc[least["step"] == least["step"].min(), "accuracy"].mean()
        half_way = start + settings.early_share * (settings.target_accuracy - start)
        times = [
            log10_time_to_reach(half_way, run["step"], run["accuracy"]) for _, run in least.groupby(["labels", "seed"])
        ]
        windows[str(dataset), str(model), str(optimizer)] = float(10 ** np.mean(times))
    return windows


def early(table: pd.DataFrame, windows: Windows) -> pd.DataFrame:
    """The rows of runs of SGD early in training, from step 0 on, see `early_windows`."""
    last = [windows.get(key, -1.0) for key in zip(table["dataset"], table["model"], table["optimizer"], strict=True)]
    return table[table["step"].to_numpy() <= np.array(last, dtype=np.float64) * (1 + ROUNDING)]


def at_best_of_others(curves: pd.DataFrame, read: pd.DataFrame | None = None) -> pd.Series:
    """What each seed has in the row where the mean of the other seeds' curves is largest; NaN for one seed alone.

    So chance in a run's own curve is not counted as a gain, as it is in the largest of its own values.

    Args:
        curves: a row for each step, a column for each seed.
        read: what is read there, with the same steps and seeds; the curves themselves by default.

        >>> at_best_of_others(pd.DataFrame({0: [1.0, 0.0], 1: [0.0, 9.0]})).tolist()
        [0.0, 0.0]
    """
    values: dict[Hashable, float] = {}
    for seed in curves:
        others = curves.drop(columns=seed).mean(axis=1).to_numpy()
        own = (curves if read is None else read)[seed].to_numpy()
        values[seed] = float(own[np.nanargmax(others)]) if np.isfinite(others).any() else np.nan
    return pd.Series(values)


def log10_time_to_reach(target: float, steps: pd.Series, accuracy: pd.Series) -> float:
    """log10 of the step at which the accuracy first reaches the target, linear between checkpoints on a log axis.

    Step 0 counts as 1. The last step where the target is never reached.
    """
    log_steps = np.log10(np.clip(steps.to_numpy(dtype=np.float64), 1, None))
    order = np.argsort(log_steps, kind="stable")
    place = first_crossing(accuracy.to_numpy(dtype=np.float64)[order], [target])
    reached = between(log_steps[order], place)[0]
    return float(log_steps.max() if np.isnan(reached) else reached)


def log_spacing(steps: pd.Series) -> float:
    """The widest gap between neighbouring checkpoints, in log10 of the step; steps below 1 are left out."""
    distinct = np.unique(steps[steps >= 1].to_numpy(dtype=np.float64))
    return float(np.diff(np.log10(distinct)).max()) if len(distinct) > 1 else 0.0


def log10(values: pd.Series) -> pd.Series:
    """The values' logarithms to base 10, with their index."""
    return pd.Series(np.log10(values.to_numpy(dtype=np.float64)), index=values.index)
