"""What training asks for by the config's own words grows with every try, so it must be a number."""

import json
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.study.growing import GROWING, amount

KEY = "operational.training_resources"
SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/config.schema.json").read_text())


@pytest.mark.parametrize(
    ("value", "minutes"),
    [(240, 240), ("240", 240), ("90m", 90), ("4h", 240), ("1.5h", 90), ("2 d", 2880), ("1w", 10080)],
)
def test_runtime_is_minutes_however_it_is_written(value, minutes):
    assert amount("runtime", value) == minutes


@pytest.mark.parametrize("value", ["soon", "0", 0, "-5", "4 hours long", "1:30", "", "0.2m"])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(UserError) as caught:
        amount("runtime", value)
    assert str(caught.value) == (
        f"{KEY}.runtime: found {value!r}, expected minutes, such as 240, or hours or days, such as 4h or 2d"
    )


def test_memory_is_megabytes():
    assert amount("mem_mb", "16000") == amount("mem_mb", 16000) == 16000
    with pytest.raises(UserError, match=f"{KEY}.disk_mb: found '16GB', expected a whole number of megabytes"):
        amount("disk_mb", "16GB")


def test_the_schema_says_what_grows():
    said = SCHEMA["properties"]["operational"]["properties"]["training_resources"]["description"]
    assert "as much again of runtime, mem_mb, mem_mb_per_cpu and disk_mb" in said
    assert set(GROWING) == {"runtime", "mem_mb", "mem_mb_per_cpu", "disk_mb"}
