"""Claims about label noise beyond those of `learning`: contributions, winsorising, the control RA3."""

from collections.abc import Hashable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from mcoherence.claims.measured import Measured, Parts, PerSeed, Tables, difference_of_accuracies
from mcoherence.claims.nulls import equal_conditions, redrawn, unknown
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import at_best_of_others, by_label_set, early, early_windows, sgd_rows
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.columns import MEASURED_WORLD, TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.rows import last_rows, partly_random

LATE = "late, corrupt over pristine"


@claim(
    "P10",
    "Early in training pristine examples contribute more to the gradient than corrupt ones, late less; not so where "
    "the tags are shuffled.",
    short="pristine lead early, corrupt late",
    source=(
        "arXiv 2002.10657 (there of the mini-batch's gradient at every update, here of a fixed sample at checkpoints)"
    ),
    statistic=(
        "difference of the shares of the first-order loss decrease, pristine minus corrupt early (from step 0 on) and "
        "corrupt minus pristine once pristine examples are fitted; itself, or less the mean of the null worlds, "
        "whichever is smaller"
    ),
    unit="points",
    figure="contributions",
    tables=("contributions", "accuracy"),
    needs="runs of SGD with labels that are random in part, and contributions measured on them",
)
def contributions_cross(tables: Tables, settings: ClaimSettings) -> Parts:
    """How far f^p is above f^c early and below it late, beyond what the null worlds give, under SGD.

    Early is from step 0 until the runs with the least noise are half-way to the target accuracy: a share of the loss
    decrease has no transient to leave out, as a peak of coherence has. Late is from the first checkpoint at which the
    pristine examples are fitted to the target accuracy on. A stretch's f is the share of the loss decrease, to first
    order, over its updates: the integral of S_a . S over that of S . S by trapezoids, which checkpoints where S
    vanishes do not upset as they would a mean of ratios.

    The larger group contributes more in null worlds too. So each number is the smaller of the lead itself and of the
    lead over the mean of the null worlds, and that of a null world, with the others for null worlds, is its null.
    """
    contributions, fitted = tables["contributions"], _step_of_fit(tables["accuracy"], settings)
    windows = early_windows(tables["accuracy"], settings)
    parts = {}
    rows = sgd_rows(contributions, settings)
    for (dataset, model, optimizer), one, runs in by_label_set(rows, ["dataset", "model", "optimizer"]):
        leads: dict[str, dict[Hashable, pd.Series]] = {}
        for seed, run in runs.groupby("seed"):
            begin = fitted.get((dataset, model, one.labels, optimizer, seed), np.inf)
            first, late = early(run, windows), run[run["step"] >= begin]
            leads.setdefault("early, pristine over corrupt", {})[seed] = _differences(first)
            leads.setdefault(LATE, {})[seed] = -_differences(late)
        for what, by_seed in leads.items():
            parts[f"{dataset}, {model}, {optimizer}, {one.words}, {what}"] = _beyond_null_worlds(
                pd.DataFrame(by_seed).T, settings
            )
    return parts


def _beyond_null_worlds(leads: pd.DataFrame, settings: ClaimSettings) -> Measured:
    """The lead of each seed, or what it is beyond the mean of its null worlds, whichever is smaller, with its null.

    leads: a column for each world, indexed by seed.
    """
    measured, worlds = leads[MEASURED_WORLD], leads.drop(columns=MEASURED_WORLD)
    null = unknown("two null worlds")
    if worlds.shape[1] > 1:
        smaller = {name: _smaller(worlds[name], worlds.drop(columns=name)) for name in worlds}
        null = redrawn(pd.DataFrame(smaller), settings.confidence, "null worlds, in which the tags are shuffled")
    alone, expected = measured.mean(), worlds.mean(axis=1).mean()
    note = f"the lead alone {alone:+.3f}, in the null worlds {expected:+.3f}" if np.isfinite(alone) else ""
    return Measured(_smaller(measured, worlds), null=null, note=note)


def _smaller(lead: PerSeed, others: pd.DataFrame) -> PerSeed:
    return pd.concat([lead, lead - others.mean(axis=1)], axis=1).min(axis=1, skipna=False)


