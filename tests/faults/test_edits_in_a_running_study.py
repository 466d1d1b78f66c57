"""Config and code edited at a drawn moment of a running study, and kept or taken back: the next start knows."""

import re
import time

import pytest

from tests.faults.bench import HANGS, drawn, few, new_study
from tests.faults.short_studies import CONFIGS
from tests.faults.test_killed_rules import begun, rules_of

pytestmark = [pytest.mark.slow, pytest.mark.sampled, pytest.mark.apart]


@pytest.mark.parametrize("number", range(few(4, 1)))
def test_the_files_at_the_end_are_those_of_the_config_and_the_code_of_the_last_start(fresh_study, tmp_path, number):
    draw = drawn(f"edits in a running study {number}")
    before, edited = draw.sample(CONFIGS, 2)
    kept = draw.random() < 0.5
    wanted = edited if kept else before
    expected = fresh_study(wanted).contents()
    rule = draw.choice(rules_of(fresh_study(wanted)))
    study = new_study(tmp_path / "study", "")
    before.ask_of(study)
    since = time.time()
    process = study.start()
    deadline = time.monotonic() + HANGS
    while process.poll() is None and begun(study, {rule}, since) is None:
        assert time.monotonic() < deadline, study.said()
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 0.5))
    edited.ask_of(study)
    status = process.wait(timeout=HANGS)
    refused = "edited since the study started|made by other code than the present one"
    assert status == 0 or re.search(refused, study.said()), study.said()
    assert "Traceback" not in study.said()
    wanted.ask_of(study)
    study.finish()
    have = study.contents()
    assert {name: have.get(name) for name in expected} == expected, (before, edited, kept, rule)
