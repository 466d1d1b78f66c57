"""Claims about label noise beyond those of `learning`: contributions, winsorising, the control RA3."""

from collections.abc import Hashable
from itertools import pairwise

import numpy as np
import pandas as pd

from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import early, sgd_rows
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.columns import MEASURED_WORLD, TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.rows import last_rows, partly_random

TOLERANCE = 0.02  # of accuracies that are claimed not to exceed one another
LEAST_CLIPPING = 2  # the c from which winsorised SGD is said not to memorise (arXiv 2002.10657)


@claim(
    "P10",
    "Early in training pristine examples contribute more to the gradient than corrupt ones, late less; not so where "
    "the tags are shuffled.",
    source=(
        "arXiv 2002.10657 (there of the mini-batch's gradient at every update, here of a fixed sample at checkpoints)"
    ),
    statistic=(
        "difference of the shares of the first-order loss decrease, pristine minus corrupt up to epoch 5 and corrupt "
        "minus pristine once pristine examples are fitted; and the same beyond the mean of the null worlds"
    ),
    tables=("contributions", "accuracy"),
    needs="runs of SGD with labels that are random in part, and contributions measured on them",
)
def contributions_cross(tables: Tables, settings: ClaimSettings) -> Parts:
    """How far f^p is above f^c early and below it late, and how far each is beyond the null worlds, under SGD.

    Early is from the end of the transient through epoch 5; late is from the first checkpoint at which the pristine
    examples are fitted to the target accuracy on. A stretch's f is the share of the loss decrease, to first order,
    over its updates: the integral of S_a . S over that of S . S by trapezoids, which checkpoints where S vanishes do
    not upset as they would a mean of ratios.
    """
    contributions, fitted = tables["contributions"], _step_of_fit(tables["accuracy"], settings)
    parts = {}
    rows = sgd_rows(contributions, settings)
    for (dataset, model, labels, noise, optimizer), runs in rows.groupby(
        ["dataset", "model", "labels", "noise", "optimizer"]
    ):
        numbers: dict[str, dict[Hashable, float]] = {}
        for seed, run in runs.groupby("seed"):
            begin = fitted.get((dataset, model, labels, optimizer, seed), np.inf)
            first, late = _differences(early(run, settings)), _differences(run[run["step"] >= begin])
            null_first, null_late = (one.drop(MEASURED_WORLD).mean() for one in (first, late))
            for what, value in {
                "early, pristine over corrupt": first[MEASURED_WORLD],
                "early, pristine over corrupt beyond the null worlds": first[MEASURED_WORLD] - null_first,
                "late, corrupt over pristine": -late[MEASURED_WORLD],
                "late, corrupt over pristine beyond the null worlds": null_late - late[MEASURED_WORLD],
            }.items():
                numbers.setdefault(what, {})[seed] = value
        for what, by_seed in numbers.items():
            parts[f"{dataset}, {model}, {optimizer}, noise {noise:g}, {what}"] = Measured(pd.Series(by_seed))
    return parts


@claim(
    "P11",
    "Winsorised SGD with c of at least 2 does not fit more labels than a network that predicts every true label "
    "would, and overfits no more as c grows.",
    source="arXiv 2002.10657",
    statistic=(
        "proper minus training accuracy at the last step; fall of the overfit measure from each c to the next; 0.02 "
        "added to both as tolerance"
    ),
    tables=("overfit",),
    needs="runs of winsorised SGD with c of at least 2",
)
def winsorising_stops_memorising(tables: Tables) -> Parts:
    """Margin of the training accuracy below the proper one for c >= 2, and fall of overfit from c to the next c.

    At the last step. The proper accuracy is the share of labels that the corruption left as they were. Both margins
    have the tolerance 0.02 added, because equality is what the claim allows.
    """
    parts = {}
    for where, noise, rows in _families(tables["overfit"]):
        by_c = {c: rows[rows["c"] == c].set_index("seed") for c in sorted(map(float, rows["c"].unique()))}
        for c, one in by_c.items():
            if c >= LEAST_CLIPPING and noise > 0:
                margin = one["pristine_share"] - one["train_accuracy"] + TOLERANCE
                parts[f"{where}, c {c:g}, training accuracy below the proper one"] = Measured(margin)
        for less, more in pairwise(by_c):
            fall = by_c[less]["overfit"] - by_c[more]["overfit"] + TOLERANCE
            parts[f"{where}, c {less:g} to {more:g}, overfit"] = Measured(fall)
    return parts


@claim(
    "P12",
    "Strong winsorising lowers the training accuracy that is reached.",
    source="arXiv 2002.10657",
    statistic="training accuracy of c = 0 minus that of the largest c, at the last step",
    tables=("overfit",),
    needs="runs of winsorised SGD, and of one that is alike with c = 0",
)
def winsorising_hurts_fitting(tables: Tables) -> Parts:
    """Training accuracy at c = 0 minus that at the largest c, at the last step, per noise level."""
    parts = {}
    for where, _, rows in _families(tables["overfit"]):
        accuracy = rows.set_index(["c", "seed"])["train_accuracy"].sort_index()
        levels = sorted(set(rows["c"]))
        if levels[0] == 0 and len(levels) > 1:
            largest = levels[-1]
            parts[f"{where}, c {largest:g}"] = Measured(accuracy.loc[0.0] - accuracy.loc[largest])
    return parts


