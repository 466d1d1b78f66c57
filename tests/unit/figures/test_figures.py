"""What the figures draw, compared with means and t intervals that scipy works out here."""

from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import _pylab_helpers
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from mcoherence.figures import (
    adversarial_start,
    alignment_by_step,
    coherence_by_loss,
    coherence_by_step,
    easy_hard,
    generalization_gap,
    layer_coherence,
    pristine_corrupt,
    sample_size,
    training_curves,
)
from mcoherence.figures.intervals import over_seeds
from mcoherence.figures.saving import save_figure
from mcoherence.figures.style import FigureStyle, theme

COLORS = {"sgd": "#0072b2", "m3": "#d55e00", "rm3": "#009e73"}
STYLE = FigureStyle(optimizer_colors=COLORS, reference_optimizer="sgd")
STEPS = [0, 1, 2, 10, 100]
SEEDS = [0, 1, 2, 3]
NOISE = {"clean": 0.0, "half_random": 0.5, "all_random": 1.0}
LAYERS = {"mlp": ["hidden", "output"], "cnn": ["conv1", "bn1", "output"]}


def _runs() -> list[dict[str, object]]:
    return [
        {
            "dataset": "digits",
            "model": model,
            "labels": labels,
            "noise": NOISE[labels],
            "optimizer": optimizer,
            "subset": "full",
            "seed": seed,
        }
        for model, labels, optimizer, seed in product(LAYERS, NOISE, COLORS, SEEDS)
    ]


@pytest.fixture(scope="module")
def coherence() -> pd.DataFrame:
    random = np.random.default_rng(1)
    rows = []
    for run in _runs():
        for step, group, layer in product(
            STEPS, ["train", "pristine", "corrupt", "heldout", "redrawn"], ["model", *LAYERS[str(run["model"])]]
        ):
            empty = (group == "corrupt" and run["noise"] == 0) or (group == "pristine" and run["noise"] == 1)
            value = np.nan if empty else random.lognormal(1, 0.5)
            place = {"step": step, "group": group, "layer": layer, "n": 0 if empty else 50}
            # The two measures are unrelated here, so that drawing one for the other cannot pass.
            alignment = np.nan if empty else random.normal(0, 0.1)
            measured = {
                "m_coherence": value,
                "pairwise_alignment": alignment,
                "alpha": value * random.uniform(0.01, 0.02),
            }
            if group != "redrawn" or run["optimizer"] == "sgd":
                rows.append({**run, **place, **measured})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def accuracy() -> pd.DataFrame:
    random = np.random.default_rng(2)
    return pd.DataFrame(
        [
            {
                **run,
                "step": step,
                "part": part,
                "accuracy": random.uniform(),
                "loss": 3 / (1 + step) + random.uniform(),
            }
            for run in _runs()
            for step, part in product(STEPS, ["train", "test", "pristine", "corrupt"])
        ]
    )


