"""The thresholds of the claims: what the code takes them to be is what the config's schema says."""

import json
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from mcoherence.claims.settings import MEANINGS, ClaimSettings

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/config.schema.json").read_text())
THRESHOLDS = SCHEMA["properties"]["claims"]["properties"]


def test_every_threshold_of_the_config_has_a_meaning():
    assert set(MEANINGS) == set(THRESHOLDS)


def test_defaults_in_the_code_are_those_of_the_config():
    defaults = {one.name: one.default for one in fields(ClaimSettings) if one.name in MEANINGS}
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert {name: value for name, value in defaults.items() if value is not MISSING} == {
        name: one["default"] for name, one in THRESHOLDS.items() if "default" in one and defaults[name] is not MISSING
    }


def test_thresholds_have_the_numbers_of_the_config_several_as_a_list():
    settings = ClaimSettings(0.95, None, 0.9, {}, loss_levels=(0.5, 0.25))
    found = settings.thresholds()
    assert (found["loss_levels"], found["drop_steps"], found["delay_factor"]) == ([0.5, 0.25], 25, 1.25)
    assert "first_step" not in found  # each curve says it
    assert settings.delay == pytest.approx(0.321928)  # doublings: 2^0.321928 = 1.25
