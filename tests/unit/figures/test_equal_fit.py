"""What the figures on memorisation at equal fit and on gradient confusion draw, against numbers worked out here."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mcoherence.figures import confusion, equal_fit
from mcoherence.figures.style import FigureStyle

STYLE = FigureStyle(optimizer_colors={"sgd": "#0072b2", "m3": "#d55e00"}, reference_optimizer="sgd")
SEEDS = (0, 1, 2)
LEVELS = (0.5, 0.9, 1.0)
CORRUPT = {"sgd": (0.2, 0.4, 0.9), "m3": (0.1, 0.2, np.nan)}


def equal_fit_table():
    return pd.DataFrame(
        [
            {"dataset": "d", "model": "net", "labels": "half_random", "noise": 0.5, "optimizer": name, "subset": "full"}
            | {"seed": seed, "pristine_accuracy": level, "reached": not (name == "m3" and level == 1.0 and seed == 2)}
            | {"corrupt_accuracy": value + 0.01 * (seed - 1), "test_accuracy": 0.5, "diverged": False}
            for name, curve in CORRUPT.items()
            for seed in SEEDS
            for level, value in zip(LEVELS, curve, strict=True)
        ]
    )


def line(axes, label):
    (found,) = (one for one in axes.lines if one.get_label() == label)
    return found


def test_a_curve_per_optimiser_goes_as_far_as_all_its_seeds():
    figure = equal_fit.draw({"equal_fit": equal_fit_table()}, STYLE)
    corrupt, test = figure.axes
    assert line(corrupt, "sgd").get_xdata().tolist() == [50, 90, 100]
    assert line(corrupt, "sgd").get_ydata() == pytest.approx([20, 40, 90])
    assert line(corrupt, "m3").get_xdata().tolist() == [50, 90]
    assert to_hex(line(corrupt, "m3").get_color()) == "#d55e00"
    assert line(test, "sgd").get_ydata() == pytest.approx([50, 50, 50])
    # three seeds are too few for a band: each is a thin line
    thin = [
        one for one in corrupt.lines if one.get_label().startswith("_seed") and to_hex(one.get_color()) == "#0072b2"
    ]
    assert [one.get_ydata()[0] for one in thin] == pytest.approx([19, 20, 21])


def test_a_study_without_partial_noise_says_so():
    figure = equal_fit.draw({"equal_fit": equal_fit_table().iloc[:0]}, STYLE)
    assert "no runs with labels that are random in part" in figure.texts[0].get_text()


NETWORKS = {(16, 2, False, False): 0.1, (64, 2, False, False): 0.2, (64, 8, False, False): -0.4, (64, 8, True, True): 0}


def confusion_table(diverged=()):
    return pd.DataFrame(
        [
            {"dataset": "d", "model": f"net{network}", "labels": "clean", "noise": 0.0, "optimizer": "sgd"}
            | {"seed": seed, "subset": "full", "step": step, "epoch": step / 10, "diverged": network in diverged}
            | dict(zip(("width", "depth", "normalised", "skip"), network, strict=True))
            | {"min_cosine": least - 0.1 * (step == 40), "median_cosine": 0.5}
            for (network, least), seed, step in product(NETWORKS.items(), SEEDS, (0, 10, 40))
        ]
    )


def test_confusion_is_drawn_by_width_by_depth_and_by_variant():
    figure = confusion.draw({"confusion": confusion_table()}, STYLE)
    by_width, by_depth, variants = figure.axes
    assert line(by_width, "16").get_ydata() == pytest.approx([0.1, 0.1, 0.0])
    assert line(by_width, "median_cosine 64").get_ydata() == pytest.approx([0.5, 0.5, 0.5])
    assert line(by_depth, "8").get_ydata() == pytest.approx([-0.4, -0.4, -0.5])
    # means over epochs 1 and 4, at depths 2 and 8
    assert line(variants, "neither").get_ydata() == pytest.approx([0.15, -0.45])
    assert line(variants, "both").get_xdata().tolist() == [1]
    assert line(variants, "both").get_ydata() == pytest.approx([-0.05])


def test_networks_that_diverged_are_left_out_of_confusion_and_counted():
    figure = confusion.draw({"confusion": confusion_table([(64, 8, True, True)])}, STYLE)
    assert "both" not in [one.get_label() for one in figure.axes[2].lines]
    assert figure.legends[0].get_texts()[-1].get_text() == "left out: 3 run(s) that diverged"
    everything = confusion.draw({"confusion": confusion_table(NETWORKS)}, STYLE)
    assert "diverged" in everything.texts[0].get_text()
