"""The tables of the page's charts against means and intervals worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.front_page import curves
from mcoherence.front_page.packing import as_script, packed

RUN = {"dataset": "digits", "model": "mlp", "labels": "clean", "noise": 0.0, "optimizer": "sgd", "subset": "full"}


def rows(**columns):
    return pd.DataFrame({**{name: [value] * len(columns["seed"]) for name, value in RUN.items()}, **columns})


ACCURACY = rows(
    seed=[0, 1], step=[8, 8], epoch=[1.0, 1.0], part=["train", "train"], accuracy=[0.5, 0.7], loss=[1.0, 3.0]
)
COHERENCE = rows(
    seed=[0, 1, 0, 1], step=[8] * 4, epoch=[1.0] * 4, group=["train"] * 4, layer=["model", "model", "1", "1"],
    m_coherence=[1.0, 100.0, 2.0, 8.0],
)  # fmt: skip


def test_seeds_and_their_mean_stand_in_one_table():
    table = curves.accuracy_curves(ACCURACY, confidence=0.95).set_index("seed")
    assert table.loc["mean", "value"] == pytest.approx(0.6)
    assert table.loc["mean", "loss"] == 2.0
    # Student's t of two is 12.706 standard errors of 0.1 each way, beyond what an accuracy can be
    assert table.loc["mean", ["low", "high"]].tolist() == [0, 1]
    assert table.loc[["0", "1"], "value"].tolist() == [0.5, 0.7]
    assert table["network"].unique().tolist() == ["digits, MLP"]


def test_means_of_m_coherence_are_geometric_and_know_the_training_loss():
    table = curves.coherence_curves(COHERENCE, ACCURACY, confidence=0.95).set_index("seed")
    assert table.loc["mean", "value"] == pytest.approx(10)
    assert table.loc[["0", "1"], "loss"].tolist() == [1.0, 3.0]


def test_without_accuracies_there_is_no_loss_to_draw_against():
    assert curves.coherence_curves(COHERENCE, None, confidence=0.95)["loss"].isna().all()


def test_the_map_has_a_row_per_layer_in_the_networks_order():
    more = pd.concat([COHERENCE, COHERENCE[2:].assign(layer="0.conv", m_coherence=3.0)])
    table = curves.layer_map(more)
    assert table[["layer", "order"]].values.tolist() == [["1", 0], ["0.conv", 1]]
    assert table["value"].tolist() == pytest.approx([4, 3])


def test_runs_on_parts_of_the_data_are_left_out():
    assert curves.accuracy_curves(ACCURACY.assign(subset="easy"), 0.95).empty


def test_levels_that_a_run_never_reached_are_left_out():
    fit = rows(seed=[0, 1], step=[1, -1], epoch=[0.1, -1], pristine_accuracy=[0.9, 0.9], reached=[True, False],
               corrupt_accuracy=[0.2, np.nan])  # fmt: skip
    table = curves.equal_fit_curves(fit, 0.95)
    assert table[table["seed"] != "mean"][["loss", "value"]].values.tolist() == [[0.9, 0.2]]


def test_a_packed_table_keeps_what_a_chart_can_show():
    table = pd.DataFrame({"of": ["a", "b", "a"], "step": [0, 1000, 123456], "value": [0.123456, np.inf, np.nan]})
    assert packed(table) == {
        "of": {"names": ["a", "b"], "codes": [0, 1, 0]},
        "step": [0, 1000, 123456],
        "value": [0.1235, None, None],
    }


def test_no_text_ends_the_script_that_it_stands_in():
    assert "<" not in as_script({"name": "</script><!--"})


def test_means_alone_have_no_single_seeds():
    table = curves.accuracy_curves(ACCURACY, confidence=0.95)
    assert curves.means_alone(table)["seed"].unique().tolist() == ["mean"]
    layers = curves.layer_map(COHERENCE)
    assert curves.means_alone(layers).equals(layers)
