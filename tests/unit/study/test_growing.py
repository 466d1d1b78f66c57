"""What training asks for by the config's own words grows with every try, so it must be a number."""

import json
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from mcoherence.study.growing import GROWING, amount, held_to_node, minutes_in_group

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


@pytest.mark.parametrize("at_once", [0, 1, 2, 8, 64])
@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_a_group_never_takes_longer_than_a_node_allows(attempt, at_once):
    minutes = minutes_in_group(attempt, 60, 1440, jobs=13, levels=2, at_once=at_once)
    # Nine tables of files, then four of these: rounds of each, one after the other.
    rounds = -(-9 // max(1, at_once)) + -(-4 // max(1, at_once))
    assert 1 <= minutes <= attempt * 60
    assert minutes * rounds <= 1440
    if at_once >= 8:
        assert minutes == attempt * 60  # nothing is held down that need not be


def test_without_a_node_each_try_has_as_much_again():
    assert minutes_in_group(3, 60, None, jobs=13, levels=2, at_once=1) == 180


@pytest.mark.parametrize(
    ("given", "cpus", "per_cpu"),
    [
        ({"cpus_per_task": 14}, 8, 8000),
        ({"cpus_per_task": "4"}, "4", 16000),
        ({"mem_mb_per_cpu": 4000}, None, 32000),  # of two ranks with a core each
    ],
)
def test_cores_and_memory_by_the_core_are_those_of_a_node_at_most(given, cpus, per_cpu):
    held, most = held_to_node(given, ranks=2, cores=8, memory=64000)
    assert (held.get("cpus_per_task"), most) == (cpus, per_cpu)
    assert held_to_node(given, ranks=2, cores=None, memory=None) == (given, None)
