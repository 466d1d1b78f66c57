"""The bound against its own double sum, written out, and on tables whose bound is known."""

import json
import math
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mcoherence.figures import bound
from mcoherence.figures.style import FigureStyle
from mcoherence.files.tables import write_table
from mcoherence.tables.bound import alpha_before_updates, bound_along_runs, log_bound
from workflow_scripts import tabulate

STEPS = [0, 1, 3]
STYLE = FigureStyle(optimizer_colors={"sgd": "#0072b2"}, reference_optimizer="sgd")


def double_sum(rates, alphas, beta):
    """PAPERS' formula term by term: sum over t of the product over the later k."""
    return sum(
        math.prod(1 + rates[k] * beta for k in range(t + 1, len(rates))) * rates[t] * math.sqrt(2 * (1 - alphas[t]))
        for t in range(len(rates))
    )


def test_two_updates_by_hand():
    """Alpha 1/2 then 7/8, so roots 1 and 1/2; rates 0.1 and 0.2; beta 5: 0.1, then 0.1 (1 + 1) + 0.2 / 2."""
    values = np.exp(log_bound([0.1, 0.2], [0.5, 0.875], beta=5))
    assert values == pytest.approx([0, 0.1, 0.3], rel=1e-14)


def test_without_smoothness_only_the_steps_add_up():
    assert np.exp(log_bound([0.1, 0.1, 0.1], 0.5, beta=0)) == pytest.approx([0, 0.1, 0.2, 0.3], rel=1e-14)


@pytest.mark.parametrize("beta", [0.0, 0.3, 10.0])
def test_the_sum_of_the_paper_with_changing_rates_and_alpha(beta):
    random = np.random.default_rng(0)
    rates, alphas = random.uniform(0.01, 0.5, 30), random.uniform(0, 1, 30)
    expected = [double_sum(rates[:t], alphas[:t], beta) for t in range(31)]
    assert np.exp(log_bound(rates, alphas, beta)) == pytest.approx(expected, rel=1e-12)


def test_identical_gradients_and_a_rate_of_zero_add_nothing():
    assert np.exp(log_bound([0.1, 0.1], [1.0, 1.0], beta=1)).tolist() == [0, 0, 0]
    assert np.exp(log_bound([0.0, 0.1], [0.5, 0.5], beta=1)) == pytest.approx([0, 0, 0.1])
    assert np.exp(log_bound([0.1], [1 + 1e-16], beta=1)).tolist() == [0, 0]  # alpha is 1 to rounding


def test_bounds_beyond_float64_keep_their_logarithm():
    """Constant rate and alpha: a geometric sum, eta ((1 + eta beta)^T - 1) / (eta beta), here about 2^5000."""
    assert log_bound(np.full(5000, 0.5), 0.5, beta=2)[-1] == pytest.approx(math.log(0.5) + 5000 * math.log(2))


def test_alpha_is_linear_in_the_logarithm_between_checkpoints():
    values = alpha_before_updates([0, 1, 7], [0.8, 0.4, 0.0], updates=7)
    # log2(1 + step) is 0, 1, log2 3, 2, ..., 3 at the checkpoints 0, 1, 7: from 0.4 down by 0.2 a doubling
    expected = [0.8, *(0.4 - 0.2 * (math.log2(1 + step) - 1) for step in range(1, 7))]
    assert values == pytest.approx(expected)
    assert values[3] == pytest.approx(0.2)


def make_tables(alphas, optimizers=("sgd",), seeds=(0, 1)):
    """Tables coherence and accuracy; alphas: {labels: alpha at STEPS}; seed 1 has half of each alpha."""
    coherence, accuracy = [], []
    for (labels, values), optimizer, seed in product(alphas.items(), optimizers, seeds):
        run = {"dataset": "d", "model": "net", "labels": labels, "noise": float(labels == "random")}
        run |= {"optimizer": optimizer, "subset": "full", "seed": seed}
        for step, value in zip(STEPS, values, strict=True):
            place = {"step": step, "epoch": step / 2, "diverged": bool(np.isnan(value))}
            how = {"batch_norm": "sample" if optimizer == "sgd" else "none"}
            coherence += [
                run
                | place
                | how
                | {"group": group, "layer": layer, "alpha": value / (1 + seed) if group == "train" else 0.9}
                for group, layer in (("train", "model"), ("heldout", "model"), ("heldout", "output"))
            ]
            accuracy += [
                run | place | {"part": part, "loss": loss}
                for part, loss in (("train", 2.0 - step / 2), ("test", 2.0 + step), ("corrupt", 9.0))
            ]
    return pd.DataFrame(coherence), pd.DataFrame(accuracy)


