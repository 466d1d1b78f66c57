"""A disk that is full or read-only, in the jobs of the rules that the miniature study has not.

tests/workflow has those of its own.
"""

from functools import partial

import pytest

from tests.faults.bench import SAMPLE
from tests.workflow.test_faults_of_the_machine import (
    BYTES,
    FULL,
    READ_ONLY,
    RULES,
    commands,
    job,
    mounted_read_only,
    needs_mounts,
    on_a_small_disk,
    refused,
)

pytestmark = pytest.mark.slow
# Of these one of a kind is enough, and it is among RULES.
ALIKE = ("draw_", "train_", "prepare_dataset_of_seed")
# The command of one writes nothing, Snakemake does; that of the other reads the catalogue of the study's own copy.
LEFT_OUT = {"report", "page"}


def others_of(study):
    """Rule -> command and arguments of one of its jobs, of the rules that are not among RULES."""
    found = commands(study)
    rules = {rule for rule in found if rule not in RULES and not rule.startswith(ALIKE)} - LEFT_OUT
    assert {"join_measurement", "measure_confusion", "measure_example_scores", "split_halves"} <= rules, found
    return {rule: found[rule] for rule in sorted(rules)}


@pytest.mark.skipif(SAMPLE, reason="of test-faults: the whole study")
def test_a_full_disk_is_one_line_and_after_it_the_bytes_are_the_same(whole_copy):
    before = whole_copy.contents()
    said = {}
    for rule, (name, arguments) in others_of(whole_copy).items():
        status, text = job(whole_copy.folder, name, arguments, BYTES)
        lines = [line for line in text.splitlines() if line.startswith("error: ")]
        if status != 1 or "Traceback" in text or len(lines) != 1 or "File too large" not in lines[0]:
            said[rule] = text
        if whole_copy.contents() != before:
            said[f"{rule} left something behind"] = text
        status, text = job(whole_copy.folder, name, arguments)
        if status != 0 or whole_copy.contents() != before:
            said[f"{rule} again"] = text
    assert said == {}


@needs_mounts
@pytest.mark.skipif(SAMPLE, reason="of test-faults: the whole study")
@pytest.mark.parametrize(
    ("expected", "disk"),
    [(FULL, partial(on_a_small_disk, room=0)), (READ_ONLY, mounted_read_only)],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_nothing_is_one_line(whole_copy, expected, disk):
    said = {}
    for rule, (name, arguments) in others_of(whole_copy).items():
        before = partial(disk, whole_copy.results)
        wrong = refused(whole_copy.folder, whole_copy.results, name, arguments, expected, whole_copy.contents, before)
        said |= {rule: wrong} if wrong else {}
    assert said == {}