@claim(
    "P14",
    "RA3, the control with gradients as old as RM3's and no median, narrows the gap and suppresses corrupt labels "
    "less than RM3.",
    source="the control of arXiv 2003.07422's released code; its purpose is recalled, no result of it is known",
    statistic="gap of RA3 minus that of RM3, and the same of the accuracy on corrupt labels, at the last step",
    tables=("accuracy",),
    needs="runs of SGD, RM3 and RA3 at the same noise levels",
    level="III",
)
def control_narrows_less(tables: Tables, settings: ClaimSettings) -> Parts:
    """How much larger the gap and the corrupt accuracy of RA3 are than RM3's, at the last step."""
    final = last_rows(tables["accuracy"])
    parts = {}
    for (dataset, model, noise), rows in final.groupby(["dataset", "model", "noise"]):
        scores = rows.pivot_table(index=["optimizer", "seed"], columns="part", values="accuracy")
        quantities = {"gap": scores["train"] - scores["test"]}
        if rows["noise"].iloc[0] > 0 and "corrupt" in scores:
            quantities["corrupt accuracy"] = scores["corrupt"]
        for median in settings.entries("rm3"):
            for mean in settings.entries("ra3"):
                for quantity, values in quantities.items():
                    if {mean, median} <= set(values.index.get_level_values(0)):
                        where = f"{dataset}, {model}, {mean} against {median}, noise {noise:g}, {quantity}"
                        parts[where] = Measured(values.loc[mean] - values.loc[median])
    return parts


@claim(
    "P16",
    "With at least half of the labels random, a method that does not memorise is more accurate on clean test labels "
    "than on the noisy training labels.",
    source="arXiv 2003.07422, the released code's README",
    statistic="test minus training accuracy at the last step",
    tables=("overfit",),
    needs="runs of M3 or RM3 with at least half of the labels random",
)
def clean_test_beats_noisy_train(tables: Tables, settings: ClaimSettings) -> Parts:
    """Accuracy on clean test labels minus that on the noisy training labels, at the last step, noise in [0.5, 1).

    For medians of gradients (M3, RM3) and winsorised SGD with c >= 2, the methods said not to memorise. All labels
    random is left out: a network that memorises nothing is at chance on both sides there.
    """
    final = last_rows(tables["overfit"])
    robust = final["optimizer"].isin(settings.robust) | (final["c"] >= LEAST_CLIPPING)
    chosen = final[robust & final["noise"].between(0.5, 1)]
    chosen = chosen[chosen["noise"] < 1]
    return {
        f"{dataset}, {model}, {optimizer}, noise {noise:g}": Measured(
            (one["test_accuracy"] - one["train_accuracy"]).set_axis(one["seed"])
        )
        for (dataset, model, optimizer, noise), one in chosen.groupby(["dataset", "model", "optimizer", "noise"])
    }


@claim(
    "E8",
    "Early in training pristine examples agree more with one another than corrupt ones do, late less.",
    source="follows from arXiv 2002.10657 (contributions, learning times); no published numbers of coherence",
    statistic=(
        "mean pairwise alignment (size-free) of pristine minus that of corrupt examples up to epoch 5, and the "
        "reverse once pristine examples are fitted"
    ),
    tables=("coherence", "accuracy"),
    needs="runs of SGD with labels that are random in part",
    level="III",
)
def pristine_agree_more_early(tables: Tables, settings: ClaimSettings) -> Parts:
    """Pairwise alignment of pristine minus that of corrupt examples up to epoch 5, and the reverse once fitted.

    Means over the checkpoints of each stretch, under SGD. Alignment and not m-coherence, because the groups differ in
    size.
    """
    fitted = _step_of_fit(tables["accuracy"], settings)
    numbers: dict[str, dict[Hashable, float]] = {}
    for where, seed, run in _alignments(tables["coherence"], settings, ["pristine", "corrupt"]):
        if not 0 < run["noise"].iloc[0] < 1:
            continue
        begin = fitted.get(
            tuple(run[key].iloc[0] for key in ("dataset", "model", "labels", "optimizer", "seed")), np.inf
        )
        run["lead"] = run["pristine"] - run["corrupt"]
        for what, lead in (
            ("early, pristine over corrupt", early(run, settings)["lead"].mean()),
            ("late, corrupt over pristine", -run.loc[run["step"] >= begin, "lead"].mean()),
        ):
            numbers.setdefault(f"{where}, {what}", {})[seed] = lead
    return {where: Measured(pd.Series(by_seed)) for where, by_seed in numbers.items()}


