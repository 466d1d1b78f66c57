"""Claims about the course of m-coherence: with real and random labels, by layer, network, sample size and width.

Peaks are smoothed and past the transient, both as `mcoherence.tables.curves` reads them off each run's curve. Real and
random labels are compared at equal steps and at equal training loss, at every learning rate that the study has for SGD.
The papers say "near" and "much larger" without numbers: the factor that stands for these words is a setting, `near`.
"""

from collections.abc import Callable, Hashable
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims import nulls
from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import early, early_windows, log10, log_spacing, past_transient, sgd_rows
from mcoherence.claims.settings import ClaimSettings
from mcoherence.tables.columns import RUN_COLUMNS, TRAIN_GROUP, WHOLE_NETWORK
from mcoherence.tables.curves import at_losses, peak, smoothed
from mcoherence.tables.rows import run_keys, whole_network

IMAGENET_SIDE = 224  # pixels
TRANSIENT_STEPS = 25  # arXiv 2008.01217 sees the initial drop within about so many
LOSS_LEVELS = np.arange(0.9, 0.05, -0.1)  # of the training loss before training, at which curves are compared
EARLY_LEVELS = LOSS_LEVELS[:5]  # 0.9 to 0.5: the first half of the loss
REDRAWN = "redrawn"  # group of the table coherence: the same examples with labels redrawn for the measurement alone
KEYS = ["noise", "seed"]
Place = tuple[str, str, str]  # data set, network, optimiser entry


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
    for place, curves in _curves(tables, settings):
        later = past_transient(curves, settings)
        if {0.0, 1.0} <= set(curves["noise"]):
            peaks = _peaks(later, curves, settings)["log10"]
            null = nulls.equal_conditions([peaks[0.0], peaks[1.0]], settings.confidence)
            parts[_named(place)] = Measured(peaks[0.0] - peaks[1.0], null=null)
            parts[f"{_named(place)}, at equal training loss"] = _at_equal_loss(at_loss[place], 0.0, 1.0, settings)
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
    for place, curves in _curves(tables, settings):
        rows = early(past_transient(curves, settings), windows)
        means = log10(rows["m_coherence"]).groupby([rows[key] for key in KEYS]).mean().reindex(_runs(curves))
        for less, more in pairwise(sorted(set(curves["noise"]))):
            where = f"{_named(place)}, noise {less:g} over {more:g}"
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
    redrawn = tables["coherence"].query("group == @REDRAWN and layer == @WHOLE_NETWORK")
    for place, curves in _curves(tables, settings):
        if 1.0 not in set(curves["noise"]):
            continue
        where, later = _named(place), past_transient(curves, settings)
        peaks = _peaks(later, curves, settings)
        height = peaks["log10"][1.0]
        own = _at_place(redrawn, place)
        if own.empty:
            beyond = height - np.log10(settings.near)
            null = nulls.unknown("gradients of the measured examples with labels redrawn, which this study has not")
        else:
            # From the same step on as the run's own curve, so that both are the highest of as many checkpoints.
            chance = _peaks(past_transient(own, settings, curves), own, settings)["log10"][1.0]
            beyond, null = height - chance, nulls.equal_conditions([chance], settings.confidence)
        parts[f"{where}, rises above 1"] = Measured(beyond, null=null)
        end = _by_run(later, curves, lambda run: float(_smoothed(run, settings)[-1]))[1.0]
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
    for place, curves in _curves(tables, settings):
        peaks = _peaks(past_transient(curves, settings), curves, settings)["log10"]
        for noise in sorted({0.0, 1.0} & set(curves["noise"])):
            runs = curves[curves["noise"] == noise]
            keys = [*RUN_COLUMNS, "step"]
            rows = runs.merge(fitted[keys], on=keys)
            last = rows.loc[rows.groupby("seed")["step"].idxmax()].set_index("seed")["m_coherence"]
            ends = log10(last).reindex(peaks[noise].index)
            parts[f"{_named(place)}, noise {noise:g}"] = _returned(ends, peaks[noise], settings)
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
    for place, curves in _curves(tables, settings):
        for noise, runs in curves[curves["step"] <= TRANSIENT_STEPS].groupby("noise"):
            where = f"{_named(place)}, noise {noise:g}"
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
    for place, curves in _curves(tables, settings):
        of_place = _at_place(coherence, place)
        rows = past_transient(of_place[of_place["layer"] != WHOLE_NETWORK], settings, curves)
        shares = _shares_of_convolutions(rows[rows["group"] == TRAIN_GROUP])
        by_chance = _shares_of_convolutions(rows[rows["group"] == REDRAWN])
        for noise, share in shares.items():
            if noise in by_chance:
                null = nulls.redrawn(by_chance[noise], settings.confidence, "the examples with labels redrawn")
            else:
                null = nulls.around(0.0, share, settings.confidence, "layers that change places")
            parts[f"{_named(place)}, noise {noise:g}"] = Measured(share, null=null)
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
        place: _peaks(past_transient(curves, settings), curves, settings)["log10"].get(1.0)
        for place, curves in _curves(tables, settings)
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
    "P17",
    "Doubling the sample size m keeps the shape of the curves; m-coherence grows with m where it is far above 1.",
    source="arXiv 2008.01217 (that m was doubled; its outcome is not known to us); the growth is derived",
    statistic=(
        "correlation of the log10 curves of samples without a common example, past the transient, minus same_shape; "
        "log10 of near / 2, minus |log10 of the ratio of the smoothed peaks over the ratio of the sizes|; both "
        "thresholds are our own choice"
    ),
    tables=("sample_size",),
    needs="the same runs measured at two sizes of the sample",
)
def shape_kept_at_other_sizes(tables: Tables, settings: ClaimSettings) -> Parts:
    """The curves of samples of different sizes m, each against the study's own: shape, and growth with m.

    No other sample shares an example with the study's own, so that the curves agree by what they measure alone. Shape:
    correlation of log10 m-coherence over the checkpoints past the transient of the own curve, beyond same_shape; null:
    one curve shifted along the other. Growth, where the smaller sample's peak is far above 1 in every seed: how far
    within the factor near / 2 the ratio of the peaks is of the ratio of the sizes, log10 (derived, not a statement of
    the papers); null: peaks that do not grow, those of different seeds at one size.
    """
    table = tables["sample_size"]
    parts = {}
    for (dataset, model, labels, optimizer), runs in table.groupby(["dataset", "model", "labels", "optimizer"]):
        trained = (str(dataset), str(model), str(optimizer)) if optimizer in settings.entries("sgd") else None
        rows = past_transient(runs, settings, runs[runs["own_sample"]])
        own = int(runs.loc[runs["own_sample"], "m"].iloc[0])
        of_size = {m: rows[rows["m"] == m] for m in sorted(map(int, rows["m"].unique()))}
        curves = {m: log10(one.set_index(["seed", "step"])["m_coherence"]) for m, one in of_size.items()}
        peaks = {m: _peaks_by_seed(one, settings) for m, one in of_size.items()}
        for m in (size for size in curves if size != own):
            where = f"{dataset}, {model}, {labels}, {optimizer}, m = {m} against {own}"
            both = pd.DataFrame({"own": curves[own], "other": curves[m]}).sort_index().groupby("seed")
            correlation = both.apply(lambda run: run["own"].corr(run["other"])) - settings.same_shape
            shifted = pd.DataFrame({seed: _of_shifted(run) for seed, run in both}).T - settings.same_shape
            null = nulls.redrawn(shifted, settings.confidence, "one of the curves shifted along the other")
            parts[f"{where}, shape"] = Measured(correlation, null=null, trained=trained)
            few, many = peaks[min(m, own)], peaks[max(m, own)]
            if (few >= np.log10(settings.far_above_limit)).all():
                growth = np.log10(max(m, own) / min(m, own))

                def as_expected(
                    more: NDArray[np.float64], less: NDArray[np.float64], growth: float = growth
                ) -> NDArray[np.float64]:
                    return np.asarray(np.log10(settings.near / 2) - np.abs(more - less - growth))

                null = nulls.equal_conditions([few, many], settings.confidence, as_expected)
                grown = pd.Series(as_expected(many.to_numpy(), few.reindex(many.index).to_numpy()), index=many.index)
                parts[f"{where}, grows with m"] = Measured(grown, null=null, trained=trained)
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


