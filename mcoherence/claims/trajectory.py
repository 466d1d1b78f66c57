"""Claims about the course of m-coherence: with real and random labels, by layer, network, sample size and width.

The papers say "near" and "much larger" without numbers: the factor that stands for these words here is our own choice,
NEAR.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import early, log10, log_spacing, of_sgd, past_transient, sgd_curves, sgd_rows
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.columns import RUN_COLUMNS, TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.rows import whole_network

NEAR = 3.0  # within this factor is "near", beyond it is "much larger"
FITTED = 0.999  # training accuracy that counts as about 100%
IMAGENET_SIDE = 224  # pixels
TRANSIENT_STEPS = 25  # arXiv 2008.01217 sees the initial drop within about so many
SAME_SHAPE = 0.9  # correlation of two curves that counts as the same shape
FAR_ABOVE_LIMIT = 10.0  # m-coherence from which m * alpha is much larger than 1


@claim(
    "P1",
    "The peak of m-coherence, past the initial transient, is higher for real than for random labels.",
    source="arXiv 2203.10036; 2008.01217 (ICLR 2021 version)",
    statistic="log10 of the ratio of the peaks, real over random",
    tables=("coherence",),
    needs="runs of SGD with clean labels (noise 0) and with wholly random ones (noise 1)",
)
def peak_real_over_random(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 of peak m-coherence with real labels over that with random labels, per network under SGD."""
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        later = past_transient(curves, settings)
        if {0.0, 1.0} <= set(later["noise"]):
            peaks = later.groupby(["noise", "seed"])["m_coherence"].max()
            parts[where] = Measured(log10(peaks[0.0]) - log10(peaks[1.0]))
    return parts


