"""The bound on the generalisation gap of arXiv 2203.10036, along a recorded trajectory of alpha.

For SGD of T steps with rates eta_t, on m training examples whose losses are L-Lipschitz and beta-smooth, the paper has

    |gap| <= (L^2 / m) sum_{t=1..T} [prod_{k=t+1..T} (1 + eta_k beta)] eta_t sqrt(2 (1 - alpha(w_{t-1})))

with gap the expected difference of population and empirical risk. The mini-batch size cancels. The paper itself calls
the bound loose and qualitative, and L and beta of a network are not known: so what is worked out here is relative. The
sum alone is the bound in units of L^2 / m, for an assumed beta; over the same sum with alpha = 0 throughout it is the
share that coherence leaves of the bound, from which L and m are gone.

Two choices of this project. Alpha stands for that of the population at w; it is taken on the measured training sample.
Between checkpoints it is interpolated linearly in log(1 + step), because checkpoints are spaced that way.

Index letters: T updates, K checkpoints.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mcoherence.files.tables import read_table
from mcoherence.study.runs import Run, table_file
from mcoherence.tables.columns import RUN_COLUMNS, Column
from mcoherence.tables.rows import whole_network
from mcoherence.training.schedules import learning_rate

Float64Array = NDArray[np.float64]
COLUMNS = {
    "beta_times_lr": Column("", "assumed smoothness of the loss times the optimiser's lr"),
    "log10_bound": Column("log10", "bound on the generalisation gap over L²/m (arXiv 2203.10036), relative, loose"),
    "relative_bound": Column("share", "that bound over the same with incoherent gradients; missing at step 0"),
    "gap": Column("nats", "test minus training loss; the test labels are clean, whatever was trained on"),
}
_RUN = [*RUN_COLUMNS]  # a list, as pandas takes a tuple for one key
_ORDER = [*_RUN, "step", "epoch", *COLUMNS, "batch_norm", "diverged"]


def log_bound(learning_rates: ArrayLike, alpha: ArrayLike, beta: float) -> Float64Array:
    """Natural logarithm of the sum of the bound after 0, 1, ..., T updates, float64 [T + 1]; -inf after none.

    In logarithms, since the products outgrow float64 after some hundred updates. With P_t the product of all
    (1 + eta_k beta) up to t, the sum after T is P_T sum_t eta_t sqrt(2 (1 - alpha_{t-1})) / P_t.

    Args:
        learning_rates: eta_t of each update, [T].
        alpha: alpha at the weights before each update, [T] or a number for all.
        beta: smoothness, at least 0; in the reciprocal of the unit of the rates.
    """
    rates = np.asarray(learning_rates, dtype=np.float64)
    coherence = np.broadcast_to(np.asarray(alpha, dtype=np.float64), rates.shape)
    log_products = np.cumsum(np.log1p(rates * beta))
    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 of a rate of 0 or an alpha of 1; NaN of no alpha
        log_terms = np.log(rates) + np.log(2 * np.maximum(1 - coherence, 0)) / 2 - log_products
        return np.concatenate([[-np.inf], log_products + np.logaddexp.accumulate(log_terms)])


def alpha_before_updates(steps: ArrayLike, alpha: ArrayLike, updates: int) -> Float64Array:
    """Alpha at the weights before each of `updates` updates, [T], from checkpoints that begin at step 0.

    Args:
        steps: ascending steps of the checkpoints, [K].
        alpha: measured there, [K]; NaN spreads to the updates beside it.
        updates: T, at most the last step.
    """
    places = np.log1p(np.arange(updates))
    return np.interp(places, np.log1p(np.asarray(steps, dtype=np.float64)), np.asarray(alpha, dtype=np.float64))


def table(
    results: str,
    _runs: Sequence[Run],
    _noise: Mapping[str, float],
    *,
    optimizers: Mapping[str, Mapping[str, Any]],
    beta_times_lr: Sequence[float],
) -> pd.DataFrame:
    """`bound_along_runs` of the study's tables coherence and accuracy; their runs are the ones that it has rows of."""
    coherence, accuracy = (read_table(Path(table_file(results, name))) for name in ("coherence", "accuracy"))
    return bound_along_runs(coherence, accuracy, optimizers, beta_times_lr)


def bound_along_runs(
    coherence: pd.DataFrame,
    accuracy: pd.DataFrame,
    optimizers: Mapping[str, Mapping[str, Any]],
    beta_times_lr: Sequence[float],
) -> pd.DataFrame:
    """The bound along every run of these optimisers: one row per run, checkpoint and assumed smoothness.

    Of log10_bound step 0 has -inf, of relative_bound, which is in [0, 1], NaN; from a divergence on all is NaN. What
    the columns mean is in `COLUMNS` and in `mcoherence.tables.dictionary`.

    Args:
        coherence: the tidy table coherence.
        accuracy: the tidy table accuracy, of the same runs and checkpoints.
        optimizers: settings (lr and schedule) of the optimisers for which the bound holds.
        beta_times_lr: assumed smoothness times the lr of the optimiser.
    """
    rows = whole_network(coherence)
    rows = rows[rows["optimizer"].isin(list(optimizers))]
    scored = accuracy[accuracy["part"].isin(["train", "test"])]
    signed = scored["loss"].where(scored["part"] == "test", -scored["loss"])
    gaps = scored.assign(gap=signed).groupby([*_RUN, "step"])["gap"].agg(lambda losses: losses.sum(skipna=False))
    frames = [
        curve.assign(beta_times_lr=float(assumed), **_bounds(curve, optimizers[str(optimizer)], assumed))
        for optimizer, curves in rows.groupby("optimizer", sort=False)
        for _, curve in curves.groupby(_RUN, sort=False)
        for assumed in beta_times_lr
    ]
    if not frames:
        return pd.DataFrame(columns=_ORDER)
    bounds = pd.concat(frames, ignore_index=True).merge(gaps.reset_index(), on=[*_RUN, "step"])
    return bounds[_ORDER]


def _bounds(curve: pd.DataFrame, optimizer: Mapping[str, Any], beta_times_lr: float) -> dict[str, Float64Array]:
    """log10_bound and relative_bound at the checkpoints of one run."""
    steps = curve["step"].to_numpy(dtype=np.int64)
    updates = int(steps[-1])
    rates = np.array([learning_rate(optimizer, update) for update in range(updates)])
    beta = beta_times_lr / optimizer["lr"]
    coherent = log_bound(rates, alpha_before_updates(steps, curve["alpha"], updates), beta)[steps]
    incoherent = log_bound(rates, 0.0, beta)[steps]
    with np.errstate(invalid="ignore"):  # 0/0 before the first update
        bounds = {"log10_bound": coherent / np.log(10), "relative_bound": np.exp(coherent - incoherent)}
    return {name: np.where(curve["diverged"], np.nan, values) for name, values in bounds.items()}