@pytest.fixture(scope="module")
def subsets() -> pd.DataFrame:
    random = np.random.default_rng(3)
    trained, tested = ["random", "hard", "easy"], ["original", "random", "hard", "easy"]
    keys = ["dataset", "model", "seed", "train_subset", "test_subset"]
    rows = [
        {**dict(zip(keys, row, strict=True)), "accuracy": random.uniform()}
        for row in product(["digits"], LAYERS, SEEDS, trained, tested)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def figures(coherence: pd.DataFrame, accuracy: pd.DataFrame, subsets: pd.DataFrame) -> dict[str, Figure]:
    return {
        "coherence_by_step": coherence_by_step.draw({"coherence": coherence}, STYLE),
        "coherence_by_loss": coherence_by_loss.draw({"coherence": coherence, "accuracy": accuracy}, STYLE),
        "layer_coherence": layer_coherence.draw({"coherence": coherence}, STYLE),
        "alignment_by_step": alignment_by_step.draw({"coherence": coherence}, STYLE),
        "pristine_corrupt": pristine_corrupt.draw({"coherence": coherence}, STYLE),
        "training_curves": training_curves.draw({"accuracy": accuracy}, STYLE),
        "generalization_gap": generalization_gap.draw({"accuracy": accuracy}, STYLE),
        "easy_hard": easy_hard.draw({"easy_hard": subsets}, STYLE),
    }


def _select(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def _expected(rows: pd.DataFrame, value: str, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean [K] and interval [K, 2] per step, by scipy's own t interval."""
    means, intervals = [], []
    for step in STEPS:
        values = rows.loc[rows["step"] == step, value].to_numpy()
        assert len(values) == len(SEEDS)
        values = np.log(values) if logarithmic else values
        interval = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
        means.append(values.mean())
        intervals.append(interval)
    mean, interval = np.array(means), np.array(intervals)
    return (np.exp(mean), np.exp(interval)) if logarithmic else (mean, interval)


def _line(axes: Axes, label: str) -> Line2D:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return line


def _band(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    """The horizontal positions [K] and the edges [K, 2] of a band, in its polygon's order."""
    (band,) = (item for item in axes.collections if isinstance(item, PolyCollection) and item.get_label() == label)
    vertices = band.get_paths()[0].vertices
    # fill_between's polygon: upper start, K lower points, upper end, K upper points backwards.
    k = len(STEPS)
    lower, upper = vertices[1 : k + 1], vertices[k + 2 : 2 * k + 2][::-1]
    np.testing.assert_allclose(lower[:, 0], upper[:, 0])
    return lower[:, 0], np.stack([np.minimum(lower[:, 1], upper[:, 1]), np.maximum(lower[:, 1], upper[:, 1])], axis=1)


def _check(axes: Axes, label: str, rows: pd.DataFrame, value: str, logarithmic: bool) -> None:
    mean, interval = _expected(rows, value, logarithmic)
    line = _line(axes, label)
    np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-12)
    x, edges = _band(axes, label)
    np.testing.assert_allclose(edges, interval, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(x, line.get_xdata())


def _panels(figure: Figure, rows: int, columns: int) -> list[list[Axes]]:
    axes = [axes for axes in figure.axes if axes.axison]
    assert len(axes) == rows * columns
    return [axes[row * columns : (row + 1) * columns] for row in range(rows)]


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def _legend(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_coherence_by_step_draws_geometric_means_with_their_intervals(
    figures: dict[str, Figure], coherence: pd.DataFrame
) -> None:
    rows = _select(coherence, group="train", layer="model")
    for model, panels in zip(LAYERS, _panels(figures["coherence_by_step"], 2, 3), strict=True):
        for optimizer, axes in zip(COLORS, panels, strict=True):
            for labels in NOISE:
                chosen = _select(rows, model=model, optimizer=optimizer, labels=labels)
                _check(axes, labels, chosen, "m_coherence", logarithmic=True)
                np.testing.assert_array_equal(_line(axes, labels).get_xdata(), STEPS)
            np.testing.assert_array_equal(_line(axes, "orthogonal limit").get_ydata(), [1, 1])


def test_coherence_axes_are_labelled_and_step_zero_is_shown(figures: dict[str, Figure]) -> None:
    panels = _panels(figures["coherence_by_step"], 2, 3)
    assert [axes.get_title() for axes in panels[0]] == ["SGD", "M3", "RM3"]
    assert [row[0].get_ylabel() for row in panels] == ["m-coherence"] * 2
    assert [axes.get_xlabel() for axes in panels[1]] == ["training step"] * 3
    assert [row[-1].texts[-1].get_text() for row in panels] == ["MLP", "CNN"]
    axes = panels[1][0]
    assert axes.get_yscale() == "log"
    low, high = axes.get_xlim()
    assert low < 0 < 100 < high
    assert [tick.get_text() for tick in axes.get_xticklabels()][:3] == ["0", "1", "10"]
    assert _legend(figures["coherence_by_step"]) == [
        "clean labels",
        "half random labels",
        "all random labels",
        "orthogonal limit (1)",
        "95% interval of the geometric mean, 4 seeds",
        "labels redrawn: 95% of single runs",
    ]


def _check_null(axes: Axes, labels: str, rows: pd.DataFrame, value: str, logarithmic: bool) -> None:
    """The grey band is where one more seed lies: Student's t of its distance from the mean of the others."""
    _, edges = _band(axes, f"null of {labels}")
    for place, step in enumerate(STEPS):
        values = rows.loc[rows["step"] == step, value].to_numpy()
        values = np.log(values) if logarithmic else values
        spread = np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))
        interval = np.array(stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=spread))
        np.testing.assert_allclose(edges[place], np.exp(interval) if logarithmic else interval, rtol=1e-9)


def test_redrawn_labels_are_drawn_as_a_grey_band_where_they_were_measured(
    figures: dict[str, Figure], coherence: pd.DataFrame
) -> None:
    rows = _select(coherence, group="redrawn", layer="model", optimizer="sgd")
    for model, panels in zip(LAYERS, _panels(figures["coherence_by_step"], 2, 3), strict=True):
        for labels in NOISE:
            _check_null(panels[0], labels, _select(rows, model=model, labels=labels), "m_coherence", logarithmic=True)
        assert not [line for axes in panels[1:] for line in axes.lines if str(line.get_label()).startswith("null")]
    without = coherence_by_step.draw({"coherence": coherence[coherence["group"] != "redrawn"]}, STYLE)
    assert not any("redrawn" in text for text in _legend(without))


def test_alpha_and_alignment_have_a_row_each(figures: dict[str, Figure], coherence: pd.DataFrame) -> None:
    rows, null = (_select(coherence, group=group, layer="model") for group in ("train", "redrawn"))
    panels = _panels(figures["alignment_by_step"], 4, 3)
    for place, (model, value) in enumerate(product(LAYERS, ("alpha", "pairwise_alignment"))):
        for optimizer, axes in zip(COLORS, panels[place], strict=True):
            for labels in NOISE:
                chosen = _select(rows, model=model, optimizer=optimizer, labels=labels)
                _check(axes, labels, chosen, value, logarithmic=value == "alpha")
        for labels in NOISE:
            chosen = _select(null, model=model, labels=labels)
            _check_null(panels[place][0], labels, chosen, value, logarithmic=value == "alpha")
    assert [row[0].get_yscale() for row in panels] == ["log", "symlog"] * 2
    assert _legend(figures["alignment_by_step"])[-1] == "labels redrawn: 95% of single runs"


def test_a_huge_loss_before_training_does_not_take_the_room_of_all_others(
    coherence: pd.DataFrame, accuracy: pd.DataFrame
) -> None:
    one = (accuracy["model"] == "cnn") & (accuracy["optimizer"] == "rm3") & (accuracy["step"] == accuracy["step"].min())
    huge = accuracy.assign(loss=accuracy["loss"].where(~one, 500.0))
    figure = coherence_by_loss.draw({"coherence": coherence, "accuracy": huge}, STYLE)
    first = huge[(huge["part"] == "train") & (huge["step"] == huge["step"].min())]
    left, _ = _panels(figure, 2, 3)[1][2].get_xlim()
    assert left <= 1.08 * 2 * first["loss"].median() < 100


def test_coherence_by_loss_pairs_each_checkpoint_with_its_own_loss(
    figures: dict[str, Figure], coherence: pd.DataFrame, accuracy: pd.DataFrame
) -> None:
    axes = _panels(figures["coherence_by_loss"], 2, 3)[1][2]
    keys = {"model": "cnn", "optimizer": "rm3", "labels": "half_random"}
    _check(
        axes,
        "half_random",
        _select(coherence, group="train", layer="model", **keys),
        "m_coherence",
        logarithmic=True,
    )
    loss, _ = _expected(_select(accuracy, part="train", **keys), "loss", logarithmic=False)
    np.testing.assert_allclose(_line(axes, "half_random").get_xdata(), loss, rtol=1e-12)
    left, right = axes.get_xlim()
    assert left > loss.max(), "training loss must fall from left to right"
    assert right == 0
    assert axes.get_xlabel().startswith("training loss")


def test_layer_coherence_has_a_panel_per_layer_of_the_reference_optimizer(
    figures: dict[str, Figure], coherence: pd.DataFrame
) -> None:
    figure = figures["layer_coherence"]
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [*LAYERS["mlp"], *LAYERS["cnn"]]
    assert _texts(figure)[0] == "SGD"
    rows = _select(coherence, group="train", optimizer="sgd")
    for (model, layer), axes in zip([(m, name) for m in LAYERS for name in LAYERS[m]], panels, strict=True):
        for labels in NOISE:
            _check(
                axes,
                labels,
                _select(rows, model=model, layer=layer, labels=labels),
                "m_coherence",
                logarithmic=True,
            )
    other = layer_coherence.draw({"coherence": coherence}, FigureStyle(COLORS, reference_optimizer="m3"))
    expected, _ = _expected(
        _select(coherence, group="train", optimizer="m3", model="mlp", layer="hidden", labels="clean"),
        "m_coherence",
        logarithmic=True,
    )
    np.testing.assert_allclose(_line(other.axes[0], "clean").get_ydata(), expected)


def test_layers_beyond_one_row_go_on_in_the_next(coherence: pd.DataFrame) -> None:
    one = _select(coherence, model="mlp", layer="hidden")
    names = [f"layer_{number}" for number in range(8)]
    figure = layer_coherence.draw({"coherence": pd.concat([one.assign(layer=name) for name in names])}, STYLE)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [name.replace("_", " ") for name in names]
    # Every column shows its steps under its lowest panel.
    assert [bool(axes.get_xlabel()) for axes in panels] == [False, False, True, True, True, True, True, True]


def test_pristine_corrupt_draws_the_size_free_measure_of_partly_random_sets_only(
    figures: dict[str, Figure], coherence: pd.DataFrame
) -> None:
    rows = _select(coherence, layer="model", labels="half_random")
    panels = _panels(figures["pristine_corrupt"], 2, 3)
    for model, row in zip(LAYERS, panels, strict=True):
        for optimizer, axes in zip(COLORS, row, strict=True):
            for group in ("pristine", "corrupt", "heldout"):
                chosen = _select(rows, model=model, optimizer=optimizer, group=group)
                _check(axes, group, chosen, "pairwise_alignment", logarithmic=False)
    assert "size-free" in panels[0][0].get_ylabel()
    assert panels[0][-1].texts[-1].get_text() == "MLP\nhalf random labels"


def test_training_curves_draw_accuracy_in_percent_and_loss(figures: dict[str, Figure], accuracy: pd.DataFrame) -> None:
    panels = _panels(figures["training_curves"], 4, 3)
    percent = accuracy.assign(accuracy=100 * accuracy["accuracy"])
    for row, (model, quantity) in enumerate(product(LAYERS, ["accuracy", "loss"])):
        for labels, axes in zip(NOISE, panels[row], strict=True):
            for optimizer, part in product(COLORS, ["train", "test"]):
                chosen = _select(percent, model=model, labels=labels, optimizer=optimizer, part=part)
                _check(axes, f"{optimizer} {part}", chosen, quantity, logarithmic=quantity == "loss")
    assert [row[0].get_ylabel() for row in panels] == ["accuracy (%)", "loss"] * 2
    assert [axes.get_ylim() for axes in panels[0]] == [(-3, 103)] * 3
    assert {axes.get_yscale() for axes in panels[1]} == {"log"}
    assert [axes.get_title() for axes in panels[0]] == [
        "clean labels",
        "half random labels",
        "all random labels",
    ]


def test_generalization_gap_is_of_the_last_checkpoint_per_seed(
    figures: dict[str, Figure], accuracy: pd.DataFrame
) -> None:
    last = _select(accuracy, step=STEPS[-1])
    gap = {
        key: 100
        * (rows.loc[rows["part"] == "train", "accuracy"].item() - rows.loc[rows["part"] == "test", "accuracy"].item())
        for key, rows in last.groupby(["model", "labels", "optimizer", "seed"])
    }
    (panels,) = _panels(figures["generalization_gap"], 1, 2)
    for model, axes in zip(LAYERS, panels, strict=True):
        bars = {item.get_label(): item for item in axes.containers if isinstance(item, ErrorbarContainer)}
        assert set(bars) == set(COLORS)
        for optimizer, bar in bars.items():
            seeds = np.array([[gap[model, labels, optimizer, seed] for seed in SEEDS] for labels in NOISE])
            x, y = np.asarray(bar.lines[0].get_xydata(), dtype=float).T
            order = np.argsort(x)
            np.testing.assert_array_equal(np.round(x[order]), [0, 1, 2])
            np.testing.assert_allclose(y[order], seeds.mean(axis=1))
            interval = stats.t.interval(0.95, 3, loc=seeds.mean(axis=1), scale=stats.sem(seeds, axis=1))
            segments = np.array(bar.lines[2][0].get_segments())[order, :, 1]
            np.testing.assert_allclose(segments, np.transpose(interval), rtol=1e-9)
        dots = np.concatenate(
            [np.asarray(item.get_offsets()) for item in axes.collections if isinstance(item, PathCollection)]
        )
        for (place, labels), (share, optimizer) in product(enumerate(NOISE), enumerate(COLORS)):
            near = np.abs(dots[:, 0] - (place + (share - 1) * 0.8 / 3)) < 0.01
            seeds = [gap[model, labels, optimizer, seed] for seed in SEEDS]
            np.testing.assert_allclose(np.sort(dots[near, 1]), np.sort(seeds))
        assert [tick.get_text().replace("\n", " ") for tick in axes.get_xticklabels()] == [
            "clean labels",
            "half random labels",
            "all random labels",
        ]
    assert "percentage points" in panels[0].get_ylabel()


def test_generalization_gap_takes_each_runs_own_last_step(accuracy: pd.DataFrame) -> None:
    """M3 makes fewer updates in the same epochs, so runs end at different steps."""
    mlp = _select(accuracy, model="mlp", labels="clean")
    shorter = mlp[~((mlp["optimizer"] == "m3") & (mlp["step"] > 10))]
    figure = generalization_gap.draw({"accuracy": shorter}, STYLE)
    bars = {item.get_label(): item for item in figure.axes[0].containers if isinstance(item, ErrorbarContainer)}
    at_10 = _select(mlp, optimizer="m3", step=10)
    train, test = (_select(at_10, part=part)["accuracy"].mean() for part in ("train", "test"))
    (mean,) = bars["m3"].lines[0].get_ydata()
    assert mean == pytest.approx(100 * (train - test))
    assert len(bars["sgd"].lines[0].get_ydata()) == 1


def test_easy_hard_cells_hold_mean_and_half_width_in_percent(figures: dict[str, Figure], subsets: pd.DataFrame) -> None:
    trained, tested = ["easy", "hard", "random"], ["easy", "hard", "random", "original"]
    for model, axes in zip(LAYERS, figures["easy_hard"].axes, strict=False):
        if model == "mlp":  # the others share its vertical axis
            assert [tick.get_text() for tick in axes.get_yticklabels()] == trained
        assert [tick.get_text() for tick in axes.get_xticklabels()] == tested
        for text, (train, test) in zip(axes.texts, product(trained, tested), strict=True):
            chosen = _select(subsets, model=model, train_subset=train, test_subset=test)
            values = 100 * chosen["accuracy"].to_numpy()
            _, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
            assert text.get_text() == f"{values.mean():.1f}\n± {high - values.mean():.1f}"
    assert _texts(figures["easy_hard"]) == ["mean over 4 seeds ± half the width of its 95% interval"]


def test_samples_of_several_sizes_are_drawn_apart_by_their_dashes(coherence: pd.DataFrame) -> None:
    few = _select(coherence, group="train", layer="model", optimizer="sgd").assign(m=360)
    many = few.assign(m=1720, m_coherence=2 * few["m_coherence"])
    figure = sample_size.draw({"sample_size": pd.concat([many, few])}, STYLE)
    panel = _panels(figure, 2, 3)[0][2]
    place = {"model": "mlp", "labels": "all_random", "step": 10}
    for m, table in ((360, few), (1720, many)):
        (line,) = [line for line in panel.get_lines() if line.get_label() == f"m = {m}"]
        expected = stats.gmean(_select(table, **place)["m_coherence"])
        assert np.asarray(line.get_ydata())[STEPS.index(10)] == pytest.approx(expected)
    assert _legend(figure)[:2] == ["m = 360", "m = 1,720"]


def test_samples_of_several_sizes_at_two_rates_have_a_panel_for_each_rate(coherence: pd.DataFrame) -> None:
    few = _select(coherence, group="train", layer="model", optimizer="sgd", model="mlp", labels="clean").assign(m=360)
    slow = few.assign(optimizer="rm3", m_coherence=3 * few["m_coherence"])
    figure = sample_size.draw({"sample_size": pd.concat([few, slow])}, STYLE)
    drawn = {
        " ".join(axes.get_title().split()): np.asarray(line.get_ydata())
        for axes in _panels(figure, 1, 2)[0]
        for line in axes.get_lines()
        if line.get_label() == "m = 360"
    }
    assert drawn["clean labels, RM3"] == pytest.approx(3 * drawn["clean labels, SGD"])


def test_both_starts_are_drawn_in_percent_for_the_test_set_and_easy_and_hard_examples(accuracy: pd.DataFrame) -> None:
    clean = _select(accuracy, labels="clean", optimizer="sgd", part="train")
    table = pd.concat(
        clean.assign(part=part, start=start, accuracy=clean["accuracy"] * share)
        for part, low in (("test", 0.5), ("easy", 0.8), ("hard", 0.3))
        for start, share in (("fresh", low), ("adversarial", low / 2))
    )
    panels = _panels(adversarial_start.draw({"adversarial_start": table}, STYLE), 2, 3)
    mean = _select(clean, model="cnn", step=2)["accuracy"].mean()
    for axes, low in zip(panels[1], (0.5, 0.8, 0.3), strict=True):
        drawn = {line.get_label(): np.asarray(line.get_ydata())[STEPS.index(2)] for line in axes.get_lines()}
        assert drawn == pytest.approx({"random start": 100 * low * mean, "adversarial start": 50 * low * mean})


def test_optimizers_have_the_settings_colors_in_every_figure(figures: dict[str, Figure]) -> None:
    for name in ("coherence_by_step", "coherence_by_loss", "pristine_corrupt"):
        for row in _panels(figures[name], 2, 3):
            for optimizer, axes in zip(COLORS, row, strict=True):
                lines = [line for line in axes.lines if len(line.get_xdata()) == len(STEPS)]
                own = [item for item in (*lines, *axes.collections) if not item.get_label().startswith("null of ")]
                drawn = {to_hex(item.get_color()) for item in own if item in lines}
                bands = {to_hex(item.get_facecolor()[0]) for item in own if item not in lines}
                assert drawn == bands == {COLORS[optimizer]}, name
                assert (
                    to_hex(_panels(figures[name], 2, 3)[0][list(COLORS).index(optimizer)].title.get_color())
                    == (COLORS[optimizer])
                )
    for axes in figures["layer_coherence"].axes:
        assert {to_hex(_line(axes, name).get_color()) for name in NOISE if axes.axison} <= {COLORS["sgd"]}
    for axes, optimizer, part in product(figures["training_curves"].axes, COLORS, ["train", "test"]):
        assert to_hex(_line(axes, f"{optimizer} {part}").get_color()) == COLORS[optimizer]
    for axes in figures["generalization_gap"].axes:
        for bar in (item for item in axes.containers if isinstance(item, ErrorbarContainer)):
            assert to_hex(bar.lines[0].get_color()) == COLORS[bar.get_label()]


def test_label_sets_have_one_line_style_in_every_figure(figures: dict[str, Figure]) -> None:
    seen: dict[str, set[str]] = {name: set() for name in NOISE}
    for figure in ("coherence_by_step", "coherence_by_loss", "layer_coherence"):
        for axes in (axes for axes in figures[figure].axes if axes.axison):
            for name in NOISE:
                seen[name].add(str((_line(axes, name)._unscaled_dash_pattern, _line(axes, name).get_alpha())))
    assert [len(styles) for styles in seen.values()] == [1, 1, 1]
    assert len(set.union(*seen.values())) == 3


def test_unknown_names_are_shown_with_spaces(coherence: pd.DataFrame) -> None:
    renamed = coherence.replace({"labels": {"half_random": "two_classes_swapped"}, "model": {"mlp": "my_net"}})
    figure = coherence_by_step.draw({"coherence": renamed}, STYLE)
    assert "two classes swapped" in _legend(figure)
    assert _panels(figure, 2, 3)[0][-1].texts[-1].get_text() == "my net"


def test_different_data_sets_are_never_averaged(coherence: pd.DataFrame) -> None:
    one = _select(coherence, model="mlp")
    figure = coherence_by_step.draw({"coherence": pd.concat([one, one.assign(dataset="mnist")])}, STYLE)
    assert [row[-1].texts[-1].get_text() for row in _panels(figure, 2, 3)] == ["digits, MLP", "MNIST, MLP"]


def test_runs_on_subsets_are_left_out(
    coherence: pd.DataFrame, accuracy: pd.DataFrame, figures: dict[str, Figure]
) -> None:
    easy = pd.concat([coherence, coherence.assign(subset="easy", m_coherence=1e6)])
    with_easy = _panels(coherence_by_step.draw({"coherence": easy}, STYLE), 2, 3)[0][0]
    without = _panels(figures["coherence_by_step"], 2, 3)[0][0]
    np.testing.assert_array_equal(_line(with_easy, "clean").get_ydata(), _line(without, "clean").get_ydata())
    more = pd.concat([accuracy, accuracy.assign(subset="easy", accuracy=0.0)])
    with_easy, without = training_curves.draw({"accuracy": more}, STYLE).axes[0], figures["training_curves"].axes[0]
    np.testing.assert_array_equal(_line(with_easy, "m3 test").get_ydata(), _line(without, "m3 test").get_ydata())


def test_a_seed_that_occurs_twice_is_refused(coherence: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="seed occurs twice"):
        over_seeds(pd.concat([coherence, coherence]), ["model", "step"], "m_coherence", 0.95)


def test_one_seed_has_no_band_and_the_legend_says_so(coherence: pd.DataFrame, subsets: pd.DataFrame) -> None:
    figure = coherence_by_step.draw({"coherence": _select(coherence, seed=0)}, STYLE)
    assert _legend(figure)[-2:] == ["one seed, no interval", "labels redrawn"]
    edges = np.concatenate(
        [path.vertices for axes in figure.axes for band in axes.collections for path in band.get_paths()]
        or [np.empty((0, 2))]
    )
    assert not np.isfinite(edges).any()
    cells = easy_hard.draw({"easy_hard": _select(subsets, seed=0)}, STYLE)
    assert all("±" not in text.get_text() for text in cells.axes[0].texts)


def test_the_confidence_setting_widens_the_band(coherence: pd.DataFrame) -> None:
    figure = coherence_by_step.draw({"coherence": coherence}, FigureStyle(COLORS, "sgd", confidence=0.5))
    values = np.log(
        _select(coherence, group="train", layer="model", model="mlp", optimizer="sgd", labels="clean", step=2)[
            "m_coherence"
        ].to_numpy()
    )
    interval = np.exp(stats.t.interval(0.5, 3, loc=values.mean(), scale=stats.sem(values)))
    _, edges = _band(figure.axes[0], "clean")
    np.testing.assert_allclose(edges[STEPS.index(2)], interval, rtol=1e-9)
    assert _legend(figure)[-2].startswith("50% interval")


def test_values_that_a_logarithmic_axis_cannot_show_are_counted_in_the_figure(
    coherence: pd.DataFrame,
) -> None:
    table = coherence.copy()
    place = table[(table["group"] == "train") & (table["layer"] == "model")].index[0]
    table.loc[place, "m_coherence"] = 0.0
    assert "not shown: 1 value(s) that are not positive" in _legend(coherence_by_step.draw({"coherence": table}, STYLE))
    zero = table.assign(m_coherence=0.0)
    assert any(text.startswith("not shown:") for text in _legend(coherence_by_step.draw({"coherence": zero}, STYLE)))


@pytest.mark.parametrize(
    ("module", "tables_of", "message"),
    [
        (pristine_corrupt, lambda c, a, e: {"coherence": c[c["noise"] != 0.5]}, "no runs with partly random labels"),
        (coherence_by_step, lambda c, a, e: {"coherence": c[:0]}, "measured no m-coherence"),
        (coherence_by_loss, lambda c, a, e: {"coherence": c, "accuracy": a[:0]}, "measured no m-coherence"),
        (layer_coherence, lambda c, a, e: {"coherence": c[c["optimizer"] != "sgd"]}, "single layers under SGD"),
        (training_curves, lambda c, a, e: {"accuracy": a[:0]}, "evaluated no runs"),
        (generalization_gap, lambda c, a, e: {"accuracy": a[a["part"] == "train"]}, "no runs with a training and a"),
        (easy_hard, lambda c, a, e: {"easy_hard": e[:0]}, "no networks on easy and hard"),
        (easy_hard, lambda c, a, e: {"easy_hard": pd.DataFrame()}, "no networks on easy and hard"),
        (sample_size, lambda c, a, e: {"sample_size": c[:0]}, "no samples of several sizes"),
        (adversarial_start, lambda c, a, e: {"adversarial_start": a[:0]}, "no adversarial start"),
    ],
)
def test_a_study_without_such_runs_gets_a_figure_that_says_so(
    module, tables_of, message: str, coherence: pd.DataFrame, accuracy: pd.DataFrame, subsets: pd.DataFrame,
    tmp_path: Path,
) -> None:  # fmt: skip
    figure = module.draw(tables_of(coherence, accuracy, subsets), STYLE)
    (text,) = _texts(figure)
    assert message in text
    save_figure(figure, tmp_path / "a.png", tmp_path / "a.pdf", dpi=50)


def test_a_combination_that_was_not_run_is_marked(coherence: pd.DataFrame) -> None:
    partial = coherence[~((coherence["model"] == "cnn") & (coherence["optimizer"] == "m3"))]
    axes = _panels(coherence_by_step.draw({"coherence": partial}, STYLE), 2, 3)[1][1]
    assert "no such runs" in [text.get_text() for text in axes.texts]


def test_equal_tables_give_equal_bytes(coherence: pd.DataFrame, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "again")]
    for folder in folders:
        if folder.name != "again":  # the same object once more
            figure = coherence_by_step.draw({"coherence": coherence}, STYLE)
        save_figure(figure, folder / "figure.png", folder / "figure.pdf", dpi=60)
    for kind in ("png", "pdf"):
        assert len({(folder / f"figure.{kind}").read_bytes() for folder in folders}) == 1
    assert b"CreationDate" not in (tmp_path / "first/figure.pdf").read_bytes()
    assert sorted(path.name for path in folders[0].iterdir()) == ["figure.pdf", "figure.png"]


def test_text_is_eight_points_or_more_and_inside_the_page(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        with theme():
            figure.draw_without_rendering()
        width, height = figure.get_size_inches()
        assert width == 7
        rows = len({round(axes.get_position().y0, 3) for axes in figure.axes})
        assert height <= max(7, 1.05 * rows + 0.8) + 1e-9, name  # no taller than wide, if its rows can be read then
        page = figure.bbox
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_text() and text.get_visible():
                assert text.get_fontsize() >= 8, (name, text.get_text())
        tight = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert tight.x0 >= page.x0 - 1, name
        assert tight.x1 <= page.x1 + 1, name
        assert tight.y0 >= page.y0 - 1, name
        assert tight.y1 <= page.y1 + 1, name


def test_drawing_leaves_pyplot_and_its_settings_alone(coherence: pd.DataFrame) -> None:
    before, open_before = (
        dict(matplotlib.rcParams),
        list(_pylab_helpers.Gcf.figs),
    )  # other tests may have left some open
    coherence_by_step.draw({"coherence": coherence}, STYLE)
    assert dict(matplotlib.rcParams) == before
    assert list(_pylab_helpers.Gcf.figs) == open_before


def test_band_color_is_translucent(figures: dict[str, Figure]) -> None:
    axes = _panels(figures["coherence_by_step"], 2, 3)[0][0]
    assert all(0 < band.get_facecolor()[0][3] < 0.5 for band in axes.collections)
    assert to_rgba(axes.collections[0].get_edgecolor()[0])[3] < 0.5
