"""Claims that compare m-coherence between layers of a network and between networks: P6, P7 and E11.

The factor that stands for "much higher" is a setting, `near`.
"""

from itertools import pairwise, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims import nulls
from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import LabelSet, by_label_set, log10, past_transient, while_learning, wholly_random
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.sgd_curves import Place, curves_by_place, peaks_by_run, place_name, rows_at_place
from mcoherence.study.result_names import REDRAWN
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK


@claim(
    "P6",
    "Convolutions have a higher m-coherence than the last fully connected layer over most of training.",
    short="convolutions above the last layer",
    source="arXiv 2008.01217",
    statistic=(
        "share of the steps past the transient in which the geometric mean over the convolutions is above the last "
        "layer, minus 1/2"
    ),
    unit="points",
    figure="layer_coherence",
    tables=("coherence",),
    needs="networks with convolutions and a linear layer, trained with SGD",
)
def convolutions_above_last_layer(tables: Tables, settings: ClaimSettings) -> Parts:
    """Share of training in which convolutions are more coherent than the last linear layer, less one half.

    That of the convolutions is the geometric mean of their m-coherences. Training counts from the end of the transient,
    in steps: a checkpoint stands for those since the one before. Per network with convolutions, rate of SGD and label
    set. Null: the share with labels redrawn at the same weights, where the study has them: what the layers' shapes and
    these weights do to gradients of labels that nobody has learned; else layers that are as often above one another.
    """
    coherence = tables["coherence"]
    parts = {}
    for place, curves in curves_by_place(tables, settings):
        of_place = rows_at_place(coherence, place)
        rows = past_transient(of_place[of_place["layer"] != WHOLE_NETWORK], settings, curves)
        shares = _shares_of_convolutions(rows[rows["group"] == TRAIN_GROUP])
        by_chance = _shares_of_convolutions(rows[rows["group"] == REDRAWN])
        for one, share in shares.items():
            if one in by_chance:
                null = nulls.redrawn(by_chance[one], settings.confidence, "the examples with labels redrawn")
            else:
                null = nulls.around(0.0, share, settings.confidence, "layers that change places")
            parts[f"{place_name(place)}, {one.words}"] = Measured(share, null=null)
    return parts


