"""Claims about the course of m-coherence along training, with real and with random labels: P1 to P5.

Peaks are smoothed and past the transient, both as `mcoherence.tables.curves` reads them off each run's curve. Real and
random labels are compared at equal steps and at equal training loss, at every learning rate that the study has for SGD.
The papers say "near" and "much larger" without numbers: the factor that stands for these words is a setting, `near`.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims import nulls
from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import early, early_windows, log10, log_spacing, past_transient
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.sgd_curves import (
    KEYS,
    Place,
    curves_by_place,
    number_by_run,
    peaks_by_run,
    place_name,
    rows_at_place,
    run_index,
    smoothed_of_run,
)
from mcoherence.study.result_names import REDRAWN
from mcoherence.tables.columns import RUN_COLUMNS, WHOLE_NETWORK
from mcoherence.tables.curves import at_losses
from mcoherence.tables.rows import run_keys

IMAGENET_SIDE = 224  # pixels
TRANSIENT_STEPS = 25  # arXiv 2008.01217 sees the initial drop within about so many
LOSS_LEVELS = np.arange(0.9, 0.05, -0.1)  # of the training loss before training, at which curves are compared
EARLY_LEVELS = LOSS_LEVELS[:5]  # 0.9 to 0.5: the first half of the loss


@claim(
    "P1",
    "The peak of m-coherence, past the initial transient, is higher for real than for random labels.",
    source="arXiv 2203.10036; 2008.01217 (ICLR 2021 version)",
    statistic=(
        "log10 of the ratio of the smoothed peaks, real over random; and the mean of log10 of the ratio at equal "
        "training loss, at 9 to 1 tenths of the loss before training"
    ),
    tables=("coherence", "accuracy"),
    needs="runs of SGD with clean labels (noise 0) and with wholly random ones (noise 1)",
)
def peak_real_over_random(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 of peak m-coherence with real labels over that with random labels, and of m-coherence at equal loss.

    Per network and rate of SGD. Null: the same of different seeds of one kind of labels.
    """
    parts = {}
    at_loss = dict(_at_losses(tables, settings, LOSS_LEVELS))
    for place, curves in curves_by_place(tables, settings):
        later = past_transient(curves, settings)
        if {0.0, 1.0} <= set(curves["noise"]):
            peaks = peaks_by_run(later, curves, settings)["log10"]
            null = nulls.equal_conditions([peaks[0.0], peaks[1.0]], settings.confidence)
            parts[place_name(place)] = Measured(peaks[0.0] - peaks[1.0], null=null)
            parts[f"{place_name(place)}, at equal training loss"] = _at_equal_loss(at_loss[place], 0.0, 1.0, settings)
    return parts


