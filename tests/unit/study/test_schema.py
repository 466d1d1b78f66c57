"""What follows from tables in the code is in the schema and the documentation as the tables say now."""

import json
from pathlib import Path

import pytest

from mcoherence.optim.methods import METHODS
from mcoherence.study import schema
from mcoherence.study.catalogue import EXPERIMENTS
from mcoherence.study.schema import formatted, rewritten_page, rewritten_schema, span_of, with_member
from workflow_scripts.write_schema import GENERATED

ROOT = Path(__file__).parents[3]
SCHEMA = (ROOT / "schemas/config.schema.json").read_text()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_the_files_are_up_to_date(path):
    text = path.read_text()
    assert GENERATED[path](text) == text, f"{path.name}: out of date; run make schema"


def test_every_method_is_a_choice_with_settings_of_its_own():
    read = json.loads(SCHEMA)
    methods = read["$defs"]["methods"]["$defs"]
    entry = read["properties"]["optimizers"]["additionalProperties"]
    assert list(methods) == entry["properties"]["method"]["enum"] == list(METHODS)
    for name, method in METHODS.items():
        own = methods[name]["properties"]
        assert own["method"] == {"const": name}
        assert set(method.settings) <= set(own)
        assert ("momentum" in own, "allow_momentum" in own) == (method.has_momentum, not method.allows_momentum)


def test_an_entry_more_changes_the_generated_parts_alone(monkeypatch):
    monkeypatch.setattr(schema, "METHODS", {**METHODS, "again": METHODS["winsorized"]})
    written = rewritten_schema(SCHEMA)
    again = json.loads(written)["$defs"]["methods"]["$defs"]["again"]
    assert (again["required"], again["properties"]["c"]["maximum"]) == (["c"], 50)
    assert "| `again` |" in rewritten_page((ROOT / "docs/optimisers.md").read_text())
    monkeypatch.undo()
    assert rewritten_schema(written) == SCHEMA  # nothing but the generated parts was touched, and they come back


def test_a_section_that_the_schema_lacks_is_added(monkeypatch):
    """As the first `make schema` after an experiment's module was written finds it."""
    monkeypatch.setattr(schema, "EXPERIMENTS", {**EXPERIMENTS, "again": EXPERIMENTS["sample_size"]})
    written = json.loads(rewritten_schema(SCHEMA))
    assert written["properties"].pop("again") == EXPERIMENTS["sample_size"].schema
    assert written["properties"]["experiments"]["items"]["enum"].pop() == "again"
    assert written == json.loads(SCHEMA)


TEXT = """{
  "a": {"b": [1, "}"], "c": {"d": null}},
  "list": [{"b": 1}],
  "last" : {
    "c": 2
  }
}
"""


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        (("a",), '{"b": [1, "}"], "c": {"d": null}}'),
        (("a", "b"), '[1, "}"]'),
        (("a", "c", "d"), "null"),
        (("last", "c"), "2"),
    ],
)
def test_a_value_is_found_in_the_text(pointer, value):
    start, end = span_of(TEXT, pointer)
    assert TEXT[start:end] == value


def test_a_value_that_is_not_there_is_named():
    with pytest.raises(KeyError, match=r"a\.e"):
        span_of(TEXT, ("a", "e"))


@pytest.mark.parametrize(
    ("text", "pointer", "with_it"),
    [
        ('{\n  "a": 1\n}\n', ("b",), '{\n  "a": 1,\n  "b": null\n}\n'),
        ('{\n  "a": {}\n}\n', ("a", "b"), '{\n  "a": {\n    "b": null\n  }\n}\n'),
        ('{"a": 1}', ("a",), '{"a": 1}'),
    ],
)
def test_a_member_that_is_missing_is_added_last(text, pointer, with_it):
    assert with_member(text, pointer) == with_it


def test_levels_say_what_is_written_in_one_line():
    value = {
        "required": ["x"],
        "properties": {"x": {"type": "number", "default": 1}},
        "allOf": [{"if": {}}, {"then": 0}],
    }
    assert formatted(value, 0, 0) == json.dumps(value)
    assert formatted(value, 2, 1) == (
        "{\n"
        '    "required": ["x"],\n'
        '    "properties": {\n'
        '      "x": {"type": "number", "default": 1}\n'
        "    },\n"
        '    "allOf": [\n'
        '      {"if": {}},\n'
        '      {"then": 0}\n'
        "    ]\n"
        "  }"
    )
