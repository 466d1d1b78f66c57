"""The thresholds of the claims: what the code takes them to be is what the config's schema says."""

import json
from dataclasses import MISSING, fields
from pathlib import Path

from mcoherence.claims.settings import MEANINGS, ClaimSettings

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/config.schema.json").read_text())
THRESHOLDS = SCHEMA["properties"]["claims"]["properties"]


def test_every_threshold_of_the_config_has_a_meaning():
    assert set(MEANINGS) == set(THRESHOLDS)


def test_defaults_in_the_code_are_those_of_the_config():
    defaults = {one.name: one.default for one in fields(ClaimSettings) if one.name in MEANINGS}
    assert {name: value for name, value in defaults.items() if value is not MISSING} == {
        name: one["default"] for name, one in THRESHOLDS.items() if "default" in one and defaults[name] is not MISSING
    }
