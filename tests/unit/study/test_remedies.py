"""The advice on a config: each way out that a message names makes a config that is taken."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from mcoherence.errors import UserError
from mcoherence.study import catalogue, checks, schema_checks
from tests.remedies.following import says

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
STUDY = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())
ROWS = yaml.safe_load((ROOT / "tests/remedies/configs.yaml").read_text())
REMOVED = "(removed)"


def check(config):
    """Check a config as the Snakefile does, but for the defaults that it fills in."""
    config = catalogue.in_one_spelling(copy.deepcopy(config))
    schema_checks.check_config(config, SCHEMA)
    checks.check_references(catalogue.with_entries_made(config))


def with_values(config, changes):
    """A config with other values at the keys "section.entry.name"."""
    config = copy.deepcopy(config)
    for key, value in changes.items():
        *path, last = key.split(".")
        inner = config
        for name in path:
            inner = inner[int(name)] if isinstance(inner, list) else inner.setdefault(name, {})
        if value == REMOVED:
            del inner[last]
        else:
            inner[last] = value
    return config


@pytest.mark.parametrize(("message", "wrong", "ways_out"), ROWS, ids=[row[0][:70] for row in ROWS])
def test_each_way_out_makes_a_config_that_is_taken(message, wrong, ways_out):
    refused = with_values(STUDY, wrong)
    with pytest.raises(UserError) as caught:
        check(refused)
    assert says(str(caught.value), message), str(caught.value)
    assert ways_out
    for way_out in ways_out:
        check(with_values(refused, way_out))
