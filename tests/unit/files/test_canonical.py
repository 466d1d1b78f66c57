"""Equal settings have one text."""

from mcoherence.files.canonical import canonical_json


def test_canonical_json_is_equal_for_equal_settings():
    assert canonical_json({"b": 1.0, "a": {"y": (1, 2), "x": 0.5}}) == '{"a":{"x":0.5,"y":[1,2]},"b":1}'
    assert canonical_json({"a": {"x": 0.5, "y": [1.0, 2]}, "b": 1}) == canonical_json(
        {"b": 1.0, "a": {"y": (1, 2), "x": 0.5}}
    )
