"""Two settings objects, compared key by key."""

from mcoherence.audit.changes import changes


def texts(old, new):
    return [str(change) for change in changes(old, new)]


def test_innermost_keys_with_both_values_in_alphabetical_order():
    old = {"seed": 0, "optimizer": {"method": "rm3", "lr": 0.3}, "run": {"seed": 0}}
    new = {"seed": 1, "optimizer": {"method": "rm3", "lr": 0.2}, "run": {"seed": 0}}
    assert texts(old, new) == ["optimizer.lr: 0.3 -> 0.2", "seed: 0 -> 1"]


def test_keys_that_come_or_go():
    assert texts({"a": {"b": 1}}, {"a": {"c": [2]}}) == ["a.b: 1 -> nothing", "a.c: nothing -> [2]"]


def test_a_list_of_sections_is_compared_place_by_place_where_it_has_as_many():
    old, new = ({"grids": [{"seeds": [0]}, {"seeds": [0, 1], "models": ["mlp"]}]} for _ in range(2))
    new["grids"][1]["seeds"] = [0, 2]
    assert texts(old, new) == ["grids.1.seeds: [0, 1] -> [0, 2]"]
    assert texts({"grids": [{"seeds": [0]}]}, {"grids": []}) == ["grids: [{'seeds': [0]}] -> []"]


def test_swapped_values_are_two_changes():
    old, new = {"lr": 0.3, "weight_decay": 0.1}, {"lr": 0.1, "weight_decay": 0.3}
    assert texts(old, new) == ["lr: 0.3 -> 0.1", "weight_decay: 0.1 -> 0.3"]


def test_equal_settings_have_no_changes_and_one_is_one_point_zero():
    assert texts({"lr": 1, "steps": [1, 2]}, {"lr": 1.0, "steps": [1, 2]}) == []


def test_a_long_value_is_shortened():
    (text,) = texts({"steps": list(range(100))}, {"steps": []})
    assert len(text) < 100
    assert text.startswith("steps: [0, 1, 2,")