@claim(
    "E9",
    "Under label noise the best checkpoint is better on the test images than the last one.",
    source="the reasoning on early stopping in arXiv 2203.10036; no published numbers",
    statistic=(
        "test accuracy of the best checkpoint minus that of the last one; the best is chosen on the test images "
        "themselves, so that this is at least 0 by construction and optimistic"
    ),
    tables=("early_stopping",),
    needs="runs of SGD with labels that are random in part",
    level="III",
)
def best_beats_last(tables: Tables, settings: ClaimSettings) -> Parts:
    """Test accuracy of the best checkpoint minus that of the last one, with labels random in part, under SGD."""
    rows = partly_random(sgd_rows(tables["early_stopping"], settings))
    return {
        f"{dataset}, {model}, {optimizer}, noise {noise:g}": Measured(
            (one["best_test_accuracy"] - one["last_test_accuracy"]).set_axis(one["seed"])
        )
        for (dataset, model, optimizer, noise), one in rows.groupby(["dataset", "model", "optimizer", "noise"])
    }


@claim(
    "E10",
    "Gradients of held-out examples agree as those of training examples do early in training, and part from them late.",
    source="future work in arXiv 2203.10036; no published numbers",
    statistic=(
        "difference of the mean pairwise alignment of training and held-out examples, at the end minus up to epoch 5,"
        " with clean labels"
    ),
    tables=("coherence",),
    needs="runs of SGD with clean labels",
    level="III",
)
def heldout_parts_from_train(tables: Tables, settings: ClaimSettings) -> Parts:
    """How much further apart training and held-out pairwise alignment are at the end than early, clean labels."""
    numbers: dict[str, dict[Hashable, float]] = {}
    for where, seed, run in _alignments(tables["coherence"], settings, [TRAIN_GROUP, "heldout"]):
        if run["noise"].iloc[0] == 0:
            run["apart"] = (run[TRAIN_GROUP] - run["heldout"]).abs()
            last = run.loc[run["step"] == run["step"].max(), "apart"].mean()
            numbers.setdefault(where, {})[seed] = last - early(run, settings)["apart"].mean()
    return {where: Measured(pd.Series(by_seed)) for where, by_seed in numbers.items()}


def _alignments(
    coherence: pd.DataFrame, settings: ClaimSettings, groups: list[str]
) -> list[tuple[str, Hashable, pd.DataFrame]]:
    """(place, seed, run) for the runs of SGD: pairwise alignment of the whole network, a column per group."""
    rows = sgd_rows(coherence[coherence["layer"] == WHOLE_NETWORK], settings)
    keys = ["dataset", "model", "labels", "optimizer", "noise", "seed", "step", "epoch"]
    rows = rows[rows["group"].isin(groups)].set_index([*keys, "group"])["pairwise_alignment"].unstack("group")
    return [
        (f"{dataset}, {model}, {optimizer}, noise {noise:g}", seed, run.reset_index())
        for (dataset, model, optimizer, noise, seed), run in rows.groupby(
            ["dataset", "model", "optimizer", "noise", "seed"]
        )
        if set(groups) <= set(run)
    ]


def _families(overfit: pd.DataFrame) -> list[tuple[str, float, pd.DataFrame]]:
    """(place, noise, last rows) for each family of optimisers that differ in c alone and each noise level.

    One entry for each c: SGD where it stands for c = 0 twice, beside a winsorised entry, is left out.
    """
    final = last_rows(overfit)
    final = final[final["c"].notna() & final["overfit"].notna()]
    groups: list[tuple[str, float, pd.DataFrame]] = []
    for (dataset, model, alike, noise), rows in final.groupby(["dataset", "model", "alike", "noise"]):
        one_each = rows[~rows.duplicated(["c", "seed"], keep="last")]
        family = f", family {alike}" if final["alike"].nunique() > 1 else ""
        groups.append((f"{dataset}, {model}{family}, noise {noise:g}", float(one_each["noise"].iloc[0]), one_each))
    return groups


def _differences(stretch: pd.DataFrame) -> pd.Series:
    """f^p - f^c of each world over a stretch of a run's checkpoints, of the integrals over its updates, by world.

    NaN for a stretch of fewer than two checkpoints.
    """
    worlds = {MEASURED_WORLD: np.nan}
    for world, one in stretch.groupby("world"):
        if len(one) > 1:
            squared = one["sq_norm_of_sum"].to_numpy()
            difference = (one["f_pristine"] - one["f_corrupt"]).to_numpy() * squared
            worlds[str(world)] = np.trapezoid(difference, one["step"]) / np.trapezoid(squared, one["step"])
    return pd.Series(worlds, dtype=np.float64)


def _step_of_fit(accuracy: pd.DataFrame, settings: ClaimSettings) -> dict[Hashable, int]:
    """The first checkpoint at which the pristine examples of a run are fitted to the target accuracy, by run."""
    fitted = accuracy[(accuracy["part"] == "pristine") & (accuracy["accuracy"] >= settings.target_accuracy)]
    first = fitted.groupby(["dataset", "model", "labels", "optimizer", "seed"])["step"].min()
    return first.to_dict()
