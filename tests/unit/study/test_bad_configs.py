"""A table of wrong configs: each is refused in one line, and this line."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from snakemake.utils import validate

from mcoherence.errors import UserError
from mcoherence.study import catalogue, checks, schema_checks

ROOT = Path(__file__).parents[3]
SCHEMA_FILE = ROOT / "schemas/config.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text())
STUDY = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())
ROWS = yaml.safe_load(Path(__file__).with_name("bad_configs.yaml").read_text())
ENDING = "; every key is described in schemas/config.schema.json"


def refused(config):
    """The line in which a config is refused, as the Snakefile checks it; None where it is taken."""
    try:
        config = catalogue.in_one_spelling(config)
        schema_checks.check_config(config, SCHEMA)
        validate(config, str(SCHEMA_FILE))
        checks.check_references(catalogue.with_entries_made(config))
    except UserError as error:
        return str(error).removesuffix(ENDING)
    return None


def with_value(key, value):
    """The study of the tests with this value at the key "section.entry.name"."""
    config = copy.deepcopy(STUDY)
    *path, last = key.split(".")
    inner = config
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return config


def test_the_study_of_the_tests_is_taken():
    assert refused(copy.deepcopy(STUDY)) is None


def test_the_table_is_large():
    assert len(ROWS) >= 150
    assert len({(key, repr(value)) for key, value, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("key", "value", "line"), ROWS, ids=[f"{key} {value!r}"[:60] for key, value, _ in ROWS])
def test_a_wrong_value_is_refused_in_this_line(key, value, line):
    assert refused(with_value(key, value)) == line
    assert "\n" not in line
