"""What the figures about easy and hard examples draw, compared with numbers worked out here."""

from itertools import combinations_with_replacement, product

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import integrate, stats

from mcoherence.data.store import IMAGES_SCHEMA
from mcoherence.figures import difficulty, difficulty_coherence, second_split
from mcoherence.figures.difficulty import bates_density, forgetting_by_learning_time
from mcoherence.figures.examples import pictures, ranked, show
from mcoherence.figures.second_split import in_groups, shares_by_step
from mcoherence.figures.style import FigureStyle
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.study.result_names import DIFFICULTY_GROUPS

STYLE = FigureStyle(optimizer_colors={"sgd": "#0072b2"}, reference_optimizer="sgd", dpi=40)
RUN = {"dataset": "d", "model": "net", "labels": "noisy", "noise": 0.25, "optimizer": "sgd", "subset": "full"}
SEEDS, SIZE = (0, 1, 2), 40


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Example i has rank i / 39 in every run; every fourth label is changed; odd examples are learned at step 8."""
    example = np.arange(SIZE)
    columns = {
        "example": example, "original": example % 3, "label": (example % 3 + (example % 4 == 0)) % 3,
        "changed": example % 4 == 0, "learned_at": np.where(example % 2, 8.0, np.inf),
        "forgetting_events": np.where(example == 6, np.inf, example % 5), "rank": example / 39, "score": example / 39,
        "first_split_learned_at": np.where(example % 2, 2.0, 4.0),
        "second_split_forgotten_at": np.where(example % 4 == 0, 1.0, np.inf), "diverged": False,
    }  # fmt: skip
    return pd.concat([pd.DataFrame({**RUN, "seed": seed, **columns}) for seed in SEEDS], ignore_index=True)


@pytest.fixture(scope="module")
def agreement() -> pd.DataFrame:
    others = ("1", "2", "other seeds", "all seeds", "one checkpoint")
    columns = ("spearman", "easy_overlap", "chance")
    return pd.DataFrame(
        [
            {**RUN, "seed": 0, "other": other, **dict(zip(columns, (0.1 * i, 0.5 + 0.1 * i, 0.5), strict=True))}
            for i, other in enumerate(others)
        ]
    )


@pytest.fixture(scope="module")
def coherence() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for subset, seed, step in product(("full", "easy", "hard", "random"), SEEDS, (0, 4, 16)):
        for group, other in combinations_with_replacement(DIFFICULTY_GROUPS, 2):
            place = {**RUN, "subset": subset, "seed": seed, "step": step, "group": group, "other": other, "n": 9}
            same = group == other
            value, cosine = generator.lognormal(1, 0.5), generator.uniform(-1, 1)
            rows.append({**place, "m_coherence": value if same else np.nan, "cosine": 1.0 if same else cosine})
    return pd.DataFrame(rows)


def _line(axes, label):
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return line


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_scores_are_a_histogram_in_percent_with_corrupt_on_pristine(table, agreement):
    axes = difficulty.draw({"difficulty": table, "difficulty_agreement": agreement}, STYLE).axes[0]
    pristine, corrupt = axes.containers
    heights = [bar.get_height() for bar in pristine], [bar.get_height() for bar in corrupt]
    expected = [np.histogram(np.arange(SIZE)[mask] / 39, bins=20, range=(0, 1))[0] * 100 / SIZE
                for mask in (np.arange(SIZE) % 4 > 0, np.arange(SIZE) % 4 == 0)]  # fmt: skip
    assert heights[0] == pytest.approx(expected[0])
    assert heights[1] == pytest.approx(expected[1])
    assert sum(heights[0]) + sum(heights[1]) == pytest.approx(100)


@pytest.mark.parametrize("runs", [1, 2, 3, 5])
def test_unrelated_rankings_have_the_density_of_a_mean_of_uniform_numbers(runs):
    area, _ = integrate.quad(lambda x: float(bates_density(np.array(x), runs)), 0, 1)
    variance, _ = integrate.quad(lambda x: (x - 0.5) ** 2 * float(bates_density(np.array(x), runs)), 0, 1)
    assert area == pytest.approx(1, abs=1e-6)
    assert variance == pytest.approx(1 / 12 / runs, abs=1e-6)


def test_agreement_has_a_row_per_kind_of_comparison(table, agreement):
    axes = difficulty.draw({"difficulty": table, "difficulty_agreement": agreement}, STYLE).axes[1]
    assert [tick.get_text().replace("\n", " ") for tick in axes.get_yticklabels()] == [
        "another seed", "all other seeds", "all seeds (the score)", "itself at one checkpoint",
    ]  # fmt: skip
    circles = [line for line in axes.lines if line.get_marker() == "o"]
    assert circles[0].get_xdata().tolist() == [0, 0.1]  # seeds 1 and 2
    assert circles[1].get_xdata().tolist() == [0.2]
    squares = [line for line in axes.lines if line.get_marker() == "s"]
    assert squares[3].get_xdata().tolist() == [0.9]


def test_forgetting_is_averaged_by_learning_time_without_those_never_right(table, agreement):
    figure = difficulty.draw({"difficulty": table, "difficulty_agreement": agreement}, STYLE)
    pristine, corrupt = figure.axes[2].collections[:2]
    counted = table[np.isfinite(table["forgetting_events"]) & ~table["changed"]]
    expected = counted.groupby("learned_at")["forgetting_events"].mean()
    assert pristine.get_offsets()[:, 1].tolist() == pytest.approx(expected.tolist())
    assert pristine.get_offsets()[0, 0] == 8
    assert len(corrupt.get_offsets()) == 1  # multiples of four are even: never learned
    assert "never" in [tick.get_text() for tick in figure.axes[2].get_xticklabels()]
    assert "not shown: 3 never right, of 120" in _texts(figure)
    assert forgetting_by_learning_time(counted)["n"].sum() == len(counted)


def test_second_split_shares_are_cumulative_percentages():
    rows = pd.DataFrame({"group": "g", "seed": 0, "time": [0.0, 4.0, 4.0, np.inf]})
    shares = shares_by_step(rows, "time")
    assert shares[["step", "share"]].to_numpy().tolist() == [[0, 25], [4, 75]]


def test_second_split_draws_corrupt_against_pristine_or_the_halves_by_score(table):
    figure = second_split.draw({"difficulty": table}, STYLE)
    learned, forgotten = figure.axes
    assert _line(forgotten, "corrupt").get_ydata().tolist() == [0, 100]
    assert _line(forgotten, "pristine").get_ydata().tolist() == [0, 0]
    assert _line(learned, "pristine").get_ydata().tolist() == pytest.approx([0, 200 / 3, 100])
    assert _texts(figure)[:2] == ["pristine", "corrupt"]
    clean = in_groups(table.assign(changed=False))
    assert clean.groupby("group")["score"].agg(["min", "max"]).loc["harder half"].tolist() == pytest.approx(
        [20 / 39, 1]
    )


def test_coherence_draws_each_subset_and_the_step_along_what_is_trained_on(coherence):
    figure = difficulty_coherence.draw({"difficulty_coherence": coherence}, STYLE)
    assert len(figure.axes) == 8
    (within, across), (_, of_easy) = figure.axes[:2], figure.axes[2:4]
    full = coherence[(coherence["subset"] == "full") & (coherence["group"] == "hard_train")]
    means = full[full["other"] == "hard_train"].groupby("step")["m_coherence"].apply(stats.gmean)
    assert _line(within, "hard").get_ydata() == pytest.approx(means.to_numpy())
    assert {line.get_label() for line in across.lines} >= {
        f"{a} to {b}" for a in ("easy", "hard") for b in ("easy", "hard", "random")
    }
    easy = coherence[coherence["subset"] == "easy"].query("group == 'easy_train' and other == 'hard_test'")
    assert _line(of_easy, "easy to hard").get_ydata() == pytest.approx(easy.groupby("step")["cosine"].mean().to_numpy())
    assert not [line for line in of_easy.lines if str(line.get_label()).startswith("hard to")]


def test_an_image_with_another_label_is_another_example(table):
    other = table[table["seed"] == 0].assign(seed=9, label=0, rank=lambda rows: 1 - rows["rank"])
    order = ranked(pd.concat([table[table["seed"] == 0], other]))
    one = order[order["example"] == 3].set_index("label")["rank"]
    assert one.to_dict() == {0: pytest.approx(0.5)}  # the same label in both: the mean
    assert order[order["example"] == 1].set_index("label")["rank"].to_dict() == {
        0: pytest.approx(38 / 39), 1: pytest.approx(1 / 39),
    }  # fmt: skip
    assert order["rank"].is_monotonic_increasing


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Images whose every pixel is the number of the example; three colours."""
    path = tmp_path_factory.mktemp("store") / "d/images.h5"
    images = np.broadcast_to(np.arange(SIZE, dtype=np.uint8)[:, None, None, None], (SIZE, 3, 4, 4)).copy()
    write_hdf5(path, IMAGES_SCHEMA, {"train/images": images}, {"class_names": ["zero", "one", "two"]})
    return path


