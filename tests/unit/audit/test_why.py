"""What changed since a job ran last, in words."""

import json
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest

from mcoherence.audit.why import LastRun, PlannedJob, causes, explain, last_run, record_code, recorded_code

MODULES = {"mcoherence.training.loop": "1", "mcoherence.optim.descent": "2"}
LAST = LastRun(settings={"optimizer": {"lr": 0.3}, "seed": 0}, digests=("d",), input=frozenset({"images.h5"}))
JOB = PlannedJob("train", ["step0", "step8"], ["images.h5"], {"optimizer": {"lr": 0.3}, "seed": 0}, MODULES, ("d",), "")


def test_a_setting_by_its_key_and_both_values():
    job = replace(JOB, settings={"optimizer": {"lr": 0.2}, "seed": 0})
    assert causes(job, LAST, MODULES, []) == ["optimizer.lr: 0.3 -> 0.2"]


def test_the_modules_that_were_edited_added_and_removed():
    known = {"mcoherence.training.loop": "1", "mcoherence.optim.descent": "old", "mcoherence.gone": "3"}
    assert causes(replace(JOB, modules=MODULES | {"mcoherence.fresh": "4"}, digests=("e",)), LAST, known, []) == [
        "code edited: mcoherence.optim.descent",
        "code imported besides: mcoherence.fresh",
        "code no longer imported: mcoherence.gone",
    ]


def test_code_that_is_not_on_record_is_said_to_be_so():
    (line,) = causes(replace(JOB, digests=("e",)), LAST, None, [])
    assert "not on record" in line
    assert causes(JOB, LAST, None, []) == []  # but the digest says that nothing was edited


def test_files_missing_new_and_newer():
    assert causes(JOB, None, None, ["step0", "step8"]) == ["never made before"]
    assert causes(JOB, LAST, MODULES, ["step8"]) == ["missing: step8"]
    assert causes(replace(JOB, input=["images.h5", "split.h5"]), LAST, MODULES, []) == ["another input: split.h5"]
    assert causes(replace(JOB, input=[]), LAST, MODULES, []) == ["an input less: images.h5"]
    settings = {"optimizer": {"lr": 0.3}, "seed": 1}  # a setting that changed explains other inputs
    assert causes(replace(JOB, input=["split.h5"], settings=settings), LAST, MODULES, []) == ["seed: 0 -> 1"]
    newer = replace(JOB, reason="Updated input files: images.h5; Params have changed since last execution")
    assert causes(newer, LAST, MODULES, []) == ["newer input: images.h5"]


def test_a_job_that_only_follows_another_has_no_cause_of_its_own():
    assert causes(replace(JOB, reason="Input files updated by another job: images.h5"), LAST, MODULES, []) == []


def test_snakemakes_own_reasons_are_passed_on():
    for reason, line in (
        ("Forced execution", "forced execution"),
        ("Code has changed since last execution", "the command of the rule was edited"),
        ("Params have changed since last execution", "another param of the rule"),
    ):
        assert causes(replace(JOB, reason=reason), LAST, MODULES, []) == [line]


def test_the_text_groups_jobs_by_cause_and_ends_with_those_that_follow():
    follower = replace(JOB, rule="evaluate")
    jobs = [(JOB, ["lr: 1 -> 2"]), (replace(JOB, rule="train_from_6"), ["lr: 1 -> 2"]), (JOB, ["lr: 1 -> 2"])]
    assert explain([*jobs, (follower, []), (follower, [])]) == (
        "5 jobs would run.\n\ntrain (2), train_from_6 (1)\n    lr: 1 -> 2\n\nevaluate (2)\n"
        "    only because jobs above make their input again\n"
    )
    assert explain([]).startswith("Nothing would run")


def test_the_modules_of_a_digest_are_kept_and_read_back(tmp_path):
    record_code(tmp_path / "code", "d1", {"a": "1"})
    record_code(tmp_path / "code", "d2", {"b": "2"})
    record_code(tmp_path / "code", "d1", {"never": "rewritten"})
    assert recorded_code(tmp_path / "code", ["d1", "d2"]) == {"a": "1", "b": "2"}
    assert recorded_code(tmp_path / "code", ["d1", "d3"]) is None


@pytest.mark.parametrize("output", ["results/a.h5", "results/" + "long/" * 60 + "a.h5"], ids=["short", "long"])
def test_snakemakes_record_of_a_file_is_read(tmp_path, output):
    name = urlsafe_b64encode(output.encode()).decode()
    pieces = [name[i : i + 254] for i in range(0, len(name), 254)]
    path = tmp_path.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    params = [repr('{"lr":0.3}'), repr("0123456789abcdef" * 2), repr("results/benchmarks"), "3"]
    path.write_text(json.dumps({"params": params, "input": ["images.h5"]}))
    assert last_run(output, tmp_path) == LastRun({"lr": 0.3}, ("0123456789abcdef",) * 2, frozenset({"images.h5"}))
    assert last_run("results/other.h5", tmp_path) is None
