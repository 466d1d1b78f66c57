"""A full disk in the jobs of the rules that the miniature study has not; tests/workflow has those of its own."""

import pytest

from tests.faults.bench import SAMPLE
from tests.workflow.test_faults_of_the_machine import BYTES, RULES, commands, job

pytestmark = pytest.mark.slow
# Of these one of a kind is enough, and it is among RULES.
ALIKE = ("draw_", "train_", "prepare_dataset_of_seed")
# The command of one writes nothing, Snakemake does; that of the other reads the catalogue of the study's own copy.
LEFT_OUT = {"report", "page"}


@pytest.mark.skipif(SAMPLE, reason="of test-faults: the whole study")
def test_a_full_disk_is_one_line_and_after_it_the_bytes_are_the_same(whole_copy):
    found = commands(whole_copy)
    others = {rule for rule in found if rule not in RULES and not rule.startswith(ALIKE)} - LEFT_OUT
    assert {"join_measurement", "measure_confusion", "measure_example_scores", "split_halves"} <= others, found
    before = whole_copy.contents()
    said = {}
    for rule in sorted(others):
        name, arguments = found[rule]
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