def test_the_table_has_the_bound_at_the_checkpoints_of_each_run():
    alphas = {"clean": (0.5, 0.5, 0.5), "random": (0.0, 0.0, 0.0)}
    table = bound_along_runs(*make_tables(alphas), {"sgd": {"lr": 0.2}}, [0.5, 1])
    assert len(table) == 2 * 2 * 2 * len(STEPS)
    assert (table["batch_norm"] == "sample").all()
    rows = table.query("labels == 'clean' and seed == 0 and beta_times_lr == 0.5").set_index("step")
    # beta = 2.5, each update multiplies by 1.5 and adds 0.2 sqrt(2 / 2): 0.2, 0.5, 0.95
    assert 10 ** rows["log10_bound"].to_numpy() == pytest.approx([0, 0.2, 0.95])
    assert np.isnan(rows.loc[0, "relative_bound"])
    assert rows["relative_bound"].iloc[1:].tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert rows["gap"].tolist() == [2.0 - 2.0, 3.0 - 1.5, 5.0 - 0.5]
    other_seed = table.query("labels == 'clean' and seed == 1 and step > 0")
    assert other_seed["relative_bound"].tolist() == pytest.approx([math.sqrt(0.75)] * 4)
    assert table.query("labels == 'random' and step > 0")["relative_bound"].tolist() == pytest.approx([1] * 8)


def test_the_rates_follow_the_schedule():
    schedule = {"kind": "step", "milestones": [1], "factor": 0.1}
    tables = make_tables({"clean": (0.5, 0.5, 0.5)}, seeds=(0,))
    table = bound_along_runs(*tables, {"sgd": {"lr": 0.2, "schedule": schedule}}, [1])
    # rates 0.2, 0.02, 0.02 and beta 5: 0.2, then twice times 1.1 plus 0.02
    assert 10 ** table["log10_bound"].iloc[-1] == pytest.approx((0.2 * 1.1 + 0.02) * 1.1 + 0.02)


def test_optimisers_that_the_bound_is_not_of_are_left_out():
    tables = make_tables({"clean": (0.5, 0.5, 0.5)}, optimizers=("sgd", "rm3"))
    assert set(bound_along_runs(*tables, {"sgd": {"lr": 0.2}}, [1])["optimizer"]) == {"sgd"}
    empty = bound_along_runs(*tables, {}, [1])
    assert empty.empty
    (text,) = bound.draw({"bound": empty}, STYLE).texts
    assert "no runs of plain SGD" in text.get_text()


def test_after_a_divergence_there_is_no_bound():
    """Not even at the first checkpoint after it, although the bound there hangs on alpha before it alone."""
    tables = make_tables({"clean": (0.5, np.nan, np.nan)}, seeds=(0,))
    table = bound_along_runs(*tables, {"sgd": {"lr": 0.2}}, [1]).set_index("step")
    assert table["diverged"].to_dict() == {0: False, 1: True, 3: True}
    assert table["log10_bound"].notna().tolist() == [True, False, False]
    assert table["relative_bound"].isna().all()


def test_alpha_of_fitted_examples_is_missing_and_so_is_what_follows():
    tables = make_tables({"clean": (0.5, np.nan, 0.5)}, seeds=(0,))
    table = bound_along_runs(*(frame.assign(diverged=False) for frame in tables), {"sgd": {"lr": 0.2}}, [1])
    assert table.set_index("step")["relative_bound"].notna().to_dict() == {0: False, 1: True, 3: False}


def test_every_column_is_described(described, table):
    described("bound", table)


@pytest.fixture(scope="module")
def table():
    return bound_along_runs(
        *make_tables({"clean": (0.9, 0.5, 0.1), "random": (0.1, 0.2, 0.3)}), {"sgd": {"lr": 0.2}}, [0.1, 1]
    )


def test_the_figure_has_a_column_per_smoothness_and_the_gap(table):
    figure = bound.draw({"bound": table}, STYLE)
    panels = figure.axes
    titles = [axes.get_title() for axes in panels]
    assert ["0.1" in titles[0], "= 1" in titles[1], titles[2]] == [True, True, "measured gap"]
    for axes, assumed in zip(panels, (0.1, 1), strict=False):
        for labels in ("clean", "random"):
            rows = table[(table["labels"] == labels) & (table["beta_times_lr"] == assumed) & (table["step"] > 0)]
            (line,) = (line for line in axes.lines if line.get_label() == labels)
            assert line.get_xdata().tolist() == [1, 3]
            assert line.get_ydata() == pytest.approx(rows.groupby("step")["relative_bound"].mean().to_numpy())
    (line,) = (line for line in panels[2].lines if line.get_label() == "clean")
    assert line.get_xdata().tolist() == STEPS
    assert line.get_ydata().tolist() == [0.0, 1.5, 4.5]
    assert "single seeds, 2" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_rule_makes_it_of_the_tables_of_the_study(tmp_path, monkeypatch, table):
    tables = make_tables({"clean": (0.9, 0.5, 0.1), "random": (0.1, 0.2, 0.3)})
    (tmp_path / "tables").mkdir()
    for name, content in zip(("coherence", "accuracy"), tables, strict=True):
        write_table(content, tmp_path / f"tables/{name}.csv", tmp_path / f"tables/{name}.parquet")
    settings = {
        "results": str(tmp_path),
        "grids": [],
        "files": [],
        "further": [],
        "tables": ["coherence", "accuracy"],
        "noise": {},
        "own": {"beta_times_lr": [0.1, 1], "optimizers": {"sgd": {"lr": 0.2}}},
    }
    csv, parquet = tmp_path / "bound.csv", tmp_path / "bound.parquet"
    words = ["--module", "mcoherence.tables.bound", "--settings", json.dumps(settings)]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--csv", str(csv), "--parquet", str(parquet)])
    tabulate.main()
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)
    assert len(pd.read_csv(csv)) == len(table)