def _curves(tables: Tables, settings: ClaimSettings) -> list[tuple[Place, pd.DataFrame]]:
    """(data set, network, entry of SGD) and rows of the whole network's coherence on the training sample."""
    rows = sgd_rows(whole_network(tables["coherence"]), settings)
    return [
        ((str(dataset), str(model), str(optimizer)), group)
        for (dataset, model, optimizer), group in rows.groupby(["dataset", "model", "optimizer"])
    ]


def _named(place: Place) -> str:
    return ", ".join(place)


def _at_place(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    dataset, model, optimizer = place
    rows: pd.DataFrame = table[
        (table["dataset"] == dataset) & (table["model"] == model) & (table["optimizer"] == optimizer)
    ]
    return rows


def _runs(curves: pd.DataFrame) -> pd.MultiIndex:
    """(noise, seed) of the runs of curves."""
    return pd.MultiIndex.from_frame(curves[KEYS].drop_duplicates().sort_values(KEYS))


def _by_run(rows: pd.DataFrame, curves: pd.DataFrame, number: Callable[[pd.DataFrame], float]) -> pd.Series:
    """A number of each run's rows in the order of steps, by noise and seed; NaN for runs of `curves` without rows."""
    found: dict[Hashable, list[float]] = {}
    for (*_, noise, seed), run in rows.groupby(["labels", *KEYS]):
        found.setdefault((noise, seed), []).append(number(run.sort_values("step")))
    means = {key: float(np.mean(numbers)) for key, numbers in found.items()}  # over label sets of one noise
    return pd.Series({key: means.get(key, np.nan) for key in _runs(curves)}, dtype=np.float64).rename_axis(KEYS)


def _smoothed(run: pd.DataFrame, settings: ClaimSettings) -> NDArray[np.float64]:
    return smoothed(run["step"], run["m_coherence"], settings.peak_window)


def _peaks(later: pd.DataFrame, curves: pd.DataFrame, settings: ClaimSettings) -> pd.DataFrame:
    """log10 and step of the smoothed peak of each run past its transient, by noise and seed."""

    def of(what: str) -> pd.Series:
        return _by_run(
            later,
            curves,
            lambda run: getattr(peak(run["step"], run["m_coherence"], window=settings.peak_window), what),
        )

    return pd.DataFrame({"log10": of("log10"), "step": of("step")})


def _peaks_by_seed(rows: pd.DataFrame, settings: ClaimSettings) -> pd.Series:
    return pd.Series(
        {seed: float(np.nanmax(_smoothed(run.sort_values("step"), settings))) for seed, run in rows.groupby("seed")}
    )


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
    for place, curves in _curves(tables, settings):
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


def _of_shifted(run: pd.DataFrame) -> NDArray[np.float64]:
    """Correlations of a run's own curve with the other one, shifted by 1 to K - 1 checkpoints in a circle, [K - 1]."""
    own, other = run["own"].to_numpy(), run["other"].to_numpy()
    with np.errstate(invalid="ignore"):
        return np.array([np.corrcoef(own, np.roll(other, shift))[0, 1] for shift in range(1, len(own))])
