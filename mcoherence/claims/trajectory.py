"""Claims about the course of m-coherence along training, with real and with random labels: P1 to P5.

Peaks are smoothed and past the transient, both as `mcoherence.tables.curves` reads them off each run's curve, and lie
no later than the checkpoint at which the run has fitted its labels. Real and random labels are compared at equal steps
and at equal training loss, at every learning rate that the study has for SGD. The papers say "near" and "much larger"
without numbers: the factor that stands for these words is a setting, `near`.

That m-coherence is high says nothing of the labels by itself: a network that is sure of its answers is wrong with
confidence about labels redrawn, and all examples agree to take that back. So where the study has measured the same
examples at the same weights with labels redrawn, a difference has to be there beyond what these give as well
(`compared_labels`), and a height is held against theirs.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from mcoherence.claims import nulls
from mcoherence.claims.compared_labels import at_equal_loss, beyond_redrawn, curves_at_losses
from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import (
    LabelSet,
    at_best_of_others,
    by_label_set,
    clean_and_random,
    early,
    early_windows,
    label_sets_by_noise,
    log10,
    log_spacing,
    neighbours,
    past_transient,
    while_learning,
    wholly_random,
)
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.sgd_curves import (
    KEYS,
    curves_by_place,
    number_by_run,
    peaks_by_run,
    place_name,
    run_index,
    smoothed_by_step,
    smoothed_of_run,
    with_labels_redrawn,
)
from mcoherence.tables.columns import RUN_COLUMNS

IMAGENET_SIDE = 224  # pixels
LABELS_REDRAWN = "the same weights with labels redrawn"
NO_PEAK = "the others have no end of their transient before they fit their labels"


@claim(
    "P1",
    "The peak of m-coherence, past the initial transient, is higher for real than for random labels.",
    short="real labels peak higher",
    source="arXiv 2203.10036; 2008.01217 (ICLR 2021 version)",
    statistic=(
        "log10 of the ratio of the smoothed peaks until the labels are fitted, real over random; and the mean of log10 "
        "of the ratio at equal training loss, at loss_levels of the loss before training; or what is left of either "
        "beyond the same of labels redrawn, if that is less"
    ),
    unit="factor",
    figure="coherence_by_step",
    tables=("coherence", "accuracy"),
    needs="runs of SGD with clean labels (noise 0) and with wholly random ones (noise 1)",
)
def peak_real_over_random(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 of peak m-coherence with real labels over that with random labels, and of m-coherence at equal loss.

    Per network and rate of SGD. Peaks are those until a run has fitted its labels. Null: the same of
    different seeds of one kind of labels.
    """
    parts = {}
    at_loss = dict(curves_at_losses(tables, settings, settings.loss_levels))
    for place, curves in curves_by_place(tables, settings):
        learning = _learning(curves, tables, settings)
        peaks, by_chance = (
            peaks_by_run(rows, curves, settings)["log10"] for rows in (learning, with_labels_redrawn(learning))
        )
        for clean, random, added in clean_and_random(curves):
            where = f"{place_name(place)}{added}"
            parts[where] = beyond_redrawn(peaks, by_chance, clean, random, settings, missing_because=NO_PEAK)
            parts[f"{where}, at equal training loss"] = at_equal_loss(at_loss[place], clean, random, settings)
    return parts


