"""What the figure on wrong labels draws, against numbers worked out here."""

from itertools import product

import pandas as pd
import pytest

from mcoherence.figures import label_errors
from mcoherence.figures.style import FigureStyle
from mcoherence.tables.label_errors import SCORES

STYLE = FigureStyle(optimizer_colors={"sgd": "#0072b2"}, reference_optimizer="sgd")
SEEDS = (0, 1, 2)


def table_of(diverged=()):
    return pd.DataFrame(
        [
            {"dataset": "d", "model": "net", "labels": f"{scheme}_{noise}", "noise": noise, "optimizer": "sgd"}
            | {"subset": "full", "seed": seed, "scheme": scheme, "ranked_by": score, "over": over}
            | {"auroc": 0.5 + noise + 0.01 * (seed - 1) * (score == "loss"), "diverged": seed in diverged}
            for scheme, noise, seed, (score, over) in product(("pair", "symmetric"), (0.1, 0.4), SEEDS, SCORES)
        ]
    )


def test_every_score_has_a_point_per_noise_level_with_its_interval():
    figure = label_errors.draw({"label_errors": table_of()}, STYLE)
    pair, symmetric = figure.axes
    assert [axes.get_title() for axes in (pair, symmetric)] == ["pair", "symmetric"]
    assert pair.lines[0].get_xdata() == [0.5, 0.5]  # where a score says nothing
    points = {bars.get_label(): bars for bars in pair.containers}
    assert points.keys() == {f"{noise} {over}" for noise in (0.1, 0.4) for over in ("last", "mean", "training")}
    drawn = points["0.4 mean"]
    assert drawn.lines[0].get_xdata() == pytest.approx([0.9] * 9)
    names = [label.get_text() for label in pair.get_yticklabels()]
    row = names.index("loss")
    (segment,) = (one for one in drawn.lines[2][0].get_segments() if abs(one[0, 1] - row) < 0.5)
    # t(0.975, 2) times 0.01 / sqrt(3)
    assert segment[:, 0] == pytest.approx([0.9 - 0.0248414, 0.9 + 0.0248414], abs=1e-6)


def test_runs_that_diverged_are_left_out_and_counted():
    figure = label_errors.draw({"label_errors": table_of(diverged=[1])}, STYLE)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == ["95% interval of the mean, 2 seeds", "left out: 4 run(s) that diverged"]
    everything = label_errors.draw({"label_errors": table_of(diverged=SEEDS)}, STYLE)
    assert "diverged" in everything.texts[0].get_text()