@claim(
    "P11",
    "Winsorised SGD with c of at least 2 does not fit more labels than a network that predicts every true label "
    "would, and overfits less as c grows.",
    short="winsorising stops memorising",
    source="arXiv 2002.10657",
    statistic=(
        "proper minus training accuracy at the last step, with the equivalence margin added as tolerance; fall of the "
        "overfit measure from each c to the next"
    ),
    unit="points",
    figure="winsorization",
    tables=("overfit",),
    needs="runs of winsorised SGD with c of at least 2",
)
def winsorising_stops_memorising(tables: Tables, settings: ClaimSettings) -> Parts:
    """Margin of the training accuracy below the proper one for c >= 2, and fall of overfit from c to the next c.

    At the last step. The proper accuracy is the share of labels that the corruption left as they were. That margin has
    the equivalence margin added, because equality is what the claim allows. A network that learns nothing has it too,
    so its null is that of the same optimiser without clipping: where that does not memorise, nothing is shown. The
    proper accuracy is a level that the claim states, so one that memorises refutes it, as much as c = 0 or less.
    """
    parts = {}
    for where, noise, rows in _families(tables["overfit"]):
        by_c = {c: rows[rows["c"] == c].set_index("seed") for c in sorted(map(float, rows["c"].unique()))}
        below = {
            c: one["pristine_share"] - one["train_accuracy"] + settings.equivalence_margin for c, one in by_c.items()
        }
        null = (
            redrawn(below[0.0], settings.confidence, "runs with c = 0") if 0.0 in below else unknown("runs with c = 0")
        )
        for c, margin in below.items():
            if c >= settings.least_clipping and noise > 0:
                parts[f"{where}, c {c:g}, training accuracy below the proper one"] = Measured(
                    margin, null=null, states_level=True
                )
        for less, more in pairwise(by_c):
            parts[f"{where}, c {less:g} to {more:g}, overfit"] = difference_of_accuracies(
                by_c[less]["overfit"], by_c[more]["overfit"], settings
            )
    return parts


@claim(
    "P12",
    "Strong winsorising lowers the training accuracy that is reached.",
    short="winsorising slows fitting",
    source="arXiv 2002.10657",
    statistic="training accuracy of c = 0 minus that of the largest c, at the last step",
    unit="points",
    figure="winsorization",
    tables=("overfit",),
    needs="runs of winsorised SGD, and of one that is alike with c = 0",
)
def winsorising_hurts_fitting(tables: Tables, settings: ClaimSettings) -> Parts:
    """Training accuracy at c = 0 minus that at the largest c, at the last step, per noise level."""
    parts = {}
    for where, _, rows in _families(tables["overfit"]):
        accuracy = rows.set_index(["c", "seed"])["train_accuracy"].sort_index()
        levels = sorted(set(rows["c"]))
        if levels[0] == 0 and len(levels) > 1:
            largest = levels[-1]
            parts[f"{where}, c {largest:g}"] = difference_of_accuracies(
                accuracy.loc[0.0], accuracy.loc[largest], settings
            )
    return parts


@claim(
    "P14",
    "RA3, the control with gradients as old as RM3's and no median, narrows the gap and suppresses corrupt labels "
    "less than RM3.",
    short="RA3 does less than RM3",
    source="the control of arXiv 2003.07422's released code; its purpose is recalled, no result of it is known",
    statistic="gap of RA3 minus that of RM3, and the same of the accuracy on corrupt labels, at the last step",
    unit="points",
    figure="generalization_gap",
    tables=("accuracy",),
    needs="runs of SGD, RM3 and RA3 at the same noise levels",
    level="III",
)
def control_narrows_less(tables: Tables, settings: ClaimSettings) -> Parts:
    """How much larger the gap and the corrupt accuracy of RA3 are than RM3's, at the last step."""
    final = last_rows(tables["accuracy"])
    parts = {}
    for (dataset, model), one, rows in by_label_set(final, ["dataset", "model"]):
        scores = rows.pivot_table(index=["optimizer", "seed"], columns="part", values="accuracy")
        quantities = {"gap": scores["train"] - scores["test"]}
        if one.noise > 0 and "corrupt" in scores:
            quantities["corrupt accuracy"] = scores["corrupt"]
        for median in settings.entries("rm3"):
            for mean in settings.entries("ra3"):
                for quantity, values in quantities.items():
                    if {mean, median} <= set(values.index.get_level_values(0)):
                        where = f"{dataset}, {model}, {mean} against {median}, {one.words}, {quantity}"
                        parts[where] = difference_of_accuracies(values.loc[mean], values.loc[median], settings)
    return parts


