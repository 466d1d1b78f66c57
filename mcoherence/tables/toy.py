"""The illustrative example of arXiv 2203.10036, section 3: two regressions in six dimensions, real and random.

A linear model w.x is fitted by full-batch gradient descent from w = 0 to the loss (y - w.x)^2 / 2, on examples 1 to 4;
example 5 is the test. All real examples share the direction of component 6, random ones share none.

The data and the loss are those of the paper; its learning rate and number of steps are not known. What gradient descent
makes of them is derived, and no number of the paper's. All residuals of the real training examples are equal, and so
after t steps of rate lr on the mean loss

    real    w = (1 - (1 - 5 lr / 4)^t) (.2, .2, .2, .2, 0, .8)    test loss -> 0.02    m-coherence 2.5 at every step
    random  w = (1 - (1 - lr / 4)^t) (1, 1, 1, 1, 0, 0)           test loss 0.5        m-coherence 1 at every step

Index letters: n examples, t steps, 6 components. Everything is float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.coherence import alpha, m_coherence, pairwise_alignment
from mcoherence.study.runs import Run
from mcoherence.tables.columns import TOY_TRAINING_EXAMPLES, Column

Float64Array = NDArray[np.float64]
COLUMNS = {
    "data": Column("", "regression in six dimensions: real (a shared component) or random (none)"),
    "trained_on": Column("examples", "how many, from the first on, descent takes the mean loss of"),
    "measured": Column("examples", "how many, from the first on, mean gradient and coherence are of"),
    "train_loss": Column("half squared error", "mean over the examples trained on"),
    "test_loss": Column("half squared error", "of the fifth example; missing where it is trained on"),
    **{f"w{k}": Column("", f"weight of component {k}") for k in range(1, 7)},
    **{f"g{k}": Column("loss/weight", f"component {k} of the measured examples' mean gradient") for k in range(1, 7)},
}


@dataclass(frozen=True)
class Regression:
    """Five examples: inputs [5, 6] and targets [5], float64."""

    inputs: Float64Array
    targets: Float64Array


_SIGNS = np.array([1.0, -1.0, -1.0, 1.0, -1.0])
_OWN_COMPONENTS = _SIGNS[:, None] * np.eye(5, 6)
REGRESSIONS = {
    "real": Regression(_OWN_COMPONENTS + _SIGNS[:, None] * np.eye(6)[5], _SIGNS),
    "random": Regression(_OWN_COMPONENTS, _SIGNS),
}


def example_losses(weights: Float64Array, data: Regression) -> Float64Array:
    """(y - w.x)^2 / 2 of each example [5] at the weights [6]."""
    return np.asarray((data.inputs @ weights - data.targets) ** 2 / 2)


def example_gradients(weights: Float64Array, data: Regression) -> Float64Array:
    """Gradient of each example's loss, (w.x - y) x, [5, 6] at the weights [6]."""
    return np.asarray((data.inputs @ weights - data.targets)[:, None] * data.inputs)


def gradient_descent(data: Regression, examples: int, lr: float, steps: int) -> Float64Array:
    """The weights [t + 1, 6] before and after each of `steps` steps on the mean loss of the first `examples`."""
    weights = np.zeros((steps + 1, data.inputs.shape[1]))
    for step in range(steps):
        gradient = example_gradients(weights[step], data)[:examples].mean(axis=0)
        weights[step + 1] = weights[step] - lr * gradient
    return weights


def table(
    _results: str, _runs: Sequence[Run], _noise: Mapping[str, float], *, lr: float, checkpoint_steps: Sequence[int]
) -> pd.DataFrame:
    """Gradient descent on both regressions, one row per checkpoint and measured sample; no run of the study is read.

    Trained on are 4 examples, or all 5 as a further case in which nothing is left for testing; measured are the first 4
    or all 5. What the columns mean is in `COLUMNS` and in `mcoherence.tables.dictionary`.

    Args:
        lr: learning rate.
        checkpoint_steps: ascending numbers of steps; the last one ends the descent.
    """
    cases = ((TOY_TRAINING_EXAMPLES, TOY_TRAINING_EXAMPLES), (TOY_TRAINING_EXAMPLES, 5), (5, 5))
    rows = [
        {"data": name, "trained_on": trained_on, "measured": measured, "step": step}
        | _measure(weights[step], data, trained_on, measured)
        for name, data in REGRESSIONS.items()
        for trained_on, measured in cases
        for weights in (gradient_descent(data, trained_on, lr, checkpoint_steps[-1]),)
        for step in checkpoint_steps
    ]
    return pd.DataFrame(rows)


def _measure(weights: Float64Array, data: Regression, trained_on: int, measured: int) -> dict[str, float]:
    """Losses, weights, mean gradient and coherence at one checkpoint."""
    losses = example_losses(weights, data)
    gradients = example_gradients(weights, data)[:measured]
    sq_norm_of_sum, sum_sq_norm = np.square(gradients.sum(axis=0)).sum(), np.square(gradients).sum()
    return {
        "train_loss": float(losses[:trained_on].mean()),
        "test_loss": float(losses[-1]) if trained_on < len(losses) else float("nan"),
        **{f"w{component}": float(weight) for component, weight in enumerate(weights, start=1)},
        **{f"g{component}": float(mean) for component, mean in enumerate(gradients.mean(axis=0), start=1)},
        "m_coherence": float(m_coherence(sq_norm_of_sum, sum_sq_norm)),
        "alpha": float(alpha(sq_norm_of_sum, sum_sq_norm, measured)),
        "pairwise_alignment": float(pairwise_alignment(sq_norm_of_sum, sum_sq_norm, measured)),
    }
