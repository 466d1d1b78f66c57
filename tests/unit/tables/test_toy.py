"""The regressions in six dimensions against numbers worked out by hand, in exact rationals and in closed form."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from mcoherence.figures import toy_regression
from mcoherence.figures.style import FigureStyle
from mcoherence.tables import toy
from mcoherence.tables.toy import REGRESSIONS, example_gradients, example_losses, gradient_descent

WEIGHTS = [f"w{component}" for component in range(1, 7)]
MEAN_GRADIENT = [f"g{component}" for component in range(1, 7)]
MEASURES = ["m_coherence", "alpha", "pairwise_alignment"]
STEPS = [0, 1, 2, 3, 10, 100, 2000]


def toy_table(lr, steps):
    return toy.table("results", [], {}, lr=lr, checkpoint_steps=steps)


@pytest.fixture(scope="module")
def table():
    return toy_table(0.1, STEPS)


def rows_of(table, data, trained_on=4, measured=4):
    chosen = (table["data"] == data) & (table["trained_on"] == trained_on) & (table["measured"] == measured)
    return table[chosen].set_index("step")


def test_the_data_are_those_of_the_paper():
    assert REGRESSIONS["real"].inputs.tolist() == [
        [1, 0, 0, 0, 0, 1], [0, -1, 0, 0, 0, -1], [0, 0, -1, 0, 0, -1], [0, 0, 0, 1, 0, 1], [0, 0, 0, 0, -1, -1],
    ]  # fmt: skip
    assert REGRESSIONS["random"].inputs.tolist() == [
        [1, 0, 0, 0, 0, 0], [0, -1, 0, 0, 0, 0], [0, 0, -1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, -1, 0],
    ]  # fmt: skip
    for data in REGRESSIONS.values():
        assert data.targets.tolist() == [1, -1, -1, 1, -1]
        assert data.inputs.dtype == data.targets.dtype == np.float64


# From w = 0, derived (no numbers of the paper). Real: w1 = ... = w4 = a and w6 = 4a, as component 6 has four times the
# gradient of each of the others, and all fit where a + 4a = 1. Random: every component fits its own example.
@pytest.mark.parametrize(
    ("data", "trained_on", "weights", "test_loss"),
    [
        ("real", 4, [0.2, 0.2, 0.2, 0.2, 0, 0.8], (1 - 0.8) ** 2 / 2),  # 0.02
        ("random", 4, [1, 1, 1, 1, 0, 0], 0.5),
        ("real", 5, [1 / 6] * 5 + [5 / 6], None),
        ("random", 5, [1, 1, 1, 1, 1, 0], None),
    ],
)
def test_end_values_are_exact_to_float64(table, data, trained_on, weights, test_loss):
    end = rows_of(table, data, trained_on, trained_on).loc[2000]
    assert end[WEIGHTS].tolist() == pytest.approx(weights, rel=0, abs=1e-14)
    assert end["train_loss"] < 1e-27
    assert end[MEAN_GRADIENT].tolist() == pytest.approx([0] * 6, abs=1e-14)
    if test_loss is None:
        assert np.isnan(end["test_loss"])
    else:
        assert end["test_loss"] == pytest.approx(test_loss, rel=0, abs=1e-14)


@pytest.mark.parametrize(("lr", "last"), [(0.1, 2000), (0.01, 500), (0.4, 50)])
@pytest.mark.parametrize(
    ("data", "measured", "coherence", "alpha"), [("real", 4, 2.5, 0.625), ("random", 4, 1, 0.25), ("real", 5, 3, 0.6)]
)
def test_m_coherence_of_the_examples_trained_on_is_the_same_at_every_step(lr, last, data, measured, coherence, alpha):
    """Equal residuals: S = r (1, 1, 1, 1, 0, 4), |S|^2 / Q = 20 / 8; of all five (25 + 5) / 10; orthogonal ones 1."""
    rows = rows_of(toy_table(lr, [*range(40), last]), data, measured, measured)
    assert len(rows) == 41
    assert rows["m_coherence"].to_numpy() == pytest.approx(coherence, rel=1e-14, abs=0)
    assert rows["alpha"].to_numpy() == pytest.approx(alpha, rel=1e-14, abs=0)
    # 1/2 of any two of four or five that share one of their two components; 0 of those that share none
    assert rows["pairwise_alignment"].to_numpy() == pytest.approx(0.5 if data == "real" else 0, rel=1e-14, abs=1e-14)


def test_examples_that_are_fitted_exactly_have_no_coherence():
    """With lr 0.8 the first step on the real data is the last: a factor of 1 - 5 / 4 * 0.8 = 0 on every residual."""
    rows = rows_of(toy_table(0.8, [0, 1, 2]), "real")
    assert rows["train_loss"].tolist() == [0.5, 0, 0]
    assert rows["m_coherence"].tolist() == pytest.approx([2.5, np.nan, np.nan], nan_ok=True)


def test_fitted_examples_leave_m_coherence_of_all_five_to_the_fifth(table):
    """With r the residual of examples 1 to 4 and s that of 5: S = (r, r, r, r, s, 4r + s) and Q = 8 r^2 + 2 s^2."""
    real = rows_of(table, "real", 4, 5)["m_coherence"]
    assert real[0] == pytest.approx(3)
    r, s = 0.875**10, 1 - 0.8 * (1 - 0.875**10)
    assert real[10] == pytest.approx((4 * r**2 + s**2 + (4 * r + s) ** 2) / (8 * r**2 + 2 * s**2), rel=1e-13, abs=0)
    assert real[2000] == pytest.approx(1, rel=1e-13, abs=0)
    assert rows_of(table, "random", 4, 5)["m_coherence"].tolist() == pytest.approx([1] * len(STEPS), rel=1e-14, abs=0)


def test_every_step_is_that_of_the_closed_form(table):
    for data, factor, limit in (
        ("real", 1 - 5 * 0.1 / 4, [0.2, 0.2, 0.2, 0.2, 0, 0.8]),
        ("random", 1 - 0.1 / 4, [1, 1, 1, 1, 0, 0]),
    ):
        rows = rows_of(table, data)
        for step in STEPS:
            weights = (1 - factor**step) * np.array(limit)
            assert rows.loc[step, WEIGHTS].tolist() == pytest.approx(weights, rel=1e-13, abs=1e-15)
            assert rows.loc[step, "train_loss"] == pytest.approx(factor ** (2 * step) / 2, rel=1e-9, abs=1e-27)


def test_descent_equals_descent_in_exact_rationals():
    for data in REGRESSIONS.values():
        inputs = [[Fraction(int(value)) for value in row] for row in data.inputs]
        weights = [Fraction(0)] * 6
        for _ in range(12):
            errors = [sum(x * w for x, w in zip(row, weights, strict=True)) for row in inputs]
            errors = [error - int(target) for error, target in zip(errors, data.targets, strict=True)]
            mean = [sum(errors[i] * inputs[i][k] for i in range(4)) / 4 for k in range(6)]
            weights = [w - Fraction(3, 10) * g for w, g in zip(weights, mean, strict=True)]
        descent = gradient_descent(data, 4, 0.3, 12)
        assert descent[12].tolist() == pytest.approx([float(weight) for weight in weights], rel=1e-14, abs=1e-16)


def test_gradients_are_those_of_the_losses():
    weights, step = np.array([0.3, -0.2, 0.5, 0.1, 0.7, -0.4]), 1e-5
    for data in REGRESSIONS.values():
        differences = [
            (example_losses(weights + step * unit, data) - example_losses(weights - step * unit, data)) / (2 * step)
            for unit in np.eye(6)
        ]
        assert example_gradients(weights, data) == pytest.approx(np.transpose(differences), abs=1e-9)


def test_the_table_is_tidy_and_begins_at_zero(table):
    keys = ["data", "trained_on", "measured", "step"]
    assert list(table) == [*keys, "train_loss", "test_loss", *WEIGHTS, *MEAN_GRADIENT, *MEASURES]
    assert not table.duplicated(keys).any()
    assert len(table) == 2 * 3 * len(STEPS)
    start = rows_of(table, "real").loc[0]
    assert start[["train_loss", "test_loss", *WEIGHTS]].tolist() == [0.5, 0.5, *[0] * 6]
    assert start[MEAN_GRADIENT].tolist() == [-0.25, -0.25, -0.25, -0.25, 0, -1]  # component 6 is in every example
    assert rows_of(table, "random").loc[0, MEAN_GRADIENT].tolist() == [-0.25, -0.25, -0.25, -0.25, 0, 0]


def test_the_figure_draws_the_table(table):
    figure = toy_regression.draw({"toy": table}, FigureStyle(optimizer_colors={}, reference_optimizer="sgd"))
    axes = [figure.axes[row * 2 : row * 2 + 2] for row in range(4)]
    assert [panel.get_title() for panel in axes[0]] == ["real data", "random data"]
    assert [row[0].get_ylabel() for row in axes] == ["loss", "weight", "mean gradient", "m-coherence"]
    drawn = {
        (row, line): column
        for row, lines in enumerate(
            ({"train": "train_loss", "test": "test_loss"}, {"component 1": "w1", "component 6": "w6"},
             {"component 1": "g1", "component 6": "g6"}, {"of the 4 training examples": "m_coherence"})
        )
        for line, column in lines.items()
    }  # fmt: skip
    for (row, label), column in drawn.items():
        for data, panel in zip(("real", "random"), axes[row], strict=True):
            (line,) = (line for line in panel.lines if line.get_label() == label)
            rows = rows_of(table, data)
            assert line.get_xdata().tolist() == STEPS
            assert line.get_ydata().tolist() == rows[column].tolist()
    for data, panel in zip(("real", "random"), axes[3], strict=True):
        for label, trained_on in (("of all 5", 4), ("of all 5, trained on all 5", 5)):
            (line,) = (line for line in panel.lines if line.get_label() == label)
            assert line.get_ydata().tolist() == rows_of(table, data, trained_on, 5)["m_coherence"].tolist()
        assert [text.get_text() for text in panel.texts] == ["orthogonal: 1", "identical: m = 4"]


def test_more_checkpoints_change_no_row():
    few, many = (toy_table(0.1, steps) for steps in ([0, 3, 6], range(7)))
    pd.testing.assert_frame_equal(few, many[many["step"].isin([0, 3, 6])].reset_index(drop=True))


def test_every_column_is_described(described, table):
    described("toy", table)