@claim(
    "P16",
    "With at least half of the labels random, a method that does not memorise is more accurate on clean test labels "
    "than on the noisy training labels.",
    short="test above noisy training accuracy",
    source="arXiv 2003.07422, the released code's README",
    statistic="test minus training accuracy at the last step, at noise levels from least_noise on",
    unit="points",
    figure="optimizers",
    tables=("overfit",),
    needs="runs of M3 or RM3 with labels that are random in part, from least_noise on",
)
def clean_test_beats_noisy_train(tables: Tables, settings: ClaimSettings) -> Parts:
    """Accuracy on clean test labels minus that on the noisy training labels, at the last step, from least_noise on.

    For medians of gradients (M3, RM3) and winsorised SGD with c >= 2, the methods said not to memorise. All labels
    random is left out: a network that memorises nothing is at chance on both sides there. So is one that is not
    trained, with any labels: that is the null.
    """
    overfit = tables["overfit"]
    robust = overfit["optimizer"].isin(settings.robust) | (overfit["c"] >= settings.least_clipping)
    chosen = overfit[robust & overfit["noise"].between(settings.least_noise, 1, inclusive="left")]
    parts = {}
    for (dataset, model, optimizer), one, runs in by_label_set(chosen, ["dataset", "model", "optimizer"]):
        trained, untrained = (
            (rows["test_accuracy"] - rows["train_accuracy"]).set_axis(rows["seed"])
            for rows in (last_rows(runs), runs[runs["step"] == 0])
        )
        parts[f"{dataset}, {model}, {optimizer}, {one.words}"] = Measured(
            trained,
            null=redrawn(untrained, settings.confidence, "networks that are not trained (step 0)"),
            margin=settings.equivalence_margin,
        )
    return parts


@claim(
    "E8",
    "Early in training pristine examples agree more with one another than corrupt ones do, late less.",
    short="pristine agree early, corrupt late",
    source="follows from arXiv 2002.10657 (contributions, learning times); no published numbers of coherence",
    statistic=(
        "mean pairwise alignment (size-free) of pristine minus that of corrupt examples early, and the "
        "reverse once pristine examples are fitted"
    ),
    unit="number",
    figure="pristine_corrupt",
    tables=("coherence", "accuracy"),
    needs="runs of SGD with labels that are random in part",
    level="III",
)
def pristine_agree_more_early(tables: Tables, settings: ClaimSettings) -> Parts:
    """Pairwise alignment of pristine minus that of corrupt examples early, and the reverse once fitted.

    Means over the checkpoints of each stretch, under SGD. Alignment and not m-coherence, because the groups differ in
    size.
    """
    fitted, windows = _step_of_fit(tables["accuracy"], settings), early_windows(tables["accuracy"], settings)
    numbers: dict[str, dict[Hashable, pd.Series]] = {}
    for where, seed, run in _alignments(tables["coherence"], settings, ["pristine", "corrupt"]):
        if not 0 < run["noise"].iloc[0] < 1:
            continue
        begin = fitted.get(
            tuple(run[key].iloc[0] for key in ("dataset", "model", "labels", "optimizer", "seed")), np.inf
        )
        late = run[run["step"] >= begin]
        for what, stretch in (("early, pristine over corrupt", early(run, windows)), (LATE, late)):
            numbers.setdefault(f"{where}, {what}", {})[seed] = stretch[["pristine", "corrupt"]].mean()
    parts = {}
    for where, by_seed in numbers.items():
        means = pd.DataFrame(by_seed).T
        more, less = ("corrupt", "pristine") if where.endswith(LATE) else ("pristine", "corrupt")
        null = equal_conditions([means[more], means[less]], settings.confidence)
        parts[where] = Measured(means[more] - means[less], null=null)
    return parts


@claim(
    "E9",
    "Under label noise the best checkpoint is better on the test images than the last one.",
    short="best checkpoint beats the last",
    source="the reasoning on early stopping in arXiv 2203.10036; no published numbers",
    statistic=(
        "test accuracy at the checkpoint before the last that is best in the mean of the other seeds, minus that of "
        "the last one; a run's own best checkpoint is at least as good as its last one by construction"
    ),
    unit="points",
    figure="early_stopping",
    tables=("accuracy",),
    needs="runs of SGD with labels that are random in part",
    level="III",
)
def best_beats_last(tables: Tables, settings: ClaimSettings) -> Parts:
    """Test accuracy at the other seeds' best checkpoint minus that of the last one, labels random in part, under SGD.

    The other seeds choose, so that chance in a run's own curve is not counted as a gain, and among the checkpoints
    before the last, so that a curve that is best at its end refutes. They choose on the same test images: what these
    have in common is not covered.
    """
    rows = partly_random(sgd_rows(tables["accuracy"].query("part == 'test'"), settings))
    parts = {}
    for (dataset, model, optimizer), one, runs in by_label_set(rows, ["dataset", "model", "optimizer"]):
        curves = runs.pivot_table(index="step", columns="seed", values="accuracy")
        at_best, last = at_best_of_others(curves.iloc[:-1]), curves.ffill().iloc[-1]
        parts[f"{dataset}, {model}, {optimizer}, {one.words}"] = replace(
            difference_of_accuracies(at_best, last, settings),
            note=f"each run's own best, which is optimistic, {(curves.max() - last).mean():+.3f}",
        )
    return parts


