"""The claim about the size of the measured sample: the shape of the curves stays, m-coherence grows with m."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims import nulls
from mcoherence.claims.measured import Measured, Parts, Tables
from mcoherence.claims.registry import claim
from mcoherence.claims.rows import log10, past_transient
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.sgd_curves import smoothed_of_run


@claim(
    "P17",
    "Doubling the sample size m keeps the shape of the curves; m-coherence grows with m where it is far above 1.",
    short="sample size keeps the shape",
    source="arXiv 2008.01217 (that m was doubled; its outcome is not known to us); the growth is derived",
    statistic=(
        "correlation of the log10 curves of samples without a common example, past the transient, minus same_shape; "
        "log10 of near / 2, minus |log10 of the ratio of the smoothed peaks over the ratio of the sizes|; both "
        "thresholds are our own choice"
    ),
    unit="factor",
    figure="sample_size",
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
            parts[f"{where}, shape"] = Measured(correlation, null=null, trained=trained, unit="number")
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


def _peaks_by_seed(rows: pd.DataFrame, settings: ClaimSettings) -> pd.Series:
    """log10 of the smoothed peak of each seed's run, by seed."""
    curves = {seed: smoothed_of_run(run.sort_values("step"), settings) for seed, run in rows.groupby("seed")}
    return pd.Series({seed: float(np.nanmax(curve)) for seed, curve in curves.items()})


def _of_shifted(run: pd.DataFrame) -> NDArray[np.float64]:
    """Correlations of a run's own curve with the other one, shifted by 1 to K - 1 checkpoints in a circle, [K - 1]."""
    own, other = run["own"].to_numpy(), run["other"].to_numpy()
    with np.errstate(invalid="ignore"):
        return np.array([np.corrcoef(own, np.roll(other, shift))[0, 1] for shift in range(1, len(own))])