@claim(
    "P7",
    "With random labels the peak of an AlexNet without batch norm is much higher than that of a ResNet.",
    short="AlexNet peaks on random labels",
    source="arXiv 2203.10036",
    statistic=(
        "log10 of the ratio of the smoothed peaks until the labels are fitted, minus log10 of near; the factor is our "
        "own choice"
    ),
    unit="factor",
    figure="coherence_by_step",
    tables=("coherence", "accuracy"),
    needs="an AlexNet and a ResNet trained with SGD on wholly random labels",
)
def alexnet_coherent_on_random_labels(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the peaks with random labels, AlexNet over ResNet, beyond the factor `near`.

    A rate means another thing to each network, so the highest of one is compared with the highest of the other, the
    next with the next; entries of the same rate by their names. Null: the same of different seeds of one network.
    """
    peaks: dict[tuple[Place, str], PerSeed] = {}
    for place, curves in curves_by_place(tables, settings):
        learning = while_learning(past_transient(curves, settings), tables["accuracy"], settings)
        found = peaks_by_run(learning, curves, settings)["log10"]
        peaks |= {(place, one.labels): found[one.labels] for one, _ in wholly_random(curves)}
    added = {one.labels: added for one, added in wholly_random(tables["coherence"])}
    least = np.log10(settings.near)

    def beyond(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(one - other - least)

    def of_kind(kind: str) -> dict[tuple[str, str, str, int], tuple[Place, PerSeed]]:
        """(data set, network, label set, how many of its rates are higher) -> place and peaks."""
        found: dict[tuple[str, str, str, int], tuple[Place, PerSeed]] = {}
        for (place, labels), values in sorted(peaks.items(), key=lambda one: _highest_rate_first(one[0][0], settings)):
            dataset, model, _ = place
            if settings.architectures.get(model, "").startswith(kind):
                higher = sum(key[:3] == (dataset, model, labels) for key in found)
                found[dataset, model, labels, higher] = place, values
        return found

    parts = {}
    alexnets, resnets = of_kind("alexnet"), of_kind("resnet")
    for (key, (place, high)), (other_key, (other, low)) in product(alexnets.items(), resnets.items()):
        (dataset, alexnet, labels, rank), (other_dataset, resnet, other_labels, other_rank) = key, other_key
        if (dataset, labels, rank) == (other_dataset, other_labels, other_rank):
            null = nulls.equal_conditions([high, low], settings.confidence, beyond)
            entries = dict.fromkeys([place[2], other[2]])
            where = f"{dataset}, {' and '.join(entries)}, {alexnet} over {resnet}{added[labels]}"
            parts[where] = Measured(high - low - least, null=null, trained=place)
    return parts


@claim(
    "E11",
    "Wider networks are more coherent.",
    short="wider is more coherent",
    source="arXiv 2203.10036 leaves it to future work; no published numbers",
    statistic="log10 of the ratio of the smoothed peaks past the transient, wider over narrower",
    unit="factor",
    figure="sweep",
    tables=("sweep",),
    needs="a sweep whose setting is called width",
    level="III",
)
def wider_more_coherent(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the peaks of neighbouring swept widths, wider over narrower, past the transient.

    Null: the same of different seeds of one width.
    """
    later = tables["sweep"].query("setting == 'width' and past_transient")  # the table says where that is
    parts = {}
    for (dataset, labels, optimizer), rows in later.groupby(["dataset", "labels", "optimizer"]):
        peaks = log10(rows.groupby(["value", "seed"])["smoothed_m_coherence"].max())
        networks = dict(zip(rows["value"], rows["model"], strict=True))
        for narrower, wider in pairwise(sorted(set(rows["value"]))):
            where = f"{dataset}, {labels}, {optimizer}, width {wider:g} over {narrower:g}"
            null = nulls.equal_conditions([peaks[narrower], peaks[wider]], settings.confidence)
            trained = (str(dataset), str(networks[wider]), str(optimizer))
            parts[where] = Measured(peaks[wider] - peaks[narrower], null=null, trained=trained)
    return parts


def _highest_rate_first(place: Place, settings: ClaimSettings) -> tuple[float, str]:
    """Sorts places of one network by their learning rates, from the highest; those that are not known by name."""
    _, model, optimizer = place
    return -settings.rates.get(optimizer, {}).get(model, 0.0), optimizer


def _shares_of_convolutions(rows: pd.DataFrame) -> dict[LabelSet, PerSeed]:
    """Label set -> by seed, the share of steps in which convolutions are above the last linear layer, less one half."""
    convolutional = ["Conv1d", "Conv2d", "Conv3d"]
    linear = rows.loc[rows["layer_type"] == "Linear", "layer"]
    if not rows["layer_type"].isin(convolutional).any() or linear.empty:
        return {}
    found = {}
    for _, one, own in by_label_set(rows):
        of_layers = [own[own["layer_type"].isin(convolutional)], own[own["layer"] == linear.iloc[-1]]]
        means = [log10(table["m_coherence"]).groupby([table["seed"], table["step"]]).mean() for table in of_layers]
        above = (means[0] > means[1]).reset_index(name="above")
        found[one] = above.groupby("seed")[["step", "above"]].apply(_share) - 0.5
    return found


def _share(run: pd.DataFrame) -> float:
    """Share of the steps between the first and the last checkpoint whose end is marked `above`."""
    ordered = run.sort_values("step")
    spans = ordered["step"].diff()
    return float((spans * ordered["above"]).sum() / spans.sum()) if len(ordered) > 1 else np.nan