@claim(
    "P2",
    "Early in training, past the transient, m-coherence falls as label noise grows.",
    short="noise lowers early coherence",
    source="arXiv 2008.01217",
    statistic=(
        "log10 of the ratio of the geometric means, less over more noise, until the runs with the least noise are "
        "half-way to the target accuracy; and at equal training loss, at early_loss_levels of the loss before "
        "training; or what is left of either beyond the same of labels redrawn, if that is less"
    ),
    unit="factor",
    figure="coherence_by_step",
    tables=("coherence", "accuracy"),
    needs="runs of SGD at two noise levels, with checkpoints early in training past the transient",
)
def early_coherence_by_noise(tables: Tables, settings: ClaimSettings) -> Parts:
    """Log10 ratio of the mean early m-coherence of neighbouring noise levels, and of m-coherence at equal loss.

    Per network and rate of SGD. Null: the same of different seeds of one noise level.
    """
    parts = {}
    windows = early_windows(tables["accuracy"], settings)
    at_loss = dict(curves_at_losses(tables, settings, settings.early_loss_levels))
    for place, curves in curves_by_place(tables, settings):
        rows = early(past_transient(curves, settings), windows)
        means, by_chance = (
            log10(rows[name]).groupby([rows[key] for key in KEYS]).mean().reindex(run_index(curves))
            for name in ("m_coherence", "redrawn")
        )
        for less, more in neighbours(curves):
            where = f"{place_name(place)}, {less.words} over {more.level}"
            parts[where] = beyond_redrawn(means, by_chance, less, more, settings)
            parts[f"{where}, at equal training loss"] = at_equal_loss(at_loss[place], less, more, settings)
    return parts


@claim(
    "P3",
    "With random labels m-coherence rises above 1 and returns towards 1; its peak comes later than with real labels.",
    short="random labels rise late and return",
    source="arXiv 2008.01217; 2203.10036",
    statistic=(
        "log10 of the smoothed m-coherence over near at the checkpoint at which the other seeds' is highest, until one "
        "has fitted; where the peak is beyond near, log10 of near minus |log10 of the smoothed m-coherence| at the "
        "end; log10 of the ratio of the steps of the peaks, random over real, or what is left of it beyond that of "
        "labels redrawn, if that is less; the factor near is our own choice"
    ),
    unit="factor",
    figure="coherence_by_step",
    tables=("accuracy", "coherence"),
    needs="runs of SGD with wholly random labels (noise 1) that fit all their examples",
)
def random_rises_and_falls(tables: Tables, settings: ClaimSettings) -> Parts:
    """Rise of the random-label curve beyond `near`, its end near 1, and the lateness of its peak, per network and rate.

    The highest of many values that scatter about 1 is above 1. So the other seeds say at which checkpoint a run is
    read, of those until the first run has fitted its labels, and it has to stand beyond the factor that counts as near
    1: a few per cent are no rise. A run that has not
    fitted its labels may have its rise and its return before it, and has no number; a curve that only falls, so that
    its transient has no end, counts as 1, or as its end where that is lower. An end near 1 says nothing of a run that
    has not been far from it, so a run that has no peak beyond `near` has no number for its return. Nulls: the height
    that the same weights have there with labels redrawn (without these: 1, the m-coherence of gradients with no
    direction in common); the same runs as if they ended at their peaks; the lateness of different seeds of one kind of
    labels, beyond that of labels redrawn.
    """
    parts = {}
    near = float(np.log10(settings.near))
    for place, curves in curves_by_place(tables, settings):
        later, learning = past_transient(curves, settings), _learning(curves, tables, settings)
        peaks = peaks_by_run(learning, curves, settings)
        ends = number_by_run(later, curves, lambda run: float(smoothed_of_run(run, settings)[-1]))
        checkpoints_that_fit = number_by_run(_where_fitted(curves, tables, settings), curves, len)
        without_rise = number_by_run(curves, curves, _without_rise).where(ends.isna())
        for one, added in wholly_random(curves):
            where = f"{place_name(place)}{added}"
            rows = _until_one_has_fitted(_of_labels(learning, one))
            own, others = (
                smoothed_by_step(of, settings).reindex(columns=ends[one.labels].index)
                for of in (rows, with_labels_redrawn(rows))
            )
            height = at_best_of_others(own)
            fits = checkpoints_that_fit[one.labels].notna()
            rise = (height.fillna(without_rise[one.labels]) - near).where(fits)
            by_chance = at_best_of_others(own, others)
            if by_chance.isna().all():
                why = "m-coherence 1, gradients without a common direction"
                null = nulls.around(-near, rise, settings.confidence, why)
            else:
                null = nulls.redrawn(by_chance - near, settings.confidence, LABELS_REDRAWN)
            beside = {
                "at the first checkpoint past the transient": float(own.bfill().head(1).to_numpy().mean())
                if len(own)
                else np.nan,
                "labels redrawn, at the same weights as the value,": float(by_chance.mean()),
            }
            note = "; ".join(f"{what} {number:+.3f}" for what, number in beside.items() if np.isfinite(number))
            parts[f"{where}, rises beyond {settings.near:g}"] = Measured(
                rise,
                null=null,
                note=note,
                states_level=True,
                missing_because="the others do not fit all their labels, or were still in their transients where the "
                "rest are highest",
            )
            peak = peaks["log10"][one.labels]
            parts[f"{where}, returns towards 1"] = replace(
                _returned(ends[one.labels].where(fits), peak.where(fits), settings),
                missing_because=f"the others do not fit all their labels, or have no peak beyond {settings.near:g}",
            )
        steps = log10(peaks["step"])
        steps_by_chance = log10(peaks_by_run(with_labels_redrawn(learning), curves, settings)["step"].clip(lower=1))
        for clean, random, added in clean_and_random(curves):
            later_peak = beyond_redrawn(
                steps,
                steps_by_chance,
                random,
                clean,
                settings,
                missing_because="the others have a peak at step 0, which has no logarithm, or none before they fit",
                resolution=log_spacing(later["step"]),  # each peak lies within half a spacing of its checkpoint
            )
            parts[f"{place_name(place)}{added}, peak later than with real labels"] = replace(later_peak, trained=place)
    return parts


