"""Rows that several readers of the tables ask for."""

import numpy as np
import pandas as pd
import pytest

from mcoherence.tables.rows import last_rows, partly_random, rows_of_blocks, whole_network


def test_every_run_has_its_own_last_step():
    table = pd.DataFrame(
        [
            ("sgd", 0, 0, "train"),
            ("sgd", 0, 9, "train"),
            ("sgd", 0, 9, "test"),
            ("m3", 0, 4, "train"),
            ("m3", 1, 6, "x"),
        ],
        columns=["optimizer", "seed", "step", "part"],
    )
    assert last_rows(table).index.tolist() == [1, 2, 3, 4]


def test_the_part_trained_on_tells_runs_apart_where_a_table_has_it_for_the_subset():
    table = pd.DataFrame({"train_subset": ["easy", "easy", "hard"], "seed": 0, "step": [3, 9, 3]})
    assert last_rows(table).index.tolist() == [1, 2]


def test_the_whole_network_is_all_layers_on_pristine_and_corrupt_examples_together():
    table = pd.DataFrame({"group": ["train", "train", "heldout"], "layer": ["model", "conv", "model"]})
    assert whole_network(table).index.tolist() == [0]


def test_labels_random_in_part_are_neither_clean_nor_all_random():
    assert partly_random(pd.DataFrame({"noise": [0.0, 0.1, 0.9, 1.0]}))["noise"].tolist() == [0.1, 0.9]


def test_blocks_stand_under_each_other_with_what_is_one_for_all_rows_repeated():
    blocks = [{"step": np.array([1, 2]), "of": "a", "n": 3}, {"n": 4, "step": np.array([5]), "of": "b"}]
    table = rows_of_blocks(blocks)
    assert table["step"].tolist() == [1, 2, 5]
    assert table["of"].tolist() == ["a", "a", "b"]
    assert table["n"].tolist() == [3, 3, 4]
    assert table.dtypes.equals(pd.concat([pd.DataFrame(block) for block in blocks])[list(table)].dtypes)


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        ([], "found 0 "),
        ([{"a": np.arange(2)}, {"b": np.arange(2)}], "found 2 of different columns"),
        ([{"a": 1}], r"arrays of \[\] rows"),
        ([{"a": np.arange(2), "b": np.arange(1)}, {"a": np.arange(1), "b": np.arange(2)}], r"arrays of \[1, 2\] rows"),
    ],
)
def test_blocks_that_make_no_table_are_refused(blocks, found):
    with pytest.raises(ValueError, match=found):
        rows_of_blocks(blocks)


def test_a_block_without_rows_adds_none():
    table = rows_of_blocks([{"a": np.arange(0.0), "of": "x"}, {"a": np.arange(2.0), "of": "y"}])
    assert table.to_dict("list") == {"a": [0.0, 1.0], "of": ["y", "y"]}