@claim(
    "P2",
    "Early in training, past the transient, m-coherence falls as label noise grows.",
    source="arXiv 2008.01217",
    statistic="log10 of the ratio of the geometric means over the first 5 epochs, less over more noise",
    tables=("coherence",),
    needs="runs of SGD at two noise levels, with checkpoints past the transient in the first 5 epochs",
)
def early_coherence_by_noise(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the mean early m-coherence of neighbouring noise levels, per network under SGD."""
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        rows = early(curves, settings)
        means = log10(rows["m_coherence"]).groupby([rows["noise"], rows["seed"]]).mean()
        for less, more in pairwise(sorted(set(rows["noise"]))):
            parts[f"{where}, noise {less:g} over {more:g}"] = Measured(means[less] - means[more])
    return parts


@claim(
    "P3",
    "With random labels m-coherence rises above 1 and returns towards 1; its peak comes later than with real labels.",
    source="arXiv 2008.01217; 2203.10036",
    statistic=(
        "log10 of the peak; fall of |log10 m-coherence| from the peak to the end; log10 of the ratio of the steps of "
        "the peaks, random over real"
    ),
    tables=("coherence",),
    needs="runs of SGD with wholly random labels (noise 1)",
)
def random_rises_and_falls(tables: Tables, settings: ClaimSettings) -> Parts:
    """Height of the random-label peak, its return towards 1, and its lateness, per network under SGD."""
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        later = past_transient(curves, settings)
        peak_rows = later.loc[later.groupby(["noise", "seed"])["m_coherence"].idxmax()].set_index(["noise", "seed"])
        last = later.loc[later.groupby(["noise", "seed"])["step"].idxmax()].set_index(["noise", "seed"])
        if 1.0 not in set(later["noise"]):
            continue
        peak = log10(peak_rows["m_coherence"][1.0])
        fall = peak.abs() - log10(last["m_coherence"][1.0]).abs()
        parts[f"{where}, rises above 1"] = Measured(peak)
        parts[f"{where}, returns towards 1"] = Measured(fall)
        if 0.0 in set(later["noise"]):
            steps: pd.Series = peak_rows["step"]
            lateness = log10(steps.loc[1.0]) - log10(steps.loc[0.0])
            # Each peak lies within half a spacing of its checkpoint.
            parts[f"{where}, peak later than with real labels"] = Measured(lateness, log_spacing(later["step"]))
    return parts


@claim(
    "P4",
    "At about 100% training accuracy m-coherence is near 1, with real and with random labels.",
    source="arXiv 2203.10036; 2008.01217",
    statistic=(
        f"log10 of {NEAR:g}, minus |log10 m-coherence| at the last checkpoint with a training accuracy of {FITTED:.1%}"
        "; the factor is our own choice"
    ),
    tables=("accuracy", "coherence"),
    needs="runs of SGD with clean or wholly random labels that fit all their examples",
)
def coherence_near_one_when_fitted(tables: Tables, settings: ClaimSettings) -> Parts:
    """How far within the factor NEAR of 1 m-coherence is at the last checkpoint with all examples fitted, log10.

    With no and with all labels random, per network under SGD. A run that never fits has no value.
    """
    training = tables["accuracy"].query("part == 'train'")
    fitted = training[training["accuracy"] >= FITTED]
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        for noise in sorted({0.0, 1.0} & set(curves["noise"])):
            runs = curves[curves["noise"] == noise]
            keys = [*RUN_COLUMNS, "step"]
            rows = runs.merge(fitted[keys], on=keys)
            last = rows.loc[rows.groupby("seed")["step"].idxmax()].set_index("seed")["m_coherence"]
            distance = log10(last).abs().reindex(sorted(set(runs["seed"])))
            parts[f"{where}, noise {noise:g}"] = Measured(np.log10(NEAR) - distance)
    return parts


@claim(
    "P5",
    "Within about 25 steps m-coherence falls from near m to below 10 (said of ImageNet networks; of smaller images it"
    " is reported only).",
    source="arXiv 2008.01217",
    statistic="log10 of the drop from step 0 to the least value within 25 steps; log10 of 10 over that value",
    tables=("coherence",),
    needs="runs of SGD with checkpoints in the first 25 steps",
    asserted_from=IMAGENET_SIDE,
)
def drops_at_the_start(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 of the drop of m-coherence from step 0 to its least within 25 steps, and how far that is below 10."""
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        for noise, runs in curves[curves["step"] <= TRANSIENT_STEPS].groupby("noise"):
            first = log10(runs[runs["step"] == 0].set_index("seed")["m_coherence"])
            least = log10(runs.groupby("seed")["m_coherence"].min())
            parts[f"{where}, noise {noise:g}, drops"] = Measured(first - least)
            parts[f"{where}, noise {noise:g}, to below 10"] = Measured(1.0 - least)
    return parts


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
    in steps: a checkpoint stands for those since the one before. Per network with convolutions, under SGD.
    """
    coherence = tables["coherence"]
    layers = coherence[(coherence["group"] == TRAIN_GROUP) & (coherence["layer"] != WHOLE_NETWORK)]
    parts = {}
    for where, rows in of_sgd(past_transient(layers, settings), settings):
        convolutions = rows[rows["layer_type"].isin(["Conv1d", "Conv2d", "Conv3d"])]
        linear = rows[rows["layer_type"] == "Linear"]
        if convolutions.empty or linear.empty:
            continue
        last = linear[linear["layer"] == linear["layer"].iloc[-1]]
        for noise in sorted(set(rows["noise"])):
            by = ["seed", "step"]
            of_noise = [table[table["noise"] == noise] for table in (convolutions, last)]
            means = [log10(table["m_coherence"]).groupby([table[key] for key in by]).mean() for table in of_noise]
            above = (means[0] > means[1]).reset_index(name="above")
            parts[f"{where}, noise {noise:g}"] = Measured(above.groupby("seed")[["step", "above"]].apply(_share) - 0.5)
    return parts


def _share(run: pd.DataFrame) -> float:
    """Share of the steps between the first and the last checkpoint whose end is marked `above`."""
    ordered = run.sort_values("step")
    spans = ordered["step"].diff()
    return float((spans * ordered["above"]).sum() / spans.sum()) if len(ordered) > 1 else np.nan


@claim(
    "P7",
    "With random labels the peak of an AlexNet without batch norm is much higher than that of a ResNet.",
    source="arXiv 2203.10036",
    statistic=f"log10 of the ratio of the peaks, minus log10 of {NEAR:g}; the factor is our own choice",
    tables=("coherence",),
    needs="an AlexNet and a ResNet trained with SGD on wholly random labels",
)
def alexnet_coherent_on_random_labels(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the peaks with random labels, AlexNet over ResNet, beyond the factor NEAR; under one SGD."""
    curves = whole_network(tables["coherence"]).query("noise == 1")
    later = past_transient(sgd_rows(curves, settings), settings)
    peaks = log10(later.groupby(["dataset", "optimizer", "model", "seed"])["m_coherence"].max())
    kinds = {
        kind: [name for name, architecture in settings.architectures.items() if architecture.startswith(kind)]
        for kind in ("alexnet", "resnet")
    }
    parts = {}
    for (dataset, optimizer), group in peaks.groupby(["dataset", "optimizer"]):
        of_model = {str(name): one.droplevel([0, 1, 2]) for name, one in group.groupby("model")}
        for alexnet in (name for name in kinds["alexnet"] if name in of_model):
            for resnet in (name for name in kinds["resnet"] if name in of_model):
                ratio = of_model[alexnet] - of_model[resnet]
                parts[f"{dataset}, {optimizer}, {alexnet} over {resnet}"] = Measured(ratio - np.log10(NEAR))
    return parts


@claim(
    "P17",
    "Doubling the sample size m keeps the shape of the curves; m-coherence grows with m where it is far above 1.",
    source="arXiv 2008.01217 (that m was doubled; its outcome is not known to us); the growth is derived",
    statistic=(
        f"correlation of the log10 curves past the transient, minus {SAME_SHAPE:g}; log10 of {NEAR / 2:g}, minus "
        "|log10 of the ratio of the peaks over the ratio of the sizes|; both thresholds are our own choice"
    ),
    tables=("sample_size",),
    needs="the same runs measured at two sizes of the sample",
)
def shape_kept_at_other_sizes(tables: Tables, settings: ClaimSettings) -> Parts:
    """The curves of samples of different sizes m, each against the smallest: shape, and growth with m.

    Shape: correlation of log10 m-coherence over the checkpoints past the transient, beyond SAME_SHAPE. Growth, where
    the smaller sample's peak is far above 1 in every seed: how far within the factor NEAR / 2 the ratio of the peaks is
    of the ratio of the sizes, log10 (derived, not a statement of the papers).
    """
    table = past_transient(tables["sample_size"], settings)
    parts = {}
    for (dataset, model, labels, optimizer), rows in table.groupby(["dataset", "model", "labels", "optimizer"]):
        smallest, *larger = sorted(set(rows["m"]))
        curves = {m: log10(of_size.set_index(["seed", "step"])["m_coherence"]) for m, of_size in rows.groupby("m")}
        for m in larger:
            where = f"{dataset}, {model}, {labels}, {optimizer}, m = {m} against {smallest}"
            both = pd.DataFrame({"few": curves[smallest], "many": curves[m]})
            correlation = both.groupby("seed").apply(lambda run: run["few"].corr(run["many"]))
            parts[f"{where}, shape"] = Measured(correlation - SAME_SHAPE)
            peaks = both.groupby("seed").max()
            if (peaks["few"] >= np.log10(FAR_ABOVE_LIMIT)).all():
                off = (peaks["many"] - peaks["few"] - np.log10(m / smallest)).abs()
                parts[f"{where}, grows with m"] = Measured(np.log10(NEAR / 2) - off)
    return parts


@claim(
    "E11",
    "Wider networks are more coherent.",
    source="arXiv 2203.10036 leaves it to future work; no published numbers",
    statistic="log10 of the ratio of the peaks past the transient, wider over narrower",
    tables=("sweep",),
    needs="a sweep whose setting is called width",
    level="III",
)
def wider_more_coherent(tables: Tables) -> Parts:
    """Log10 ratio of the peaks of neighbouring swept widths, wider over narrower, past the transient."""
    later = tables["sweep"].query("setting == 'width' and past_transient")  # the table says where that is
    parts = {}
    for (dataset, labels, optimizer), rows in later.groupby(["dataset", "labels", "optimizer"]):
        peaks = log10(rows.groupby(["value", "seed"])["m_coherence"].max())
        for narrower, wider in pairwise(sorted(set(rows["value"]))):
            where = f"{dataset}, {labels}, {optimizer}, width {wider:g} over {narrower:g}"
            parts[where] = Measured(peaks[wider] - peaks[narrower])
    return parts
