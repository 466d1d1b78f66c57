"""Claims that compare m-coherence between layers of a network and between networks: P6, P7 and E11.

The factor that stands for "much higher" is a setting, `near`.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims import nulls
from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import log10, past_transient
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.sgd_curves import Place, curves_by_place, peaks_by_run, place_name, rows_at_place
from mcoherence.study.result_names import REDRAWN
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK


@claim(
    "P6",
    "Convolutions have a higher m-coherence than the last fully connected layer over most of training.",
    source="arXiv 2008.01217",
    statistic=(
        "share of the steps past the transient in which the geometric mean over the convolutions is above the last "
        "layer, minus 1/2"
    ),
    tables=("coherence",),
    needs="networks with convolutions and a linear layer, trained with SGD",
)
def convolutions_above_last_layer(tables: Tables, settings: ClaimSettings) -> Parts:
    """Share of training in which convolutions are more coherent than the last linear layer, less one half.

    That of the convolutions is the geometric mean of their m-coherences. Training counts from the end of the transient,
    in steps: a checkpoint stands for those since the one before. Per network with convolutions, rate of SGD and noise.
    Null: the share with labels redrawn, where the study has them: what the layers' shapes do to gradients without
    anything learned; else layers that are as often above one another.
    """
    coherence = tables["coherence"]
    parts = {}
    for place, curves in curves_by_place(tables, settings):
        of_place = rows_at_place(coherence, place)
        rows = past_transient(of_place[of_place["layer"] != WHOLE_NETWORK], settings, curves)
        shares = _shares_of_convolutions(rows[rows["group"] == TRAIN_GROUP])
        by_chance = _shares_of_convolutions(rows[rows["group"] == REDRAWN])
        for noise, share in shares.items():
            if noise in by_chance:
                null = nulls.redrawn(by_chance[noise], settings.confidence, "the examples with labels redrawn")
            else:
                null = nulls.around(0.0, share, settings.confidence, "layers that change places")
            parts[f"{place_name(place)}, noise {noise:g}"] = Measured(share, null=null)
    return parts


@claim(
    "P7",
    "With random labels the peak of an AlexNet without batch norm is much higher than that of a ResNet.",
    source="arXiv 2203.10036",
    statistic="log10 of the ratio of the smoothed peaks, minus log10 of near; the factor is our own choice",
    tables=("coherence",),
    needs="an AlexNet and a ResNet trained with SGD on wholly random labels",
)
def alexnet_coherent_on_random_labels(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the peaks with random labels, AlexNet over ResNet, beyond the factor `near`; under one SGD.

    Null: the same of different seeds of one network.
    """
    peaks = {
        place: peaks_by_run(past_transient(curves, settings), curves, settings)["log10"].get(1.0)
        for place, curves in curves_by_place(tables, settings)
    }
    least = np.log10(settings.near)

    def beyond(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(one - other - least)

    def of_kind(kind: str) -> dict[Place, pd.Series]:
        return {
            place: values
            for place, values in peaks.items()
            if values is not None and settings.architectures.get(place[1], "").startswith(kind)
        }

    parts = {}
    for place, high in of_kind("alexnet").items():
        dataset, alexnet, optimizer = place
        for (other_dataset, resnet, other_optimizer), low in of_kind("resnet").items():
            if (other_dataset, other_optimizer) == (dataset, optimizer):
                null = nulls.equal_conditions([high, low], settings.confidence, beyond)
                parts[f"{dataset}, {optimizer}, {alexnet} over {resnet}"] = Measured(
                    high - low - least, null=null, trained=place
                )
    return parts


@claim(
    "E11",
    "Wider networks are more coherent.",
    source="arXiv 2203.10036 leaves it to future work; no published numbers",
    statistic="log10 of the ratio of the smoothed peaks past the transient, wider over narrower",
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


def _shares_of_convolutions(rows: pd.DataFrame) -> dict[float, pd.Series]:
    """Noise -> by seed, the share of steps in which convolutions are above the last linear layer, less one half."""
    convolutions = rows[rows["layer_type"].isin(["Conv1d", "Conv2d", "Conv3d"])]
    linear = rows[rows["layer_type"] == "Linear"]
    if convolutions.empty or linear.empty:
        return {}
    last = linear[linear["layer"] == linear["layer"].iloc[-1]]
    found = {}
    for noise in sorted(set(rows["noise"])):
        by = ["seed", "step"]
        of_noise = [table[table["noise"] == noise] for table in (convolutions, last)]
        means = [log10(table["m_coherence"]).groupby([table[key] for key in by]).mean() for table in of_noise]
        above = (means[0] > means[1]).reset_index(name="above")
        found[float(noise)] = above.groupby("seed")[["step", "above"]].apply(_share) - 0.5
    return found


def _share(run: pd.DataFrame) -> float:
    """Share of the steps between the first and the last checkpoint whose end is marked `above`."""
    ordered = run.sort_values("step")
    spans = ordered["step"].diff()
    return float((spans * ordered["above"]).sum() / spans.sum()) if len(ordered) > 1 else np.nan
