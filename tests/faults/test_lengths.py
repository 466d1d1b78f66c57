"""Lengths, segments and checkpoints that change, with other edits or without, always end in the study asked for.

A study goes from one config to the next in one folder, in which nothing is ever deleted. After every step its files are
those of the same config run in a fresh folder, and what was trained is what the files of before did not hold.
"""

import re
from itertools import permutations

import pytest

from mcoherence.audit.origins import read_provenance
from tests.faults.bench import SAMPLE, Study, drawn, few
from tests.faults.short_studies import CONFIGS

pytestmark = [pytest.mark.slow, pytest.mark.sampled, pytest.mark.apart]

STEPS = list(permutations(CONFIGS, 2))
WALKS = few(3, 1)  # at the same time, where there are workers
LENGTH = few(len(STEPS) // WALKS + 1, 2)


def walk(number):
    """Configs one after the other; all walks together make every step between two of them."""
    draw = drawn("lengths")
    left = draw.sample(STEPS, len(STEPS))
    walks = []
    for _ in range(WALKS):
        here = [left[0][0] if walks else CONFIGS[0]]
        while len(here) <= LENGTH and left:
            step = next((step for step in left if step[0] == here[-1]), None)
            if step is None:  # by steps that were made
                here.append(left[0][0])
                continue
            left.remove(step)
            here.append(step[1])
        walks.append(here)
    assert SAMPLE or not left, left
    return walks[number]


def segments_to_train(fresh: Study, study: Study) -> set[str]:
    """The segments, in words, that a study must train to become the fresh one: those of which it lacks a file, or has
    one of other bytes, and those that follow from them."""
    have, segments, lacking = study.contents(), {}, set()
    for name, digest in fresh.contents().items():
        if name.endswith(".safetensors"):
            settings = read_provenance(fresh.results / name).settings
            run, start = settings["run"], settings["start"]
            segments[run["labels"], run["optimizer"], start] = (
                f"Train {run['model']} on {run['labels']} labels ({run['subset']}) with {run['optimizer']}, seed "
                f"{run['seed']}, updates {start} to {settings['stop']}"
            )
            if have.get(name) != digest:
                lacking.add((run["labels"], run["optimizer"], start))
    runs = {
        (labels, optimizer, later)
        for labels, optimizer, later in segments
        if any((labels, optimizer, start) in lacking for start in range(later + 1))
        or (optimizer == "after" and any(one[:2] == ("half_random", "first") for one in lacking))
    }
    return {segments[one] for one in runs}


@pytest.mark.parametrize("number", range(WALKS))
def test_every_config_ends_in_its_own_study_whatever_was_there_before(number, fresh_study, tmp_path):
    first, *others = walk(number)
    study, draw = fresh_study(first).copy(tmp_path / "study"), drawn(f"reports of {number}")
    for asked in others:
        asked.ask_of(study)
        expected = fresh_study(asked)
        to_train = segments_to_train(expected, study)
        to_report = asked is others[-1] or draw.random() < 0.2
        # Most end before Snakemake writes the report, which takes it as long as the rest, but with all of its checks.
        said = study.finish() if to_report else study.finish("--", "results/bench/study.html")
        wanted, have = expected.contents(), study.contents()
        assert {name: have.get(name) for name in wanted} == wanted, asked
        assert set(re.findall(r"^\S+ \[ *\d+/\d+\] (Train .*) \(.*\)$", said, flags=re.MULTILINE)) == to_train, asked
        report, claims = (study.results / name for name in ("report.html", "claims.json"))
        assert not to_report or report.stat().st_mtime_ns > claims.stat().st_mtime_ns
    assert "Nothing to be done" in study.finish()
