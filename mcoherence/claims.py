"""The papers' claims as tests with uncertainty: tidy tables in, verdicts out.

Every part of a claim is one number per seed, oriented so that the claim predicts it to be positive. What is compared,
is compared within a seed, on one sample size m and in eval mode, and peaks are taken past the initial transient. The
interval is the percentile bootstrap over seeds; because that is too narrow for a few seeds (see `intervals`), Student's
t is worked out as well and the verdict wants both. Both are widened by the resolution of the checkpoints where a time
is read off them: seeds that fall on the same checkpoint agree to its spacing, not exactly. A part is supported where
both intervals are wholly positive, not supported where nothing of either is, and inconclusive otherwise; a claim is
supported only where all of its parts are, so that many parts never help it. An experiment without chance has one exact
number instead, known to rounding. A claim that the study has no runs for is not tested, and says what is missing.

Levels: II is what the papers assert, which gets a verdict; III is plausible and not known to be published, which is
reported with its intervals and gets none. (I, exact identities, are tests of the code: see `identities`.)

A run that diverged, even late, takes part in no statistic, because what it reached before would count as its end. A
seed that has no partner then makes its part inconclusive, and every claim names the runs that are left out.

Statements and sources: ids P1 ... P18 are this project's list of what the four papers assert; the source names the
paper (arXiv id) that asserts it. Verdicts concern this study's data and networks, not the papers' experiments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd

from mcoherence.intervals import Interval, percentile_bootstrap, students_t

Level = Literal["II", "III"]
Verdict = Literal["supported", "not supported", "inconclusive", "reported"]
ClaimVerdict = Verdict | Literal["not tested"]
Tables = Mapping[str, pd.DataFrame]
PerSeed = pd.Series  # one number per seed, indexed by seed
EXPERIMENT_OF_TABLE = {
    "accuracy": "label_noise",
    "coherence": "label_noise",
    "learning_time": "label_noise",
    "group_alignment": "label_noise",
    "overfit": "label_noise",
    "early_stopping": "label_noise",
    "contributions": "contributions",
    "easy_hard": "easy_hard",
    "difficulty": "easy_hard",
    "difficulty_agreement": "easy_hard",
    "difficulty_coherence": "difficulty_coherence",
    "sample_size": "sample_size",
    "sweep": "sweep",
    "toy": "toy",
}
DIVERGED = "diverged"  # key of the table of the rows that are left out
RUN_COLUMNS = ("dataset", "model", "labels", "optimizer", "subset", "train_subset", "seed")


@dataclass(frozen=True)
class Measured:
    """One statistic: a number per seed, and how far each can be off because times are known to a checkpoint only."""

    per_seed: PerSeed
    resolution: float = 0.0


@dataclass(frozen=True)
class Exact:
    """One statistic of an experiment without chance: its value, and how far rounding can have moved it."""

    value: float
    rounding: float


Parts = Mapping[str, Measured | Exact]  # by the place where each was taken


@dataclass(frozen=True)
class ClaimSettings:
    """The thresholds of the tests.

    confidence: level of the intervals; first_step: peaks are looked for from this step on, past the transient;
    target_accuracy: training accuracy whose first time is compared; methods: optimiser entry -> method;
    architectures: model entry -> architecture; image_sides: data set entry -> pixels along the longer side.
    """

    confidence: float
    first_step: int
    target_accuracy: float
    methods: Mapping[str, str]
    architectures: Mapping[str, str] = field(default_factory=dict)
    image_sides: Mapping[str, int] = field(default_factory=dict)

    def entries(self, method: str) -> list[str]:
        """Names of the optimiser entries that use `method`."""
        return [name for name, used in self.methods.items() if used == method]


@dataclass(frozen=True)
class Part:
    """One tested number: where it was taken, its values per seed (none where it is exact), mean, intervals, verdict.

    interval: the percentile bootstrap's; t_interval: Student's; both are that of rounding where the number is exact.
    """

    where: str
    values: dict[int, float]
    value: float | None
    interval: Interval | None
    t_interval: Interval | None
    verdict: Verdict


@dataclass(frozen=True)
class Claim:
    """One claim of the papers, tested: the part that decides the verdict stands for the whole.

    `missing` says what the study would need to speak to the claim; it is None where the claim is tested.
    """

    id: str
    statement: str
    source: str
    level: Level
    statistic: str
    parts: tuple[Part, ...]
    diverged: tuple[str, ...] = ()  # the study's runs that diverged and are left out
    missing: str | None = None

    @property
    def decisive(self) -> Part | None:
        """The part with the lowest intervals: the one that the verdict hangs on; None without parts."""
        rank = {"not supported": 0, "inconclusive": 1, "supported": 2}

        def support(part: Part) -> tuple[int, float]:
            if part.interval is None or part.t_interval is None:
                return -1, 0.0
            return rank[_verdict_of(part.interval, part.t_interval)], part.t_interval[0]

        return min(self.parts, key=support, default=None)

    @property
    def verdict(self) -> ClaimVerdict:
        """Supported if all parts are; not supported if any part is not; inconclusive, reported or not tested."""
        if self.missing is not None:
            return "not tested"
        verdicts = {part.verdict for part in self.parts}
        if "reported" in verdicts:
            return "reported"
        if "not supported" in verdicts:
            return "not supported"
        return "supported" if verdicts == {"supported"} else "inconclusive"


@dataclass(frozen=True)
class Description:
    """What a claim says and how it is tested.

    parts_of: (tables, settings) -> its parts; tables: those that it reads; needed_runs: what these have to hold;
    asserted_from: pixels along an image's side from which the source asserts it; reported only in a smaller world.
    """

    id: str
    statement: str
    source: str
    statistic: str
    parts_of: Callable[[Tables, ClaimSettings], Parts]
    tables: tuple[str, ...]
    needed_runs: str
    level: Level = "II"
    asserted_from: int = 0

    def is_reported(self, settings: ClaimSettings) -> bool:
        """Whether a study of these settings reports the claim without a verdict."""
        sides = settings.image_sides.values()
        return self.level == "III" or any(side < self.asserted_from for side in sides)


def check_claims(tables: Tables, settings: ClaimSettings, descriptions: Sequence[Description]) -> list[Claim]:
    """The papers' claims P1, P2, ... and then further statements E1, E2, ..., with those not spoken to by the study.

    Args:
        tables: the tables that the study has, by name.
        settings: confidence and thresholds.
        descriptions: the claims: CLAIMS below, and those of `noise_claims`, `trajectory_claims` and so on.
    """
    diverged = tuple(dict.fromkeys(run for table in tables.values() for run in diverged_runs(table)))
    trained = {name: without_diverged(table) for name, table in tables.items()}
    if "accuracy" in tables:
        trained[DIVERGED] = tables["accuracy"][_is_diverged(tables["accuracy"])]
    ordered = sorted(descriptions, key=lambda description: (description.id[0] != "P", int(description.id[1:])))
    return [_claim(settings, trained, diverged, description) for description in ordered]


def diverged_runs(table: pd.DataFrame) -> list[str]:
    """The runs of a table that diverged, by their names in its order, such as "digits, mlp, clean, sgd, seed 0"."""
    if "diverged" not in table:
        return []
    rows = table[table["diverged"].astype(bool)]  # an empty table has columns of no type
    subsets = rows["train_subset" if "train_subset" in rows else "subset"]
    names = zip(rows["dataset"], rows["model"], rows["labels"], rows["optimizer"], subsets, rows["seed"], strict=True)
    return list(dict.fromkeys(f"{', '.join(map(str, name[:-1]))}, seed {name[-1]}" for name in names))


def without_diverged(table: pd.DataFrame) -> pd.DataFrame:
    """The table without all rows of the runs that diverged."""
    return table[~_is_diverged(table)]


def _is_diverged(table: pd.DataFrame) -> pd.Series:
    """Whether each row is of a run that diverged, even at a later checkpoint."""
    if "diverged" not in table:
        return pd.Series(data=False, index=table.index)
    run = [key for key in RUN_COLUMNS if key in table]
    return table.groupby(run, observed=True)["diverged"].transform("any").astype(bool)


def peak_real_over_random(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P1: log10 of peak m-coherence with real labels over that with random labels, per network under SGD."""
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        later = past_transient(curves, settings)
        if {0.0, 1.0} <= set(later["noise"]):
            peaks = later.groupby(["noise", "seed"])["m_coherence"].max()
            parts[where] = Measured(log10(peaks[0.0]) - log10(peaks[1.0]))
    return parts


