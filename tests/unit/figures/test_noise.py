"""What the figures on label noise draw, compared with numbers worked out here."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from mcoherence.figures import contributions, early_stopping, group_alignment, optimizers, sweep, winsorization
from mcoherence.figures.group_alignment import PAIRS
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle

COLORS = {"sgd": "#0072b2", "m3": "#d55e00"}
STYLE = FigureStyle(optimizer_colors=COLORS, reference_optimizer="sgd")
STEPS = [0, 1, 10, 100]
SEEDS = [0, 1, 2]
NOISE = {"clean": 0.0, "half_random": 0.5}


def runs(labels=tuple(NOISE), entries=tuple(COLORS)):
    return [
        {"dataset": "digits", "model": "mlp", "labels": name, "noise": NOISE[name], "optimizer": optimizer}
        | {"subset": "full", "seed": seed}
        for name, optimizer, seed in product(labels, entries, SEEDS)
    ]


def line(axes: Axes, label: str) -> Line2D:
    (found,) = (line for line in axes.lines if line.get_label() == label)
    return found


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def mean_by_step(table: pd.DataFrame, value: str, **where: object) -> np.ndarray:
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    return table.groupby("step")[value].mean().to_numpy()


@pytest.fixture
def alignment():
    random = np.random.default_rng(0)
    pairs = [("pristine", "corrupt"), ("pristine", "heldout"), ("corrupt", "heldout"), ("heldout", "train")]
    return pd.DataFrame(
        [
            run
            | {"step": step, "group_a": a, "group_b": b, "layer": "model"}
            | {"cosine": random.uniform(-1, 1), "cross_alignment": random.normal(0, 0.1)}
            for run in runs()
            for step, (a, b) in product(STEPS, pairs)
        ]
    )


def test_group_alignment_draws_every_pair_of_partly_random_label_sets(alignment):
    figure = group_alignment.draw({"group_alignment": alignment}, STYLE)
    panels = np.array(figure.axes).reshape(2, 2)
    for (row, quantity), (column, optimizer) in product(enumerate(("cosine", "cross_alignment")), enumerate(COLORS)):
        for name, (a, b) in PAIRS.items():
            expected = mean_by_step(
                alignment, quantity, labels="half_random", optimizer=optimizer, group_a=a, group_b=b
            )
            drawn = line(panels[row, column], name)
            np.testing.assert_allclose(drawn.get_ydata(), expected)
            assert to_hex(drawn.get_color()) == COLORS[optimizer]
    assert panels[0, 0].get_ylim() == (-1.05, 1.05)
    assert legend(figure)[:3] == list(PAIRS)


def contributions_table():
    random = np.random.default_rng(1)
    values = ("f_pristine", "f_corrupt", "i_pristine", "i_corrupt")
    return pd.DataFrame(
        [
            run | {"step": step, "world": world} | {name: random.normal() for name in values}
            for run in runs(["half_random"])
            for step, world in product(STEPS, ("measured", "null 1", "null 2"))
        ]
    )


def test_contributions_draw_the_measured_world_in_colour_and_null_worlds_in_grey():
    table = contributions_table()
    panels = np.array(contributions.draw({"contributions": table}, STYLE).axes).reshape(2, 2)
    for (row, quantity), (column, optimizer), group in product(
        enumerate("fi"), enumerate(COLORS), ("pristine", "corrupt")
    ):
        axes = panels[row, column]
        value = f"{quantity}_{group}"
        measured = line(axes, group)
        np.testing.assert_allclose(
            measured.get_ydata(), mean_by_step(table, value, optimizer=optimizer, world="measured")
        )
        assert to_hex(measured.get_color()) == COLORS[optimizer]
        for world in ("null 1", "null 2"):
            drawn = line(axes, f"{group} {world}")
            np.testing.assert_allclose(drawn.get_ydata(), mean_by_step(table, value, optimizer=optimizer, world=world))
            red, green, blue = (to_hex(drawn.get_color())[i : i + 2] for i in (1, 3, 5))
            assert red == green == blue


def accuracy_table(batches_of_m3=1):
    """120 training examples, 12 per mini-batch; M3 takes `batches_of_m3` of them per update."""
    random = np.random.default_rng(2)
    rows = []
    for run in runs():
        per_step = 12 * (batches_of_m3 if run["optimizer"] == "m3" else 1)
        for step, part in product(STEPS, ("train", "pristine", "corrupt", "test")):
            value = np.nan if part == "corrupt" and run["labels"] == "clean" else random.uniform()
            size = 120 if part == "train" else 60
            rows.append(
                run | {"step": step, "epoch": step * per_step / 120, "part": part, "n": size, "accuracy": value}
            )
    return pd.DataFrame(rows)


def test_optimizers_draw_the_mean_of_differences_within_seeds_in_points():
    table = accuracy_table()
    panels = np.array(optimizers.draw({"accuracy": table}, STYLE).axes).reshape(1, 4)[0]
    others = [name for name in COLORS if name != "sgd"]

    def difference(part, labels, optimizer):
        mine, of_sgd = (
            mean_by_step(table, "accuracy", part=part, labels=labels, optimizer=name) for name in (optimizer, "sgd")
        )
        return 100 * (mine - of_sgd)  # every seed has both, so that the mean of differences is that of means

    for (column, part), labels, optimizer in product(enumerate(("pristine", "corrupt", "test")), NOISE, others):
        if (part, labels) == ("corrupt", "clean"):
            assert f"{optimizer} {labels}" not in [one.get_label() for one in panels[column].lines]
            continue
        drawn = line(panels[column], f"{optimizer} {labels}")
        np.testing.assert_allclose(drawn.get_ydata(), difference(part, labels, optimizer), atol=1e-12)
        np.testing.assert_array_equal(drawn.get_xdata(), STEPS)
        assert to_hex(drawn.get_color()) == COLORS[optimizer]
    gap = difference("train", "clean", "m3") - difference("test", "clean", "m3")
    np.testing.assert_allclose(line(panels[3], "m3 clean").get_ydata(), gap, atol=1e-12)
    np.testing.assert_array_equal(line(panels[0], "reference").get_ydata(), [0, 0])
    assert {axes.get_xlabel() for axes in panels} == {"training step"}


def test_optimizers_that_take_more_examples_per_update_are_compared_at_equal_examples_too():
    table = accuracy_table(batches_of_m3=3)
    panels = np.array(optimizers.draw({"accuracy": table}, STYLE).axes).reshape(2, 4)
    assert [axes.get_xlabel() for axes in panels[:, 0]] == ["training step", "training examples seen"]
    np.testing.assert_array_equal(line(panels[0, 2], "m3 clean").get_xdata(), STEPS)
    drawn = line(panels[1, 2], "m3 clean")
    np.testing.assert_array_equal(drawn.get_xdata(), [0, 36, 360])  # SGD has seen 1,200 examples at its end
    of_m3, of_sgd = (
        100 * mean_by_step(table, "accuracy", part="test", labels="clean", optimizer=one) for one in ("m3", "sgd")
    )
    # SGD was looked at after 0, 12, 120 and 1,200 examples; between them its accuracy is taken to be a straight line.
    expected = [
        of_m3[0] - of_sgd[0],
        of_m3[1] - (of_sgd[1] + 24 / 108 * (of_sgd[2] - of_sgd[1])),
        of_m3[2] - (of_sgd[2] + 240 / 1080 * (of_sgd[3] - of_sgd[2])),
    ]
    np.testing.assert_allclose(drawn.get_ydata(), expected)


def test_a_study_of_one_optimizer_says_that_there_is_nothing_to_compare():
    table = accuracy_table()
    figure = optimizers.draw({"accuracy": table[table["optimizer"] == "sgd"]}, STYLE)
    assert "nothing to compare" in figure.texts[0].get_text()


def overfit_table():
    random = np.random.default_rng(3)
    levels = {"sgd": 0.0, "c2": 2.0, "c8": 8.0, "m3": np.nan}
    names = ("overfit", "train_accuracy", "test_accuracy")
    return pd.DataFrame(
        [
            run
            | {"step": step, "c": levels[run["optimizer"]], "alike": -1 if run["optimizer"] == "m3" else 0}
            | {"proper_accuracy": 1 - 0.9 * run["noise"]}
            | {name: random.uniform() for name in names}
            for run in runs(entries=tuple(levels))
            for step in (0, 100)
        ]
    )


def test_winsorization_draws_the_last_checkpoint_against_c():
    table = overfit_table()
    figure = winsorization.draw({"overfit": table}, STYLE)
    last = table[(table["step"] == 100) & table["c"].notna()]
    for axes, quantity in zip(figure.axes, ("overfit", "train_accuracy", "test_accuracy"), strict=True):
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "2", "8"]
        for labels in NOISE:
            expected = 100 * last[last["labels"] == labels].groupby("c")[quantity].mean()
            np.testing.assert_allclose(line(axes, labels).get_ydata(), expected)
            np.testing.assert_array_equal(line(axes, labels).get_xdata(), [0, 1, 2])
    assert line(figure.axes[1], "half_random proper accuracy").get_ydata()[0] == pytest.approx(55)
    assert "proper accuracy" in legend(figure)


def test_a_network_that_sgd_alone_trained_has_no_panels_of_winsorising():
    wide = overfit_table().query("c == 0").assign(model="wide")
    figure = winsorization.draw({"overfit": pd.concat([wide, overfit_table()])}, STYLE)
    assert len(figure.axes) == 3


def early_table():
    random = np.random.default_rng(4)
    return pd.DataFrame(
        [
            run
            | {f"{which}_test_accuracy": random.uniform(0.2, 0.9) for which in ("best", "last")}
            | {f"{which}_m_coherence": random.lognormal() for which in ("best", "last")}
            | {"best_step": int(random.integers(0, 90)), "last_step": 100}
            for run in runs()
        ]
    )


def test_early_stopping_draws_best_beside_last():
    table = early_table()
    figure = early_stopping.draw({"early_stopping": table}, STYLE)
    panels = np.array(figure.axes).reshape(3, 2)
    chosen = table[(table["labels"] == "half_random") & (table["optimizer"] == "m3")]
    bars = [{bar.get_label(): bar for bar in axes.containers} for axes in panels[:, 1]]
    for which in ("best", "last"):
        accuracy = bars[0][f"m3 {which}"]
        values = 100 * chosen[f"{which}_test_accuracy"]
        assert accuracy.lines[0].get_ydata()[0] == pytest.approx(values.mean())
        segment = accuracy.lines[2][0].get_segments()[0][:, 1]
        assert segment == pytest.approx(stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values)))
        geometric = np.exp(np.log(chosen[f"{which}_m_coherence"]).mean())
        assert bars[1][f"m3 {which}"].lines[0].get_ydata()[0] == pytest.approx(geometric)
    assert bars[2]["m3 last"].lines[0].get_ydata()[0] == pytest.approx(100)
    assert [tick.get_text() for tick in panels[2, 0].get_xticklabels()] == ["SGD", "M3"]
    assert legend(figure)[0] == "best checkpoint, chosen on the test set"


@pytest.mark.parametrize(
    ("module", "table", "content", "message"),
    [
        (contributions, "contributions", contributions_table().assign(f_pristine=np.nan), "measured no contributions"),
        (winsorization, "overfit", overfit_table().assign(c=np.nan), "no runs of winsorised SGD"),
        (early_stopping, "early_stopping", early_table().assign(best_test_accuracy=np.nan), "did not diverge"),
        (optimizers, "accuracy", accuracy_table().assign(accuracy=np.nan), "evaluated no runs"),
    ],
)
def test_a_figure_without_data_says_why(module, table, content, message):
    assert message in module.draw({table: content}, STYLE).texts[0].get_text()


def test_equal_tables_give_equal_bytes(tmp_path):
    contents = []
    for name in ("first", "second"):
        paths = tmp_path / name / "figure.png", tmp_path / name / "figure.pdf"
        save_figure(early_stopping.draw({"early_stopping": early_table()}, STYLE), *paths, 80)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_running_sums_show_small_early_values_and_the_end():
    table = contributions_table()
    growing = table.assign(**{f"i_{group}": 10.0 ** (table["step"] / 25 - 3) for group in ("pristine", "corrupt")})
    axes = np.array(contributions.draw({"contributions": growing}, STYLE).axes).reshape(2, 2)[1, 0]
    assert axes.get_yscale() == "symlog"
    low, high = axes.get_ylim()
    assert low < 0
    assert high == pytest.approx(50)  # five times the largest


def sweep_of(values, diverged=()):
    """A table sweep of one setting; m-coherence 50 in the transient, then (seed + 1) times the value, at last 1."""
    names = {"setting": "width", "dataset": "d", "optimizer": "sgd", "labels": "clean", "noise": 0.0}
    course = ((0, 50.0, 0.1, 0.1), (10, None, 0.5, 0.4), (100, 1.0, 1.0, 0.9))
    rows = pd.DataFrame(
        [
            names
            | {"value": value, "model": f"net_{value}", "seed": seed, "step": step, "past_transient": step > 0}
            | {"m_coherence": (seed + 1) * value if coherence is None else coherence}
            | {"train_accuracy": train, "test_accuracy": test, "diverged": (value, seed) in diverged and step == 100}
            for value, seed in product(values, SEEDS)
            for step, coherence, train, test in course
        ]
    )
    return rows.assign(smoothed_m_coherence=rows["m_coherence"].where(rows["past_transient"]))


def test_a_sweep_draws_the_course_the_peak_past_the_transient_and_the_end():
    figure = sweep.draw({"sweep": sweep_of([2.0, 8.0])}, STYLE)
    course, coherence, accuracy = figure.axes
    geometric = 6 ** (1 / 3)  # of 1, 2, 3
    for value in (2, 8):
        np.testing.assert_allclose(line(course, str(value)).get_ydata(), [50, value * geometric, 1])
    means = {bars.get_label(): bars.lines[0].get_ydata().item() for bars in coherence.containers}
    assert means == pytest.approx({"peak 2": 2 * geometric, "peak 8": 8 * geometric, "last 2": 1, "last 8": 1})
    means = {bars.get_label(): bars.lines[0].get_ydata().item() for bars in accuracy.containers}
    assert means == pytest.approx(
        {"train_accuracy 2": 100, "train_accuracy 8": 100, "test_accuracy 2": 90, "test_accuracy 8": 90}
    )
    assert [text.get_text() for text in accuracy.get_xticklabels()] == ["2", "8"]
    assert figure.get_suptitle() == "Exploratory: no claim of the papers"


def test_a_sweep_draws_each_rate_in_a_row_of_its_own():
    both = pd.concat(
        [sweep_of([2.0, 8.0]), sweep_of([4.0, 16.0]).assign(optimizer="sgd_slow", value=[2.0] * 9 + [8.0] * 9)]
    )
    figure = sweep.draw({"sweep": both}, STYLE)
    peaks = [
        {bars.get_label(): bars.lines[0].get_ydata().item() for bars in figure.axes[panel].containers}["peak 2"]
        for panel in (1, 4)
    ]
    geometric = 6 ** (1 / 3)  # of 1, 2, 3
    assert peaks == pytest.approx([2 * geometric, 4 * geometric])


def test_a_sweep_leaves_out_runs_that_diverged_and_says_so():
    figure = sweep.draw({"sweep": sweep_of([2.0, 8.0], diverged=[(8.0, 0)])}, STYLE)
    means = {bars.get_label(): bars.lines[0].get_ydata().item() for bars in figure.axes[1].containers}
    assert means["peak 8"] == pytest.approx(8 * 6**0.5)  # of 2 and 3
    assert "left out: 1 run(s) that diverged" in legend(figure)
    everything = [(value, seed) for value in (2.0, 8.0) for seed in SEEDS]
    assert "diverged" in sweep.draw({"sweep": sweep_of([2.0, 8.0], diverged=everything)}, STYLE).texts[0].get_text()
