"""Runs that diverged: figures say so, and neither call them not run nor count what they were before."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from mcoherence.figures import (
    coherence_by_loss,
    coherence_by_step,
    early_stopping,
    easy_hard,
    generalization_gap,
    layer_coherence,
    optimizers,
    summary,
    training_curves,
)
from mcoherence.figures.intervals import draw_line_with_band, over_seeds
from mcoherence.figures.panels import NOT_RUN, new_figure
from mcoherence.figures.style import FigureStyle, LineLook

STYLE = FigureStyle({"sgd": "#0072b2", "m3": "#d55e00"}, "sgd")
SEEDS, STEPS = range(4), (0, 10, 100)


def runs(models=("mlp", "cnn"), optimizers=("sgd", "m3")):
    return [
        {"dataset": "digits", "model": model, "labels": "clean", "noise": 0.0, "optimizer": optimizer,
         "subset": "full", "seed": seed}
        for model, optimizer, seed in product(models, optimizers, SEEDS)
    ]  # fmt: skip


def tables(lost):
    """Tables of all runs, of which `lost(run, step)` says whether they had diverged."""
    rows = [(run, step, bool(lost(run, step))) for run in runs() for step in STEPS]
    accuracy = [
        {**run, "step": step, "epoch": step / 10, "part": part, "n": 100, "loss": np.inf if gone else 1.0 + value,
         "accuracy": np.nan if gone else value, "diverged": gone}
        for run, step, gone in rows
        for part, value in (("train", 0.9), ("test", 0.5 + 0.001 * step))
    ]  # fmt: skip
    coherence = [
        {**run, "step": step, "group": "train", "layer": layer, "n": 50, "diverged": gone,
         "m_coherence": np.nan if gone else 2.0 + run["seed"]}
        for run, step, gone in rows
        for layer in ("model", "hidden")
    ]  # fmt: skip
    return {"accuracy": pd.DataFrame(accuracy), "coherence": pd.DataFrame(coherence)}


def of_cnn(optimizer, since):
    return lambda run, step: run["model"] == "cnn" and run["optimizer"] == optimizer and step >= since


def said(axes):
    return [text.get_text() for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("module", [coherence_by_step, coherence_by_loss])
def test_a_combination_that_diverged_stays_and_says_so(module):
    figure = module.draw(tables(of_cnn("m3", since=0)), STYLE)
    assert len(figure.axes) == 4
    panel = figure.axes[3]
    assert "diverged" in said(panel)
    assert panel.get_gid() != NOT_RUN
    assert "4 run(s) diverged, drawn until then" in legend(figure)


def test_an_optimiser_that_always_diverged_does_not_vanish():
    figure = coherence_by_step.draw(tables(lambda run, step: run["optimizer"] == "m3"), STYLE)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["SGD", "M3"]


@pytest.mark.parametrize(
    "module", [summary, coherence_by_step, coherence_by_loss, layer_coherence, training_curves, generalization_gap]
)
def test_a_figure_of_runs_that_all_diverged_does_not_say_that_there_were_none(module):
    (text,) = module.draw(tables(lambda run, step: True), STYLE).texts
    assert text.get_text().startswith("All runs that this figure would show diverged")


def test_a_colour_that_nothing_is_drawn_in_is_not_in_the_legend():
    lost = tables(lambda run, step: run["optimizer"] == "m3")
    for module in (training_curves, generalization_gap, optimizers):
        assert "M3" not in legend(module.draw(lost, STYLE)), module


def test_a_gap_before_a_run_diverged_is_not_one_of_its_end():
    """At the last checkpoint the gap is 0.9 - 0.6; the seed that diverged had one of 0.4 before."""
    lost = tables(lambda run, step: run["seed"] == 0 and step == 100)
    panel = summary.draw(lost, STYLE).axes[2]
    means = [bar.lines[0].get_ydata() for bar in panel.containers]
    np.testing.assert_allclose(np.concatenate(means).astype(float), 30)


def test_no_difference_says_whose_runs_are_missing():
    def reasons(lost):
        figure = optimizers.draw({"accuracy": lost}, STYLE)
        return [" ".join(said(figure.axes[6])[0].split()), " ".join(said(figure.axes[4])[0].split())]

    table = tables(lambda run, step: False)["accuracy"]
    without = table[~((table["model"] == "cnn") & (table["optimizer"] == "sgd"))]
    assert reasons(without) == ["no runs of SGD"] * 2
    assert reasons(tables(of_cnn("sgd", since=0))["accuracy"]) == ["runs of SGD diverged"] * 2


def test_a_network_without_the_reference_says_so_in_the_summary():
    given = tables(lambda run, step: False)
    lacking = {name: of[~((of["model"] == "cnn") & (of["optimizer"] == "sgd"))] for name, of in given.items()}
    figure = summary.draw(lacking, STYLE)
    assert [said(axes)[-1] for axes in figure.axes[3:5]] == ["no runs of SGD"] * 2


def test_the_one_checkpoint_before_a_run_diverged_is_seen():
    rows = tables(lambda run, step: step > 0)["coherence"]
    rows = rows[(rows["layer"] == "model") & (rows["model"] == "mlp") & (rows["optimizer"] == "sgd")]
    means = over_seeds(rows, ["step"], "m_coherence", 0.95)
    line = draw_line_with_band(new_figure(2).subplots(), means["step"], means, "#000000", LineLook((0, ())), "clean")
    assert len(line.get_xdata()) == 1
    assert line.get_marker() == "o"


def test_runs_that_diverged_have_no_point_in_time_of_their_best():
    rows = [
        {**run, "best_step": 5, "last_step": 100, "best_test_accuracy": value, "last_test_accuracy": value,
         "best_m_coherence": value, "last_m_coherence": value, "diverged": bool(np.isnan(value))}
        for run in runs()
        for value in [np.nan if run["optimizer"] == "m3" and run["model"] == "cnn" else 0.5 + 0.1 * run["seed"]]
    ]  # fmt: skip
    figure = early_stopping.draw({"early_stopping": pd.DataFrame(rows)}, STYLE)
    steps_of_cnn = figure.axes[5]
    shown = np.concatenate([line.get_xdata() for line in steps_of_cnn.lines if len(line.get_xdata())], axis=None)
    assert shown.max() < 0.5  # the places of M3 are about 1
    assert "left out: 4 run(s) that diverged" in legend(figure)


def test_a_blank_cell_of_easy_and_hard_is_said_to_have_diverged():
    rows = [
        {"dataset": "digits", "model": model, "labels": "clean", "noise": 0.0, "optimizer": "sgd", "seed": seed,
         "train_subset": trained, "test_subset": "random", "diverged": gone, "accuracy": np.nan if gone else 0.5}
        for model, seed, trained in product(("mlp", "cnn"), range(2), ("easy", "hard"))
        for gone in [model == "cnn"]
    ]  # fmt: skip
    figure = easy_hard.draw({"easy_hard": pd.DataFrame(rows)}, STYLE)
    assert said(figure.axes[1]) == ["diverged"]
    assert figure.get_suptitle().endswith("left out: 4 run(s) that diverged")