def test_pictures_are_the_images_of_both_ends_from_the_extreme_inwards(table, store):
    ends = pictures(table, {"d": store}, count=3)["d", "net"]
    assert [picture.image[0, 0, 0] for picture in ends["easiest"]] == [0, 1, 2]
    assert [picture.image[0, 0, 0] for picture in ends["hardest"]] == [39, 38, 37]
    assert [(picture.label, picture.original) for picture in ends["easiest"]] == [
        ("one", "zero"),
        ("one", "one"),
        ("two", "two"),
    ]
    assert len(pictures(table, {"d": store}, count=100)["d", "net"]["hardest"]) == SIZE // 2


def test_examples_carry_their_labels_and_say_which_were_changed(table, store):
    figure = show(pictures(table, {"d": store}, count=2))
    assert [axes.get_title() for axes in figure.axes] == ["one (is zero)", "one", "zero", "two"]
    assert [text.get_text() for text in figure.texts] == ["easiest", "hardest"]
    assert figure.axes[0].images[0].get_array().shape == (4, 4, 3)


def test_a_class_name_is_no_formula(table, tmp_path):
    images = np.zeros((SIZE, 1, 4, 4), np.uint8)
    names = {"class_names": [r"$\nonsense$", "$x^", "a$b$c"]}
    write_hdf5(tmp_path / "images.h5", IMAGES_SCHEMA, {"train/images": images}, names)
    figure = show(pictures(table, {"d": tmp_path / "images.h5"}, count=2))
    assert figure.axes[0].get_title() == r"$x^ (is $\nonsense$)"
    figure.draw_without_rendering()  # a formula that is none would be an error


def test_nothing_to_draw_is_said(table, agreement, coherence):
    for figure in (
        difficulty.draw({"difficulty": table[:0], "difficulty_agreement": agreement}, STYLE),
        second_split.draw({"difficulty": table.assign(second_split_forgotten_at=np.nan)}, STYLE),
        difficulty_coherence.draw({"difficulty_coherence": coherence[:0]}, STYLE),
        show({}),
    ):
        assert figure.texts[0].get_text().startswith("This study")
