"""Claims about the course of m-coherence, on small tables worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.trajectory import (
    alexnet_coherent_on_random_labels,
    coherence_near_one_when_fitted,
    convolutions_above_last_layer,
    drops_at_the_start,
    shape_kept_at_other_sizes,
    wider_more_coherent,
)
from mcoherence.claims.verdicts import part_of

SETTINGS = ClaimSettings(
    confidence=0.95,
    first_step=10,
    target_accuracy=0.9,
    methods={"sgd": "sgd", "rm3": "rm3"},
    architectures={"net": "resnet18", "alex": "alexnet"},
)
STEPS = (0, 5, 10, 100, 1000)


def curve(values, model="net", noise=0.0, seed=0, layer="model", layer_type="", optimizer="sgd", steps=STEPS):
    return pd.DataFrame(
        {
            "dataset": "glyphs", "model": model, "labels": f"noise_{noise:g}", "noise": noise, "optimizer": optimizer,
            "subset": "full", "seed": seed, "step": steps, "epoch": np.array(steps) / 10, "group": "train",
            "layer": layer, "layer_type": layer_type, "m_coherence": values,
        }
    )  # fmt: skip


def accuracy(values, **names):
    rows = curve(values, **names).drop(columns=["group", "layer", "layer_type"])
    return rows.rename(columns={"m_coherence": "accuracy"}).assign(part="train")


def values(measured):
    return {where: one.per_seed.tolist() for where, one in measured.items()}


def test_near_one_is_read_at_the_last_checkpoint_that_fits_every_example():
    tables = {
        "coherence": pd.concat(
            [
                curve([100, 50, 20, 2, 1], seed=0),
                curve([100, 50, 20, 1, 9], seed=1),  # ends fitted, at 9
                curve([100, 50, 20, 0.5, 7], noise=1.0, seed=0),  # fitted at step 100, lost again
                curve([100, 50, 20, 1, 1], noise=1.0, seed=1),  # never fitted
                curve([1, 1, 1, 1, 1], optimizer="rm3"),
            ]
        ),
        "accuracy": pd.concat(
            [
                accuracy([0.1, 0.2, 0.5, 1.0, 1.0], seed=0),
                accuracy([0.1, 0.2, 0.5, 1.0, 1.0], seed=1),
                accuracy([0.1, 0.2, 0.5, 1.0, 0.9], noise=1.0, seed=0),
                accuracy([0.1, 0.2, 0.5, 0.9, 0.99], noise=1.0, seed=1),
            ]
        ),
    }
    measured = coherence_near_one_when_fitted(tables, SETTINGS)
    found = values(measured)
    assert found["glyphs, net, sgd, noise 0"] == pytest.approx([math.log10(3), math.log10(3) - math.log10(9)])
    assert found["glyphs, net, sgd, noise 1"] == pytest.approx([math.log10(1.5), math.nan], nan_ok=True)
    assert len(found) == 2
    assert part_of("", measured["glyphs, net, sgd, noise 1"], 0.95).verdict == "inconclusive"


def test_the_initial_drop_is_to_the_least_value_of_the_first_steps():
    found = values(drops_at_the_start({"coherence": curve([1000, 5, 20, 2, 1])}, SETTINGS))
    assert found == {
        "glyphs, net, sgd, noise 0, drops": pytest.approx([math.log10(200)]),
        "glyphs, net, sgd, noise 0, to below 10": pytest.approx([math.log10(2)]),
    }


def test_convolutions_count_by_their_geometric_mean_and_the_steps_that_they_are_ahead():
    layers = {
        "conv1": ("Conv2d", [9, 9, 4, 16, 1]),
        "norm": ("BatchNorm2d", [99, 99, 99, 99, 99]),
        "conv2": ("Conv2d", [9, 9, 4, 1, 4]),  # geometric means 4, 4, 2
        "hidden": ("Linear", [99, 99, 99, 99, 99]),
        "output": ("Linear", [1, 1, 5, 3, 5]),  # ahead at step 100 alone, which stands for 90 of 990 steps
    }
    rows = [curve(one, layer=name, layer_type=kind) for name, (kind, one) in layers.items()]
    found = values(convolutions_above_last_layer({"coherence": pd.concat(rows)}, SETTINGS))
    assert found == {"glyphs, net, sgd, noise 0": pytest.approx([90 / 990 - 0.5])}


def test_a_network_without_convolutions_does_not_speak_to_them():
    rows = pd.concat([curve([1, 1, 1, 1, 1], layer=name, layer_type="Linear") for name in ("hidden", "output")])
    assert convolutions_above_last_layer({"coherence": rows}, SETTINGS) == {}


def test_alexnet_is_compared_with_resnet_at_the_peaks_past_the_transient_on_random_labels():
    rows = [
        curve([500, 500, 2, 30, 1], model="alex", noise=1.0, seed=0),
        curve([500, 500, 6, 4, 1], model="alex", noise=1.0, seed=1),
        curve([900, 900, 2, 1, 1], noise=1.0, seed=0),
        curve([900, 900, 1, 4, 1], noise=1.0, seed=1),
        curve([900, 900, 900, 900, 900], noise=0.0, seed=0),
    ]
    found = values(alexnet_coherent_on_random_labels({"coherence": pd.concat(rows)}, SETTINGS))
    assert found == {"glyphs, sgd, alex over net": pytest.approx([math.log10(5), math.log10(1.5 / 3)])}


def sizes(**curves):
    frames = [curve(values).assign(m=int(m[1:])).drop(columns=["group", "layer"]) for m, values in curves.items()]
    return {"sample_size": pd.concat(frames)}


def test_a_sample_twice_as_large_keeps_the_shape_and_doubles_what_is_far_above_one():
    found = values(shape_kept_at_other_sizes(sizes(m50=[1, 1, 20, 40, 5], m100=[9, 1, 40, 80, 10]), SETTINGS))
    where = "glyphs, net, noise_0, sgd, m = 100 against 50"
    assert found == {
        f"{where}, shape": pytest.approx([0.1]),
        f"{where}, grows with m": pytest.approx([math.log10(1.5)]),
    }


def test_near_the_orthogonal_limit_nothing_is_said_of_growth_and_another_shape_is_seen():
    found = values(shape_kept_at_other_sizes(sizes(m50=[1, 1, 1, 2, 4], m100=[1, 1, 4, 2, 1]), SETTINGS))
    assert found == {"glyphs, net, noise_0, sgd, m = 100 against 50, shape": pytest.approx([-1.9])}


def test_widths_are_compared_with_the_next_at_the_peaks_past_the_transient():
    rows = [
        curve(course, seed=seed).assign(setting=setting, value=value, past_transient=np.array(STEPS) >= 10)
        for setting, value, seed, course in [
            ("width", 32.0, 0, [90, 90, 4, 2, 1]),
            ("width", 32.0, 1, [90, 90, 1, 8, 1]),
            ("width", 128.0, 0, [1, 1, 12, 2, 1]),
            ("width", 128.0, 1, [1, 1, 2, 4, 1]),
            ("width", 512.0, 0, [1, 1, 12, 2, 1]),
            ("width", 512.0, 1, [1, 1, 4, 8, 1]),
            ("depth", 1.0, 0, [1, 1, 50, 2, 1]),
        ]
    ]
    found = values(wider_more_coherent({"sweep": pd.concat(rows)}))
    assert found == {
        "glyphs, noise_0, sgd, width 128 over 32": pytest.approx([math.log10(3), math.log10(1 / 2)]),
        "glyphs, noise_0, sgd, width 512 over 128": pytest.approx([0, math.log10(2)]),
    }