def early_coherence_by_noise(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P2: log10 ratio of the mean early m-coherence of neighbouring noise levels, per network under SGD."""
    parts = {}
    for where, curves in sgd_curves(tables["coherence"], settings):
        early = past_transient(curves, settings).query("epoch <= 5")
        means = log10(early["m_coherence"]).groupby([early["noise"], early["seed"]]).mean()
        for less, more in pairwise(sorted(set(early["noise"]))):
            parts[f"{where}, noise {less:g} over {more:g}"] = Measured(means[less] - means[more])
    return parts


def random_rises_and_falls(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P3: height of the random-label peak, its return towards 1, and its lateness, per network under SGD."""
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
            parts[f"{where}, peak later than with real labels"] = Measured(lateness, _log_spacing(later["step"]))
    return parts


def time_grows_with_noise(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P8: log10 ratio of the times to the target accuracy of neighbouring noise levels, per network under SGD.

    The time is interpolated between checkpoints; a run that never reaches the target counts with its last step, a
    lower bound of its time. Two such runs say nothing about their order, and have no number.
    """
    parts = {}
    training = tables["accuracy"].query("part == 'train'")
    for where, curves in of_sgd(training, settings):
        runs = curves.groupby(["noise", "seed"])
        times = pd.Series(
            {
                key: log10_time_to_reach(settings.target_accuracy, curve["step"], curve["accuracy"])
                for key, curve in runs
            }
        )
        reached = runs["accuracy"].max() >= settings.target_accuracy
        for less, more in pairwise(sorted(set(curves["noise"]))):
            ordered = reached[more] | reached[less]
            parts[f"{where}, noise {more:g} over {less:g}"] = Measured((times[more] - times[less]).where(ordered))
    return parts


def log10_time_to_reach(target: float, steps: pd.Series, accuracy: pd.Series) -> float:
    """log10 of the step at which the accuracy first reaches the target, linear between checkpoints on a log axis.

    Step 0 counts as 1. The last step where the target is never reached.
    """
    log_steps = np.log10(np.clip(steps.to_numpy(dtype=np.float64), 1, None))
    values = accuracy.to_numpy(dtype=np.float64)
    order = np.argsort(log_steps, kind="stable")
    log_steps, values = log_steps[order], values[order]
    reached = np.flatnonzero(values >= target)
    if len(reached) == 0:
        return float(log_steps[-1])
    after = int(reached[0])
    if after == 0:
        return float(log_steps[0])
    share = (target - values[after - 1]) / (values[after] - values[after - 1])
    return float(log_steps[after - 1] + share * (log_steps[after] - log_steps[after - 1]))


def pristine_before_corrupt(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P9: learning times of pristine and corrupt examples against each other and against the extremes, under SGD.

    A group of which at most half is ever learned counts with the last step, a lower bound of its median.
    """
    parts = {}
    accuracy = dict(of_sgd(tables["accuracy"], settings))
    for where, rows in of_sgd(tables["learning_time"], settings):
        steps = accuracy.get(where, tables["accuracy"])["step"]
        last_step = float(steps.max())
        times = log10(rows["median_step"].clip(lower=1, upper=last_step).astype(float))
        medians = times.groupby([rows["noise"], rows["group"], rows["seed"]]).first()
        # A median is known to the checkpoint that follows it.
        spacing = _log_spacing(steps[steps >= rows["median_step"].clip(lower=1).min()])
        partly = sorted(noise for noise in set(rows["noise"]) if 0 < noise < 1)
        for noise in partly:
            pristine, corrupt = medians[noise, "pristine"], medians[noise, "corrupt"]
            parts[f"{where}, noise {noise:g}, corrupt after pristine"] = Measured(corrupt - pristine, spacing)
            if {0.0, 1.0} <= set(rows["noise"]):
                clean, random = medians[0.0, "all"], medians[1.0, "all"]
                nearer = (pristine - random).abs() - (pristine - clean).abs()
                parts[f"{where}, noise {noise:g}, pristine nearer to no noise"] = Measured(nearer, 2 * spacing)
                nearer = (corrupt - clean).abs() - (corrupt - random).abs()
                parts[f"{where}, noise {noise:g}, corrupt nearer to all random"] = Measured(nearer, 2 * spacing)
    return parts


def suppression_narrows_gap(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P13: how much smaller the gap and the corrupt accuracy of M3 and RM3 are than SGD's, at the last step.

    At the noise levels where the study has both: an optimiser that is not run at a level is not compared there, one
    whose runs there diverged leaves the comparison open.
    """
    accuracy = tables["accuracy"]
    final = accuracy[accuracy["step"] == _last_step_of_its_run(accuracy)]
    asked_for = pd.concat([accuracy, tables[DIVERGED]]) if DIVERGED in tables else accuracy
    parts = {}
    for (dataset, model, noise), rows in final.groupby(["dataset", "model", "noise"]):
        scores = rows.pivot_table(index=["optimizer", "seed"], columns="part", values="accuracy")
        gap = scores["train"] - scores["test"]
        here = asked_for.query("dataset == @dataset and model == @model and noise == @noise")
        present = set(here["optimizer"])
        for reference in filter(present.__contains__, settings.entries("sgd")):
            for name in filter(present.__contains__, (*settings.entries("m3"), *settings.entries("rm3"))):
                where = f"{dataset}, {model}, {name} against {reference}, noise {noise:g}"
                parts[f"{where}, gap"] = Measured(_of_entry(gap, reference) - _of_entry(gap, name))
                if "corrupt" in scores and noise != 0:
                    corrupt = scores["corrupt"]
                    difference = _of_entry(corrupt, reference) - _of_entry(corrupt, name)
                    parts[f"{where}, corrupt accuracy"] = Measured(difference)
    return parts


def easy_beats_hard(tables: Tables, settings: ClaimSettings) -> dict[str, Measured]:
    """P15: test accuracy of easy on easy minus hard on hard, per network."""
    del settings
    if "easy_hard" not in tables:
        return {}
    parts = {}
    for (dataset, model), rows in tables["easy_hard"].groupby(["dataset", "model"]):
        cells = rows.set_index(["train_subset", "test_subset", "seed"])["accuracy"].sort_index()
        easy, hard = (_of_entry(_of_entry(cells, subset), subset) for subset in ("easy", "hard"))
        parts[f"{dataset}, {model}"] = Measured(easy - hard)
    return parts


def real_regression_generalises(tables: Tables, settings: ClaimSettings) -> dict[str, Exact]:
    """P18: test loss and m-coherence of the six-dimensional regressions, real against random; exact, without seeds."""
    del settings
    toy = tables["toy"].query("trained_on == 4 and measured == 4").sort_values("step").set_index("data")
    real, random = toy.loc["real"], toy.loc["random"]
    # A unit in the last place for every step: generous, since each step of the descent shrinks the errors before it.
    rounding = float(np.finfo(np.float64).eps * (1 + toy["step"].max()))
    fall, change = (float(rows["test_loss"].iloc[0] - rows["test_loss"].iloc[-1]) for rows in (real, random))
    coherence = float(real["m_coherence"].min() - random["m_coherence"].max())
    return {
        "test loss": Exact(fall - abs(change), rounding),
        "m-coherence at every checkpoint": Exact(coherence, rounding),
    }


def part_of(where: str, measured: Measured | Exact, confidence: float) -> Part:
    """The tested number: mean, both intervals at `confidence` widened by the resolution, verdict.

    Too few or missing values are inconclusive. An exact number is its own mean, and its interval is that of rounding.
    """
    if isinstance(measured, Exact):
        exact = _widened((measured.value, measured.value), measured.rounding)
        return Part(where, {}, measured.value, exact, exact, _verdict_of(exact))
    per_seed = measured.per_seed
    values = {int(seed): float(value) for seed, value in zip(per_seed.index, per_seed, strict=True)}
    numbers = np.array(list(values.values()))
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        finite = {seed: value for seed, value in values.items() if np.isfinite(value)}
        return Part(where, finite, None, None, None, "inconclusive")
    bootstrap, t = (
        _widened(interval(numbers, confidence), measured.resolution) for interval in (percentile_bootstrap, students_t)
    )
    return Part(where, values, float(numbers.mean()), bootstrap, t, _verdict_of(bootstrap, t))


def _widened(interval: Interval, by: float) -> Interval:
    return interval[0] - by, interval[1] + by


def _verdict_of(*intervals: Interval) -> Verdict:
    """What all of the intervals say; nothing where one is not a number."""
    if all(low > 0 for low, _ in intervals):
        return "supported"
    return "not supported" if all(high <= 0 for _, high in intervals) else "inconclusive"


def _claim(settings: ClaimSettings, tables: Tables, diverged: tuple[str, ...], description: Description) -> Claim:
    absent = dict.fromkeys(EXPERIMENT_OF_TABLE[name] for name in description.tables if name not in tables)
    parts = {} if absent else description.parts_of(tables, settings)
    tested = tuple(part_of(where, measured, settings.confidence) for where, measured in parts.items())
    if description.is_reported(settings):
        tested = tuple(replace(part, verdict="reported") for part in tested)
    missing = None
    if absent:
        missing = f"needs the experiment {', '.join(absent)}, which this study does not make"
    elif not parts:
        missing = f"needs {description.needed_runs}; this study has {_found(tables[description.tables[0]], diverged)}"
    texts = (description.id, description.statement, description.source, description.level, description.statistic)
    return Claim(*texts, tested, diverged, missing)


def _found(table: pd.DataFrame, diverged: tuple[str, ...]) -> str:
    """What a study has of what a claim may need, as text: noise levels, optimisers and networks that are left."""
    if table.empty:
        return "no such runs left that did not diverge" if diverged else "no such runs"
    noise = ", ".join(f"{level:g}" for level in sorted(table["noise"].unique())) if "noise" in table else "any"
    names = {
        plural: ", ".join(map(str, table[column].unique()))
        for column, plural in (("optimizer", "optimisers"), ("model", "networks"))
        if column in table
    }
    others = "".join(f", {plural} {found}" for plural, found in names.items())
    return f"noise {noise}{others}" + (" without the runs that diverged" if diverged else "")


def _of_entry(values: pd.Series, name: str) -> pd.Series:
    """The values whose first index level is `name`, without that level; empty where there are none."""
    chosen = values[values.index.get_level_values(0) == name]
    return chosen.droplevel(0)


def _last_step_of_its_run(table: pd.DataFrame) -> pd.Series:
    """For every row the last step of the run that it belongs to: not all runs of a study are equally long."""
    run = [key for key in RUN_COLUMNS if key in table]
    return table.groupby(run, observed=True)["step"].transform("max")


def of_sgd(table: pd.DataFrame, settings: ClaimSettings) -> list[tuple[str, pd.DataFrame]]:
    """(place, rows) for every data set and network trained with SGD."""
    rows = table[table["optimizer"].isin(settings.entries("sgd"))]
    return [
        (f"{dataset}, {model}, {optimizer}", group)
        for (dataset, model, optimizer), group in rows.groupby(["dataset", "model", "optimizer"])
    ]


def sgd_curves(coherence: pd.DataFrame, settings: ClaimSettings) -> list[tuple[str, pd.DataFrame]]:
    """(place, rows) of the whole network's coherence on the training sample."""
    return of_sgd(coherence.query("group == 'train' and layer == 'model'"), settings)


def _log_spacing(steps: pd.Series) -> float:
    """The widest gap between neighbouring checkpoints, in log10 of the step; steps below 1 are left out."""
    distinct = np.unique(steps[steps >= 1].to_numpy(dtype=np.float64))
    return float(np.diff(np.log10(distinct)).max()) if len(distinct) > 1 else 0.0


def log10(values: pd.Series) -> pd.Series:
    """The values' logarithms to base 10, with their index."""
    return pd.Series(np.log10(values.to_numpy(dtype=np.float64)), index=values.index)


def past_transient(curves: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """The rows from the study's first step past the initial transient on."""
    return curves[curves["step"] >= settings.first_step]


CLAIMS = tuple(
    Description(*description)
    for description in (
        (
            "P1",
            "The peak of m-coherence, past the initial transient, is higher for real than for random labels.",
            "arXiv 2203.10036; 2008.01217 (ICLR 2021 version)",
            "log10 of the ratio of the peaks, real over random",
            peak_real_over_random,
            ("coherence",),
            "runs of SGD with clean labels (noise 0) and with wholly random ones (noise 1)",
        ),
        (
            "P2",
            "Early in training, past the transient, m-coherence falls as label noise grows.",
            "arXiv 2008.01217",
            "log10 of the ratio of the geometric means over the first 5 epochs, less over more noise",
            early_coherence_by_noise,
            ("coherence",),
            "runs of SGD at two noise levels, with checkpoints past the transient in the first 5 epochs",
        ),
        (
            "P3",
            "With random labels m-coherence rises above 1 and returns towards 1; its peak comes later than with "
            "real labels.",
            "arXiv 2008.01217; 2203.10036",
            "log10 of the peak; fall of |log10 m-coherence| from the peak to the end; log10 of the ratio of the "
            "steps of the peaks, random over real",
            random_rises_and_falls,
            ("coherence",),
            "runs of SGD with wholly random labels (noise 1)",
        ),
        (
            "P8",
            "The time to reach a fixed training accuracy grows with label noise.",
            "arXiv 2002.10657",
            "log10 of the ratio of the times, more over less noise",
            time_grows_with_noise,
            ("accuracy",),
            "runs of SGD at two noise levels",
        ),
        (
            "P9",
            "Pristine examples are learned before corrupt ones: the former nearly as fast as without noise, the "
            "latter nearly as slowly as with all labels random.",
            "arXiv 2002.10657",
            "log10 of the ratio of the median learning times, corrupt over pristine; and how much nearer, in "
            "log10 time, each group is to its counterpart than to the other",
            pristine_before_corrupt,
            ("accuracy", "learning_time"),
            "runs of SGD with labels that are random in part (noise between 0 and 1)",
        ),
        (
            "P13",
            "M3 and RM3 leave a smaller gap between training and test accuracy than SGD at every noise level, and "
            "fit fewer corrupt labels.",
            "arXiv 2003.07422",
            "gap of SGD minus that of the method, and the same of the accuracy on corrupt labels, at the last step; at "
            "the noise levels where the study has both",
            suppression_narrows_gap,
            ("accuracy",),
            "runs of SGD, and of M3 or RM3, at the same noise levels",
        ),
        (
            "P15",
            "Trained and tested on easy examples, a network generalises better than on hard ones.",
            "arXiv 2003.07422",
            "test accuracy easy on easy minus hard on hard",
            easy_beats_hard,
            ("easy_hard",),
            "networks trained on easy and on hard examples",
        ),
        (
            "P18",
            "Gradient descent generalises from the real data of a regression in six dimensions, whose gradients "
            "agree, and not from the random data, whose gradients are orthogonal.",
            "arXiv 2203.10036, section 3: its data; the values, at convergence 0.5 - 0.02 and 2.5 - 1, are derived "
            "here and not the paper's",
            "fall of the test loss with real data, less its change with random data; m-coherence of the training "
            "gradients, the least with real less the greatest with random data",
            real_regression_generalises,
            ("toy",),
            "both regressions",
        ),
    )
)
