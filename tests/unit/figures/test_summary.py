"""The study at a glance: every drawn mean and interval is worked out here from the tables by other means."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from scipy import stats

from mcoherence.figures import summary
from mcoherence.figures.style import FigureStyle

STYLE = FigureStyle(optimizer_colors={"sgd": "#0072b2", "m3": "#d55e00"}, reference_optimizer="sgd")
SEEDS, STEPS, NOISE = (0, 1, 2), (0, 1, 10), {"clean": 0.0, "all_random": 1.0}


def rows_of_runs(random, **places):
    """One row per run and combination of places, with accuracies and coherences drawn at random."""
    rows = []
    for labels, optimizer, seed, *place in product(NOISE, ("m3", "sgd"), SEEDS, *places.values()):
        run = {"dataset": "digits", "model": "mlp", "labels": labels, "noise": NOISE[labels], "optimizer": optimizer}
        drawn = {"accuracy": random.uniform(), "m_coherence": random.lognormal()}
        rows.append({**run, "subset": "full", "seed": seed, **dict(zip(places, place, strict=True)), **drawn})
    return pd.DataFrame(rows)


@pytest.fixture
def tables():
    random = np.random.default_rng(0)
    coherence = rows_of_runs(random, step=STEPS, group=("train", "heldout"), layer=("model", "output"))
    accuracy = rows_of_runs(random, step=STEPS, part=("train", "test", "corrupt"))
    subsets = ("easy", "hard", "random")
    cells = [
        {"train_subset": a, "test_subset": b, "seed": seed, "accuracy": random.uniform()}
        for a, b, seed in product(subsets, (*subsets, "original"), SEEDS)
    ]
    easy_hard = pd.DataFrame(cells).assign(dataset="digits", model="mlp")
    return {"coherence": coherence, "accuracy": accuracy, "easy_hard": easy_hard}


def t_interval(values):
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return np.mean(values), half


def points(axes):
    """{label: (positions, means, half widths)} of the points with bars."""
    found = {}
    for bar in (c for c in axes.containers if isinstance(c, ErrorbarContainer)):
        data, _, (lines,) = bar.lines
        ends = np.array([segment[:, 1] for segment in lines.get_segments()])
        found[bar.get_label()] = (data.get_xdata(), data.get_ydata(), (ends[:, 1] - ends[:, 0]) / 2)
    return found


def test_lines_are_means_over_seeds_of_the_reference_optimizer(tables):
    figure = summary.draw(tables, STYLE)
    lines = [{line.get_label(): line for line in axes.lines} for axes in figure.axes[:2]]
    for labels, (place, step) in product(NOISE, enumerate(STEPS)):
        run = f"labels == '{labels}' and optimizer == 'sgd' and step == {step}"
        values = tables["coherence"].query(f"{run} and group == 'train' and layer == 'model'")["m_coherence"]
        assert lines[0][labels].get_ydata()[place] == pytest.approx(np.exp(np.log(values).mean()))
        values = tables["accuracy"].query(f"{run} and part == 'test'")["accuracy"]
        assert lines[1][labels].get_ydata()[place] == pytest.approx(100 * values.mean())


def test_points_are_gaps_of_every_optimizer_at_the_last_step(tables):
    drawn = points(summary.draw(tables, STYLE).axes[2])
    last = tables["accuracy"].query(f"step == {STEPS[-1]}")
    for optimizer, (place, labels) in product(("sgd", "m3"), enumerate(NOISE)):
        chosen = last.query(f"optimizer == '{optimizer}' and labels == '{labels}'").set_index("seed")
        gap = chosen.query("part == 'train'")["accuracy"] - chosen.query("part == 'test'")["accuracy"]
        positions, means, halves = drawn[optimizer]
        index = int(np.argmin(np.abs(positions - place)))
        assert (means[index], halves[index]) == pytest.approx(t_interval(100 * gap.to_numpy()))


def test_networks_are_shown_on_what_they_were_trained_on(tables):
    drawn = points(summary.draw(tables, STYLE).axes[3])
    assert list(drawn) == ["easy", "hard", "random"]
    for name, (_, means, halves) in drawn.items():
        own = tables["easy_hard"].query(f"train_subset == '{name}' and test_subset == '{name}'")
        assert (means[0], halves[0]) == pytest.approx(t_interval(100 * own["accuracy"].to_numpy()))


def test_a_network_without_easy_and_hard_runs_leaves_the_places_of_the_others(tables):
    more = {name: pd.concat([tables[name], tables[name].assign(model="other")]) for name in ("coherence", "accuracy")}
    figure = summary.draw(tables | more, STYLE)
    with_runs, without = figure.axes[3], figure.axes[7]
    assert [float(positions[0]) for positions, *_ in points(with_runs).values()] == [0, 1, 2]
    assert with_runs.get_xlim() == without.get_xlim() == (-0.5, 2.5)
    assert [text.get_text() for text in without.get_xticklabels()] == ["easy", "hard", "random"]
    assert [text.get_text() for text in without.texts][:1] == ["no such runs"]


def test_a_study_without_easy_and_hard_examples_has_no_column_for_them(tables):
    with_column = summary.draw(tables, STYLE)
    del tables["easy_hard"]
    without = summary.draw(tables, STYLE)
    titles = [[axes.get_title() for axes in figure.axes if axes.get_title()] for figure in (with_column, without)]
    assert len(titles[0]) == 4
    assert "easy, hard" in " ".join(titles[0][3].split())
    assert [" ".join(t.split()) for t in titles[1]] == [" ".join(t.split()) for t in titles[0][:3]]


def test_a_diverged_run_has_no_points(tables):
    accuracy = tables["accuracy"]
    lost = accuracy.assign(accuracy=accuracy["accuracy"].mask(accuracy["optimizer"] == "m3"))
    figure = summary.draw(tables | {"accuracy": lost}, STYLE)
    assert list(points(figure.axes[2])) == ["sgd"]


def test_the_peak_of_each_line_of_coherence_is_marked_with_its_value(tables):
    axes = summary.draw(tables, STYLE).axes[0]
    peaks = [line for line in axes.lines if line.get_label() == "peak"]
    drawn = {line.get_label(): line for line in axes.lines}
    expected = [(STEPS[int(np.argmax(of.get_ydata()))], max(of.get_ydata())) for of in (drawn[one] for one in NOISE)]
    expected.sort(key=lambda peak: -peak[1])
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in peaks] == expected
    assert [text.get_text() for text in axes.texts] == [f"{height:.2g}" for _, height in expected]


def test_memorisation_begins_a_tenth_above_the_accuracy_on_corrupt_labels_before_training(tables):
    # Seeds 0 and 1 of SGD: 0.05 before training, 0.07 and 0.11 after one step, 0.29 and 0.25 after ten. A mean of 0.15
    # is reached 0.06 of 0.18 on the way from step 1 to 10: at step 4.
    rows = [
        {"labels": "all_random", "seed": seed, "step": step, "accuracy": accuracy}
        for seed, course in ((0, (0.05, 0.07, 0.29)), (1, (0.05, 0.11, 0.25)))
        for step, accuracy in zip(STEPS, course, strict=True)
    ]
    never = [{"labels": "half_random", "seed": 0, "step": step, "accuracy": 0.1} for step in STEPS]
    runs = pd.DataFrame([*rows, *never]).assign(dataset="digits", model="mlp", part="corrupt", optimizer="sgd")
    found = summary.memorisation_begins(runs)
    assert found[["network", "labels"]].to_numpy().tolist() == [[("digits", "mlp"), "all_random"]]
    assert found["step"].tolist() == pytest.approx([4.0])
    everything = tables["accuracy"].query("part != 'corrupt'")
    others = pd.concat([everything, runs.assign(subset="full", noise=1.0)])
    figure = summary.draw(tables | {"accuracy": others}, STYLE)
    for axes in figure.axes[:2]:
        [line] = [line for line in axes.lines if line.get_label().endswith("memorised")]
        assert list(line.get_xdata()) == pytest.approx([4.0, 4.0])
