"""Small files of values."""

import pytest

from mcoherence.errors import UserError
from mcoherence.files.json_csv import read_sealed_json, write_csv, write_json, write_sealed_json
from mcoherence.files.seals import IN_JSON, sealed


def test_json_refuses_values_that_other_readers_cannot_parse(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not list(tmp_path.iterdir())


def test_numbers_keep_every_digit(tmp_path):
    write_csv(tmp_path / "x.csv", ["step", "loss"], [(0, 1 / 3), (1, 0.1 + 0.2)])
    assert (tmp_path / "x.csv").read_text() == "step,loss\n0,0.3333333333333333\n1,0.30000000000000004\n"
    write_json(tmp_path / "x.json", {"b": 1 / 3, "a": [1]})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": [\n    1\n  ],\n  "b": 0.3333333333333333\n}\n'


def test_a_sealed_object_comes_back_and_anything_else_is_one_line(tmp_path):
    path = tmp_path / "x.json"
    write_sealed_json(path, {"b": 1 / 3, "ü": [None, "seal"]})
    content = path.read_bytes()
    assert {key: value for key, value in read_sealed_json(path, "again").items() if key != "seal"} == {
        "b": 1 / 3,
        "ü": [None, "seal"],
    }
    for other in (
        b"",
        content[:-1],
        content.replace(b"seal", b"heal"),
        sealed(b'[{"seal": "%s"}]' % (b"0" * 64), IN_JSON),
    ):
        path.write_bytes(other)
        with pytest.raises(UserError, match=r"x\.json: changed since it was made \(.*\); again$"):
            read_sealed_json(path, "again")