@claim(
    "P4",
    "At about 100% training accuracy m-coherence is near 1, with real and with random labels.",
    short="near 1 once fitted",
    source="arXiv 2203.10036; 2008.01217",
    statistic=(
        "log10 of near minus |log10 m-coherence| at the last checkpoint whose training accuracy counts as 100%, where "
        "the smoothed peak is beyond near; the factor near is our own choice"
    ),
    unit="factor",
    figure="coherence_by_loss",
    tables=("accuracy", "coherence"),
    needs="runs of SGD with clean or wholly random labels that fit all their examples",
)
def coherence_near_one_when_fitted(tables: Tables, settings: ClaimSettings) -> Parts:
    """How far within the factor `near` of 1 m-coherence is at the last checkpoint with all examples fitted, log10.

    With no and with all labels random, per network and rate of SGD. A run that never fits has no number. That it is
    near 1 in the end says nothing where it always was, so a run whose peak is not beyond `near` has none either. Null:
    the same runs as if they stayed at their peaks.
    """
    parts = {}
    for place, curves in curves_by_place(tables, settings):
        fitted = _where_fitted(curves, tables, settings)
        peaks = peaks_by_run(_learning(curves, tables, settings), curves, settings)["log10"]
        for one in label_sets_by_noise(curves):
            if one.noise not in (0, 1):
                continue
            rows = _of_labels(fitted, one)
            last = rows.loc[rows.groupby("seed")["step"].idxmax()].set_index("seed")["m_coherence"]
            own = peaks[one.labels]
            parts[f"{place_name(place)}, {one.words}"] = replace(
                _returned(log10(last).reindex(own.index), own, settings),
                missing_because=f"the others do not fit all their labels, or have no peak beyond {settings.near:g}",
            )
    return parts


