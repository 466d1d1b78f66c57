"""Small files of values."""

import pytest

from mcoherence.files.json_csv import write_csv, write_json


def test_json_refuses_values_that_other_readers_cannot_parse(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_numbers_keep_every_digit(tmp_path):
    write_csv(tmp_path / "x.csv", ["step", "loss"], [(0, 1 / 3), (1, 0.1 + 0.2)])
    assert (tmp_path / "x.csv").read_text() == "step,loss\n0,0.3333333333333333\n1,0.30000000000000004\n"
    write_json(tmp_path / "x.json", {"b": 1 / 3, "a": [1]})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": [\n    1\n  ],\n  "b": 0.3333333333333333\n}\n'
