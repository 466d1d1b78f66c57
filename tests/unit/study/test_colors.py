"""Colours of optimisers: every two of the palette are told apart, and a study's are assigned in its order."""

import itertools

import pytest

from mcoherence.study.colors import ALIKE, PALETTE, assigned, distance, figure_settings, lab

# Rows take linear red, green and blue to what someone sees whose eye lacks a kind of cone (Vienot et al., 1999).
SEEN_WITHOUT = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "long": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    "middle": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
}


def seen(color, without):
    light = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    light = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in light]
    mixed = [min(max(sum(a * b for a, b in zip(row, light, strict=True)), 0), 1) for row in SEEN_WITHOUT[without]]
    shown = [12.92 * one if one <= 0.0031308 else 1.055 * one ** (1 / 2.4) - 0.055 for one in mixed]
    return "#" + "".join(f"{round(255 * one):02x}" for one in shown)


@pytest.mark.parametrize(("without", "apart"), [("none", 25), ("long", 10), ("middle", 10)])
def test_every_two_colours_of_the_palette_are_told_apart(without, apart):
    pairs = itertools.combinations(PALETTE, 2)
    assert min(distance(seen(a, without), seen(b, without)) for a, b in pairs) > apart


def test_no_colour_of_the_palette_is_grey_but_black():
    for color in PALETTE[:-1]:
        _, a, b = lab(color)
        assert (a**2 + b**2) ** 0.5 > 20, color


@pytest.mark.parametrize(
    ("color", "expected"),  # red, and a grey of half the signal, from any table of sRGB and CIELAB
    [("#ff0000", (53.24, 80.09, 67.20)), ("#808080", (53.59, 0, 0))],
)
def test_lab_is_that_of_the_tables(color, expected):
    assert lab(color) == pytest.approx(expected, abs=0.05)


def test_given_colours_stay_and_nobody_gets_one_like_them():
    colors = assigned([f"method{number}" for number in range(8)], {"method3": "#0173b2"})  # nearly the palette's first
    assert colors["method3"] == "#0173b2"
    pairs = itertools.combinations(colors.values(), 2)
    assert min(distance(a, b) for a, b in pairs) >= ALIKE


def test_names_alone_decide_no_colour():
    """Names whose hashes collide, as those of momentum, nesterov and ra3 did, are told apart all the same."""
    assert len(set(assigned(["momentum", "sgd_wd", "ra3", "c1", "m3b"], {}).values())) == 5


def test_figures_know_a_colour_for_each_optimiser_of_the_study_in_its_order():
    config = {
        "optimizers": {"a": {}, "b": {}, "unused": {}, "c": {}},
        "figures": {"optimizer_colors": {"c": "#000000"}, "reference_optimizer": "a", "dpi": 100},
        "claims": {"delay_factor": 1.5, "near": 3},
    }
    colors = {"c": "#000000", "b": PALETTE[0], "a": PALETTE[1]}
    settings = figure_settings(config, ["b", "a", "b", "c"])
    assert settings == {"optimizer_colors": colors, "reference_optimizer": "a", "dpi": 100, "delay_factor": 1.5}


def test_a_study_without_the_reference_optimiser_shows_its_own_first_one():
    """As one whose SGD is called momentum, and which inherits `reference_optimizer: sgd`: its layers were left out."""
    config = {
        "optimizers": {"sgd": {}, "momentum": {}},
        "figures": {"optimizer_colors": {}, "reference_optimizer": "sgd"},
        "claims": {"delay_factor": 1.25},
    }
    assert figure_settings(config, ["momentum"])["reference_optimizer"] == "momentum"
