"""How hard examples are, from result files written out by hand."""

import numpy as np
import pytest

from mcoherence.tables.difficulty import table


def test_difficulty_has_a_row_per_run_and_example(references, described):
    found = table(*references, second_split=False)
    described("difficulty", found)
    assert list(found)[:8] == ["dataset", "model", "labels", "noise", "optimizer", "subset", "seed", "example"]
    assert len(found) == 8
    first = found[found["seed"] == 0]
    assert first["label"].tolist() == [0, 1, 1, 0]
    assert first["changed"].tolist() == [False, True, True, False]
    assert first["learned_at"].tolist() == [0, 20, 10, np.inf]
    assert first["forgetting_events"].tolist() == [0, 1, 0, np.inf]
    assert first["score"].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 1])
    assert found["diverged"].tolist() == [False] * 4 + [True] * 4
    assert found["second_split_forgotten_at"].isna().all()


def test_an_example_is_learned_on_its_own_half_and_forgotten_on_the_other(references):
    found = table(*references, second_split=True)
    first = found[found["seed"] == 0]
    # half a (0 and 3): right from 0, and from 10; then on half b wrong from 10, and never wrong
    # half b (1 and 2): right from 10, and from 0; then on half a right at the end, and wrong from 20
    assert first["first_split_learned_at"].tolist() == [0, 10, 0, 10]
    assert first["second_split_forgotten_at"].tolist() == [10, np.inf, 20, np.inf]


def test_a_diverged_stage_says_nothing_about_its_half(references):
    found = table(*references, second_split=True)
    second = found[found["seed"] == 1]
    assert second["second_split_forgotten_at"].isna().tolist() == [True, False, False, True]
