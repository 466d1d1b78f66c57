"""Tidy tables that the page's charts are drawn from: every seed's curve, their mean, and each layer's.

A network is a data set and a model, named together; runs on different data are never averaged. Only runs on the full
training set are here; those on easy and hard examples have their own figure.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.reading import full_set_runs, label_sets
from mcoherence.figures.style import readable
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK

MEAN = "mean"  # in the place of a seed
RUN = ["dataset", "model", "labels", "optimizer", "seed"]
COLUMNS = ("network", "labels", "optimizer", "of", "seed", "step", "epoch", "loss", "value", "low", "high")
LAYER_COLUMNS = ("network", "labels", "optimizer", "layer", "order", "step", "value")


def coherence_curves(coherence: pd.DataFrame, accuracy: pd.DataFrame | None, confidence: float) -> pd.DataFrame:
    """The whole network's m-coherence along training, of every group of examples that was measured.

    Args:
        coherence: the tidy table coherence.
        accuracy: the tidy table accuracy, from which the loss on the training set is taken; None where there is none.
        confidence: coverage of the intervals of the means.

    Returns:
        COLUMNS; a row per run and checkpoint, and one for the geometric mean over seeds with its interval, worked on
        logarithms. `of` names the examples; `loss` is that of the training set at the checkpoint.
    """
    rows = coherence[coherence["layer"] == WHOLE_NETWORK]
    return _curves(rows.rename(columns={"group": "of"}), "m_coherence", accuracy, confidence, logarithmic=True)


def accuracy_curves(accuracy: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The accuracy along training on every part of the data: COLUMNS, with arithmetic means over seeds.

    Their intervals are cut at 0 and 1, beyond which no accuracy is.
    """
    rows = accuracy.rename(columns={"part": "of"})
    return _within_one(_curves(rows, "accuracy", accuracy, confidence, logarithmic=False))


def equal_fit_curves(equal_fit: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Accuracy on corrupt examples where that on pristine ones reaches a level: COLUMNS, the level as `loss`.

    Intervals as of `accuracy_curves`.
    """
    rows = equal_fit[equal_fit["reached"].astype(bool)].assign(of="corrupt", step=0, epoch=0.0)
    rows = _named(full_set_runs(rows).rename(columns={"pristine_accuracy": "loss", "corrupt_accuracy": "value"}))
    return _within_one(_with_means(rows, ["loss"], confidence, logarithmic=False))


def layer_map(coherence: pd.DataFrame) -> pd.DataFrame:
    """Each layer's m-coherence of the training sample at each checkpoint: its geometric mean over seeds.

    Returns:
        LAYER_COLUMNS; `order` is the place of the layer in its network.
    """
    rows = full_set_runs(coherence)
    rows = _named(rows[(rows["group"] == TRAIN_GROUP) & (rows["layer"] != WHOLE_NETWORK)])
    by = ["network", "labels", "optimizer", "layer", "step"]
    means = over_seeds(rows, by, "m_coherence", confidence=0.95, logarithmic=True).rename(columns={"mean": "value"})
    pairs = rows[["network", "layer"]].drop_duplicates()
    pairs = pairs.assign(order=pairs.groupby("network", sort=False).cumcount())
    means = means.merge(pairs, on=["network", "layer"])
    return means.sort_values(["network", "labels", "optimizer", "order", "step"], ignore_index=True)[[*LAYER_COLUMNS]]


def label_sets_of(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The names of the label sets of the tables, from clean to random."""
    return list(dict.fromkeys(name for table in tables.values() if "labels" in table for name in label_sets(table)))


def distinct(names: Iterable[str]) -> dict[str, str]:
    """Each name as a reader sees it; those that would read alike with the config's own name beside it.

    >>> distinct(["rm3", "my_net", "my net"])
    {'rm3': 'RM3', 'my_net': 'my net (my_net)', 'my net': 'my net (my net)'}
    """
    read = {name: readable(name) for name in names}
    counts = Counter(read.values())
    return {name: text if counts[text] == 1 else f"{text} ({name})" for name, text in read.items()}


def means_alone(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the means, for a study too large to show its single seeds."""
    return table[table["seed"] == MEAN] if "seed" in table else table


def _within_one(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(low=table["low"].clip(lower=0), high=table["high"].clip(upper=1))


def _curves(
    rows: pd.DataFrame, value: str, accuracy: pd.DataFrame | None, confidence: float, *, logarithmic: bool
) -> pd.DataFrame:
    rows = full_set_runs(rows).rename(columns={value: "value"})
    if "loss" in rows:
        rows = rows.drop(columns="loss")
    if accuracy is None:
        rows = rows.assign(loss=float("nan"))
    else:
        loss = full_set_runs(accuracy[accuracy["part"] == TRAIN_GROUP])
        rows = rows.merge(loss[[*RUN, "step", "loss"]], on=[*RUN, "step"], how="left", validate="many_to_one")
    return _with_means(_named(rows), ["step", "epoch"], confidence, logarithmic=logarithmic)


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `network`: the data set's and the model's name, as a reader sees them."""
    pairs = rows[["dataset", "model"]].drop_duplicates()
    datasets, models = distinct(pairs["dataset"]), distinct(pairs["model"])
    names = {
        (dataset, model): f"{datasets[dataset]}, {models[model]}" for dataset, model in pairs.itertuples(index=False)
    }
    return rows.assign(network=[names[key] for key in zip(rows["dataset"], rows["model"], strict=True)])


def _with_means(rows: pd.DataFrame, x: list[str], confidence: float, *, logarithmic: bool) -> pd.DataFrame:
    """The rows and those of their means over seeds: COLUMNS."""
    keys = ["network", "labels", "optimizer", "of"]
    kept = rows[rows["value"].notna() & ((rows["value"] > 0) | (not logarithmic))]
    means = over_seeds(kept, [*keys, *x], "value", confidence, logarithmic=logarithmic)
    means = means.rename(columns={"mean": "value", "lower": "low", "upper": "high"}).assign(seed=MEAN)
    if "loss" not in x:
        losses = kept.groupby([*keys, *x], observed=True)["loss"].mean().reset_index()
        means = means.merge(losses, on=[*keys, *x])
    else:
        means = means.assign(step=0, epoch=0.0)
    single = kept.assign(seed=kept["seed"].astype(str), low=float("nan"), high=float("nan"))
    return pd.concat([means[[*COLUMNS]], single[[*COLUMNS]]], ignore_index=True)
