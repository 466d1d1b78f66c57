"""The reference of the config and the API page are whole: every key has words and an example, every name is there."""

import json
import re
from pathlib import Path

import pytest

import mcoherence
from mcoherence import optim
from mcoherence.study import config_reference
from mcoherence.study.config_files import read_config
from mcoherence.study.config_reference import Key, example, keys_below, resolved
from workflow_scripts.write_schema import SCHEMA as SCHEMA_FILE

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads(SCHEMA_FILE.read_text())
API = (ROOT / "docs/api.md").read_text()
# Where entries are of two kinds that share a key, and one kind has a key in a mapping of its own.
SMALL = {
    "required": ["study"],
    "$defs": {
        "first": {"properties": {"kind": {"const": "a"}, "size": {"type": "integer", "minimum": 1, "default": 3}}},
        "second": {"properties": {"size": {"type": "integer", "minimum": 1, "default": 3}, "rate": {"type": "number"}}},
    },
    "properties": {
        "study": {"type": "string", "description": "Its name."},
        "optimizers": {
            "type": "object",
            "description": "Optimisers by name.",
            "additionalProperties": {
                "required": ["kind"],
                "properties": {"kind": {"enum": ["a", "b"], "description": "Which | of them."}},
                "allOf": [
                    {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"$ref": "#/$defs/first"}},
                    {"if": {"properties": {"kind": {"const": "b"}}}, "then": {"$ref": "#/$defs/second"}},
                ],
            },
        },
    },
}


def every_key():
    for name, value in SCHEMA["properties"].items():
        top = Key((name,), resolved(value, SCHEMA))
        yield from (top, *keys_below(top, SCHEMA))


def test_every_key_says_what_it_is():
    silent = {key.name for key in every_key() if not key.schema.get("description")}
    assert silent == config_reference.WORDS.keys()


def test_no_example_is_kept_of_a_key_that_there_is_not():
    assert config_reference.EXAMPLES.keys() <= {key.name for key in every_key()}


def test_every_value_that_the_page_shows_is_read_as_it_is_written(tmp_path):
    page = (ROOT / "docs/configuration.md").read_text()
    shown = set(re.findall(r"(?:example|default|in `config\.yaml`): `([^`]*)`", page))
    whole = {value for value in shown if not value.endswith("...")}
    assert len(whole) > 100
    for value in sorted(whole):
        (tmp_path / "own.yaml").write_text(f"key: {value}\n")
        assert read_config(tmp_path / "own.yaml")["key"] is not None or value == "null", value


def test_words_that_would_be_numbers_without_quotes_keep_them():
    assert config_reference._shown({"3": "8", "a": "true", "b": "1e3"}) == '{"3": "8", a: "true", b: "1e3"}'


def test_entries_of_several_kinds_say_which_of_them_have_a_key(monkeypatch):
    monkeypatch.setattr(config_reference, "KINDS", {"optimizers.NAME": "kind"})
    configs = [{"study": "x", "optimizers": {"one": {"kind": "a", "size": 5}, "two": {"kind": "b", "rate": 0.5}}}]
    assert config_reference.keys_in_markdown(SMALL, configs, {}) == (
        "## `study`\n\nIts name.\n\n- text\n- has to be there\n- example: `x`\n\n"
        "## `optimizers`\n\nOptimisers by name.\n\n- mapping\n- may be left out\n\n"
        "| key | what it is | value |\n| --- | --- | --- |\n"
        "| `NAME.kind` | Which \\| of them. | one of `a`, `b`<br>has to be there<br>example: `a` |\n"
        "| `NAME.size` |  | whole number, 1 or more<br>default: `3`<br>example: `5` |\n"
        "| `NAME.rate`<br>for `b` |  | number<br>example: `0.5` |\n"
    )


def test_a_value_that_lies_under_every_study_is_told_from_an_example(monkeypatch):
    monkeypatch.setattr(config_reference, "KINDS", {"optimizers.NAME": "kind"})
    under = {"study": "first", "optimizers": {"one": {"kind": "a"}}}
    written = config_reference.keys_in_markdown(SMALL, [{"optimizers": {"two": {"kind": "b", "rate": 1}}}], under)
    assert "- in `config.yaml`: `first`\n" in written
    assert "has to be there<br>example: `a` |" in written  # an entry may be yours


def test_a_key_without_any_example_is_an_error():
    with pytest.raises(KeyError, match="study"):
        example(Key(("study",), {"type": "string"}), [])


def test_every_public_name_is_in_the_reference():
    named = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", API, flags=re.MULTILINE))
    assert {f"mcoherence.{name}" for name in mcoherence.__all__} <= named
    assert {f"mcoherence.optim.{name}" for name in optim.__all__} <= named


def test_what_users_call_has_an_example_in_its_docstring():
    results = {"GradientStatistics", "ExampleStatistics"}  # of functions, whose examples show them
    called = [getattr(mcoherence, name) for name in mcoherence.__all__ if name not in results]
    called += [getattr(optim, name) for name in optim.__all__]
    assert [one.__name__ for one in called if ">>> " not in (one.__doc__ or "")] == []