@claim(
    "E10",
    "Gradients of held-out examples agree as those of training examples do early in training, and part from them late.",
    short="held-out parts from training",
    source="future work in arXiv 2203.10036; no published numbers",
    statistic=(
        "difference of the mean pairwise alignment of training and held-out examples, at the end minus early, with "
        "clean labels; its sign is that of the other seeds, so that scatter alone has the mean 0"
    ),
    unit="number",
    figure="pristine_corrupt",
    tables=("coherence", "accuracy"),
    needs="runs of SGD with clean labels",
    level="III",
)
def heldout_parts_from_train(tables: Tables, settings: ClaimSettings) -> Parts:
    """How much further apart training and held-out pairwise alignment are at the end than early, clean labels.

    A distance is counted in the direction that the mean of the other seeds has: an absolute value would grow with
    scatter alone. The seeds depend on each other by that sign: of 40,000 studies of five seeds with scatter alone,
    Student's interval was above 0 in 9%, and not in 2.5%.
    """
    windows = early_windows(tables["accuracy"], settings)
    numbers: dict[str, dict[Hashable, pd.Series]] = {}
    for where, seed, run in _alignments(tables["coherence"], settings, [TRAIN_GROUP, "heldout"]):
        if run["noise"].iloc[0] == 0:
            run["apart"] = run[TRAIN_GROUP] - run["heldout"]
            means = {
                "late": run.loc[run["step"] == run["step"].max(), "apart"].mean(),
                "early": early(run, windows)["apart"].mean(),
            }
            numbers.setdefault(where, {})[seed] = pd.Series(means)
    parts = {}
    for where, by_seed in numbers.items():
        apart = pd.DataFrame(by_seed).T.apply(_in_direction_of_others)
        null = equal_conditions([apart["late"], apart["early"]], settings.confidence)
        parts[where] = Measured(apart["late"] - apart["early"], null=null)
    return parts


def _in_direction_of_others(values: PerSeed) -> PerSeed:
    """Each seed's value times the sign of the mean of the other seeds'; NaN for one seed alone."""
    others = (values.sum() - values) / (len(values) - 1 or np.nan)
    return pd.Series(values * np.sign(others))


def _alignments(
    coherence: pd.DataFrame, settings: ClaimSettings, groups: list[str]
) -> list[tuple[str, Hashable, pd.DataFrame]]:
    """(place, seed, run) for the runs of SGD: pairwise alignment of the whole network, a column per group."""
    rows = sgd_rows(coherence[coherence["layer"] == WHOLE_NETWORK], settings)
    keys = ["dataset", "model", "labels", "optimizer", "noise", "seed", "step", "epoch"]
    rows = rows[rows["group"].isin(groups)].set_index([*keys, "group"])["pairwise_alignment"].unstack("group")
    return [
        (f"{dataset}, {model}, {optimizer}, {one.words}", seed, run)
        for (dataset, model, optimizer), one, runs in by_label_set(
            rows.reset_index(), ["dataset", "model", "optimizer"]
        )
        for seed, run in runs.groupby("seed")
        if set(groups) <= set(run)
    ]


def _families(overfit: pd.DataFrame) -> list[tuple[str, float, pd.DataFrame]]:
    """(place, noise, last rows) for each family of optimisers that differ in c alone and each label set.

    One entry for each c: SGD where it stands for c = 0 twice, beside a winsorised entry, is left out.
    """
    final = last_rows(overfit)
    final = final[final["c"].notna() & final["overfit"].notna()]
    groups: list[tuple[str, float, pd.DataFrame]] = []
    for (dataset, model, alike), one, rows in by_label_set(final, ["dataset", "model", "alike"]):
        one_each = rows[~rows.duplicated(["c", "seed"], keep="last")]
        family = f", family {alike}" if final["alike"].nunique() > 1 else ""
        groups.append((f"{dataset}, {model}{family}, {one.words}", one.noise, one_each))
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