@claim(
    "P2",
    "Early in training, past the transient, m-coherence falls as label noise grows.",
    source="arXiv 2008.01217",
    statistic=(
        "log10 of the ratio of the geometric means, less over more noise, until the runs with the least noise are "
        "half-way to the target accuracy; and at equal training loss, at 9 to 5 tenths of the loss before training"
    ),
    tables=("coherence", "accuracy"),
    needs="runs of SGD at two noise levels, with checkpoints early in training past the transient",
)
def early_coherence_by_noise(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the mean early m-coherence of neighbouring noise levels, and of m-coherence at equal loss.

    Per network and rate of SGD. Null: the same of different seeds of one noise level.
    """
    parts = {}
    windows = early_windows(tables["accuracy"], settings)
    at_loss = dict(_at_losses(tables, settings, EARLY_LEVELS))
    for place, curves in curves_by_place(tables, settings):
        rows = early(past_transient(curves, settings), windows)
        means = log10(rows["m_coherence"]).groupby([rows[key] for key in KEYS]).mean().reindex(run_index(curves))
        for less, more in pairwise(sorted(set(curves["noise"]))):
            where = f"{place_name(place)}, noise {less:g} over {more:g}"
            null = nulls.equal_conditions([means[less], means[more]], settings.confidence)
            parts[where] = Measured(means[less] - means[more], null=null)
            parts[f"{where}, at equal training loss"] = _at_equal_loss(at_loss[place], less, more, settings)
    return parts


@claim(
    "P3",
    "With random labels m-coherence rises above 1 and returns towards 1; its peak comes later than with real labels.",
    source="arXiv 2008.01217; 2203.10036",
    statistic=(
        "log10 of the smoothed peak over that of the same run measured with labels redrawn; the smaller of log10 of "
        "the peak over near, and of log10 of near minus |log10 of the smoothed m-coherence| at the end; log10 of the "
        "ratio of the steps of the peaks, random over real"
    ),
    tables=("coherence",),
    needs="runs of SGD with wholly random labels (noise 1)",
)
def random_rises_and_falls(tables: Tables, settings: ClaimSettings) -> Parts:
    """Height of the random-label peak beyond redrawn labels, its end near 1, and its lateness, per network and rate.

    The highest of many values that scatter about 1 is above 1, so the peak is compared with that of the same run with
    labels that it cannot have learned. An end near 1 says nothing of a run that has not been far from it, so a return
    wants a peak beyond `near` too. Nulls: two seeds of redrawn labels; the same runs as if they ended at their peaks;
    the lateness of different seeds of one kind of labels.
    """
    parts = {}
    coherence = tables["coherence"]
    redrawn = coherence[(coherence["group"] == REDRAWN) & (coherence["layer"] == WHOLE_NETWORK)]
    for place, curves in curves_by_place(tables, settings):
        if 1.0 not in set(curves["noise"]):
            continue
        where, later = place_name(place), past_transient(curves, settings)
        peaks = peaks_by_run(later, curves, settings)
        height = peaks["log10"][1.0]
        own = rows_at_place(redrawn, place)
        if own.empty:
            beyond = height - np.log10(settings.near)
            null = nulls.unknown("gradients of the measured examples with labels redrawn, which this study has not")
        else:
            # From the same step on as the run's own curve, so that both are the highest of as many checkpoints.
            chance = peaks_by_run(past_transient(own, settings, curves), own, settings)["log10"][1.0]
            beyond, null = height - chance, nulls.equal_conditions([chance], settings.confidence)
        parts[f"{where}, rises above 1"] = Measured(beyond, null=null)
        end = number_by_run(later, curves, lambda run: float(smoothed_of_run(run, settings)[-1]))[1.0]
        parts[f"{where}, returns towards 1"] = _returned(end, height, settings)
        if 0.0 in set(curves["noise"]):
            steps = log10(peaks["step"])
            lateness, null = (
                steps[1.0] - steps[0.0],
                nulls.equal_conditions([steps[1.0], steps[0.0]], settings.confidence),
            )
            # Each peak lies within half a spacing of its checkpoint.
            parts[f"{where}, peak later than with real labels"] = Measured(
                lateness, log_spacing(later["step"]), null=null, trained=place
            )
    return parts


@claim(
    "P4",
    "At about 100% training accuracy m-coherence is near 1, with real and with random labels.",
    source="arXiv 2203.10036; 2008.01217",
    statistic=(
        "the smaller of log10 of near minus |log10 m-coherence| at the last checkpoint whose training accuracy counts "
        "as 100%, and of log10 of the smoothed peak over near; the factor near is our own choice"
    ),
    tables=("accuracy", "coherence"),
    needs="runs of SGD with clean or wholly random labels that fit all their examples",
)
def coherence_near_one_when_fitted(tables: Tables, settings: ClaimSettings) -> Parts:
    """How far within the factor `near` of 1 m-coherence is at the last checkpoint with all examples fitted, log10.

    With no and with all labels random, per network and rate of SGD. A run that never fits has no value. That it is near
    1 in the end says nothing where it always was, so a peak beyond `near` is asked for. Null: the same runs as if they
    stayed at their peaks.
    """
    training = tables["accuracy"].query("part == 'train'")
    fitted = training[training["accuracy"] >= settings.fitted]
    parts = {}
    for place, curves in curves_by_place(tables, settings):
        peaks = peaks_by_run(past_transient(curves, settings), curves, settings)["log10"]
        for noise in sorted({0.0, 1.0} & set(curves["noise"])):
            runs = curves[curves["noise"] == noise]
            keys = [*RUN_COLUMNS, "step"]
            rows = runs.merge(fitted[keys], on=keys)
            last = rows.loc[rows.groupby("seed")["step"].idxmax()].set_index("seed")["m_coherence"]
            ends = log10(last).reindex(peaks[noise].index)
            parts[f"{place_name(place)}, noise {noise:g}"] = _returned(ends, peaks[noise], settings)
    return parts


@claim(
    "P5",
    "Within about 25 steps m-coherence falls from near m to below 10 (said of ImageNet networks; of smaller images it"
    " is reported only).",
    source="arXiv 2008.01217",
    statistic=(
        "log10 of near, minus log10 of m over the value at step 0; and the smaller of log10 of 10 over the least value "
        "of steps 1 to 25 and log10 of step 0 over it, less what another of these checkpoints in its place would give"
    ),
    tables=("coherence",),
    needs="runs of SGD with checkpoints in the first 25 steps",
    asserted_from=IMAGENET_SIDE,
)
def drops_at_the_start(tables: Tables, settings: ClaimSettings) -> Parts:
    """How near m the run starts, and how far it drops by 25 steps and below 10, log10; per network, rate and noise.

    The first of some values that scatter is above the least of the others more often than not. So the mean of the drop
    from every checkpoint of the stretch to the least of the others is taken off. Nulls: the orthogonal limit; the drops
    from the other checkpoints.
    """
    parts = {}
    for place, curves in curves_by_place(tables, settings):
        for noise, runs in curves[curves["step"] <= TRANSIENT_STEPS].groupby("noise"):
            where = f"{place_name(place)}, noise {noise:g}"
            logs = log10(runs["m_coherence"]).groupby([runs["seed"], runs["step"]]).mean().unstack()
            if 0 not in logs or len(logs.columns) < 3:
                continue
            size = log10(runs.groupby("seed")["n"].first())
            near_m = np.log10(settings.near) - (size - logs[0])
            limit = np.log10(settings.near) - float(size.mean())
            null = nulls.around(limit, near_m, settings.confidence, "m-coherence 1, the orthogonal limit")
            parts[f"{where}, from near m"] = Measured(near_m, null=null)
            drops = pd.DataFrame({step: logs[step] - logs.drop(columns=step).min(axis=1) for step in logs})
            beyond = drops.sub(drops.mean(axis=1), axis=0)
            below = 1 - logs.drop(columns=0).min(axis=1)
            null = nulls.redrawn(
                beyond.drop(columns=0), settings.confidence, "the other checkpoints in the place of the first"
            )
            drop = pd.concat([beyond[0], below], axis=1).min(axis=1, skipna=False)
            parts[f"{where}, drops to below 10"] = Measured(drop, null=null)
    return parts


def _returned(ends: pd.Series, peaks: pd.Series, settings: ClaimSettings) -> Measured:
    """How far within `near` of 1 the ends are and how far beyond it the peaks, whichever is less; log10, by seed."""
    near = np.log10(settings.near)

    def less(of: pd.Series) -> pd.Series:
        smaller: pd.Series = pd.concat([near - of.abs(), peaks - near], axis=1).min(axis=1, skipna=False)
        return smaller

    null = nulls.redrawn(less(peaks), settings.confidence, "the same runs as if they ended at their peaks")
    return Measured(less(ends), null=null)


def _at_losses(
    tables: Tables, settings: ClaimSettings, shares: NDArray[np.float64]
) -> list[tuple[Place, pd.DataFrame]]:
    """log10 m-coherence at shares of the training loss before training, a row per (noise, seed), a column per share.

    NaN at a loss that the run has not passed since the end of its transient. The loss before training is the mean over
    the runs of a place, so that all its runs are compared at the same losses.
    """
    loss = tables["accuracy"].query("part == 'train'")[[*run_keys(tables["accuracy"]), "step", "loss"]]
    found = []
    for place, curves in curves_by_place(tables, settings):
        keys = run_keys(curves)
        joined = curves.merge(loss, on=[*keys, "step"]).sort_values("step")
        first = past_transient(joined, settings).groupby(keys)["step"].min()
        levels = shares * joined.loc[joined["step"] == joined["step"].min(), "loss"].mean()
        rows = {}
        for key, run in joined.groupby(keys):
            begin = int((run["step"] < first.get(key, np.inf)).sum())
            noise_and_seed = tuple(run[name].iloc[0] for name in KEYS)
            rows[noise_and_seed] = at_losses(run["loss"], run["m_coherence"], levels, begin)
        index = pd.MultiIndex.from_tuples(list(rows), names=KEYS)
        found.append((place, pd.DataFrame(list(rows.values()), index=index, columns=shares).sort_index()))
    return found


def _at_equal_loss(at_loss: pd.DataFrame, less: float, more: float, settings: ClaimSettings) -> Measured:
    """Mean difference of log10 m-coherence of two noise levels over the losses that all runs of both have passed."""
    common = at_loss.loc[[less, more]].dropna(axis=1)
    one, other = (common.xs(noise, level="noise") for noise in (less, more))

    def mean_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((a - b).mean(axis=1))

    if common.empty:
        no_loss = pd.Series(np.nan, index=at_loss.xs(less, level="noise").index)
        return Measured(no_loss, null=nulls.unknown("losses that all runs have passed"))
    null = nulls.equal_conditions([one, other], settings.confidence, mean_difference)
    levels = ", ".join(f"{share:.1f}" for share in common.columns)
    note = f"at {levels} of the loss before training"
    lead = pd.DataFrame(one - other)  # by seed
    return Measured(pd.Series(lead.to_numpy(np.float64).mean(axis=1), index=lead.index), null=null, note=note)