@claim(
    "P5",
    "Within about 25 steps m-coherence falls from near m to below 10 (said of ImageNet networks; of smaller images it"
    " is reported only).",
    short="falls from m at the start",
    source="arXiv 2008.01217",
    statistic=(
        "log10 of near, minus log10 of m over the value at step 0; and the smaller of log10 of drop_below over the "
        "least value of steps 1 to drop_steps and log10 of step 0 over it, less what another of these checkpoints in "
        "its place would give"
    ),
    unit="factor",
    figure="coherence_by_step",
    tables=("coherence",),
    needs="runs of SGD with checkpoints in the first steps (drop_steps)",
    asserted_from=IMAGENET_SIDE,
)
def drops_at_the_start(tables: Tables, settings: ClaimSettings) -> Parts:
    """How near m the run starts, and how far it drops by drop_steps, below drop_below, log10; by network, rate, noise.

    The first of some values that scatter is above the least of the others more often than not. So the mean of the drop
    from every checkpoint of the stretch to the least of the others is taken off. Nulls: the orthogonal limit; the same
    smaller number with another checkpoint in the place of the first.
    """
    parts = {}
    for place, curves in curves_by_place(tables, settings):
        for _, one, runs in by_label_set(curves[curves["step"] <= settings.drop_steps]):
            where = f"{place_name(place)}, {one.words}"
            logs = log10(runs["m_coherence"]).groupby([runs["seed"], runs["step"]]).mean().unstack()
            if 0 not in logs or len(logs.columns) < 3:
                continue
            size = log10(runs.groupby("seed")["n"].first())
            near_m = np.log10(settings.near) - (size - logs[0])
            limit = np.log10(settings.near) - float(size.mean())
            null = nulls.around(limit, near_m, settings.confidence, "m-coherence 1, the orthogonal limit")
            parts[f"{where}, from near m"] = Measured(near_m, null=null, states_level=True)
            least = pd.DataFrame({step: logs.drop(columns=step).min(axis=1) for step in logs})
            drops = logs - least
            beyond = drops.sub(drops.mean(axis=1), axis=0)
            below = np.log10(settings.drop_below) - least
            smaller = beyond.where(beyond <= below, below).where(beyond.notna())
            null = nulls.redrawn(
                smaller.drop(columns=0), settings.confidence, "the other checkpoints in the place of the first"
            )
            parts[f"{where}, drops to below {settings.drop_below:g}"] = Measured(smaller[0], null=null)
    return parts


def _without_rise(run: pd.DataFrame) -> float:
    """log10 of the height of a curve that only falls: that of 1, or of its end where that is lower."""
    return min(0.0, float(np.log10(run["m_coherence"].iloc[-1])))


def _learning(curves: pd.DataFrame, tables: Tables, settings: ClaimSettings) -> pd.DataFrame:
    """The rows of each run from the end of its transient to the checkpoint at which it has fitted its labels."""
    return while_learning(past_transient(curves, settings), tables["accuracy"], settings)


def _until_one_has_fitted(learning: pd.DataFrame) -> pd.DataFrame:
    """The rows at the checkpoints up to the last one of the run that has the fewest."""
    shortest = learning.groupby("seed")["step"].max().min()
    rows: pd.DataFrame = learning[learning["step"] <= shortest]
    return rows


def _where_fitted(curves: pd.DataFrame, tables: Tables, settings: ClaimSettings) -> pd.DataFrame:
    """The rows of the checkpoints whose training accuracy counts as 100%."""
    training = tables["accuracy"].query("part == 'train'")
    fitted = training.loc[training["accuracy"] >= settings.fitted, [*RUN_COLUMNS, "step"]]
    return curves.merge(fitted, on=[*RUN_COLUMNS, "step"])


def _of_labels(rows: pd.DataFrame, one: LabelSet) -> pd.DataFrame:
    """The rows of one label set."""
    of_labels: pd.DataFrame = rows[rows["labels"] == one.labels]
    return of_labels


def _returned(ends: pd.Series, peaks: pd.Series, settings: ClaimSettings) -> Measured:
    """How far within `near` of 1 the ends are, log10, by seed; no number for a seed whose peak is not beyond `near`.

    Such a run has nothing to return from. One that stays at its peak contradicts the claim, which states a level.
    """
    near = np.log10(settings.near)
    rose = peaks > near
    null = nulls.redrawn(
        (near - peaks).where(rose), settings.confidence, "the same runs as if they ended at their peaks"
    )
    return Measured(
        (near - ends.abs()).where(rose),
        null=null,
        states_level=True,
        missing_because=f"the others have no peak beyond {settings.near:g} to return from",
    )
