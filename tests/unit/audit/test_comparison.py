"""What files say of themselves beside what would be made now."""

from dataclasses import replace

import numpy as np
import pytest

from mcoherence.audit.comparison import UNKNOWN, Job, Told, in_words, misfit, told_by
from mcoherence.audit.origins import Origins
from mcoherence.files.canonical import canonical_json
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import Provenance, digest_of

RUN = "results/study/runs/digits/cnn/clean/sgd/full/seed0"
OUTPUT, IMAGES, STEP = f"{RUN}/evaluation.h5", "results/study/data/images.h5", f"{RUN}/step0.h5"
SETTINGS = {"seed": 0, "lr": 0.3}
JOB = Job("evaluate", [OUTPUT, f"{RUN}/log.csv"], [IMAGES, STEP], canonical_json(SETTINGS), "0123456789abcdef")


def write(path, origin, rows=1):
    write_hdf5(path, "mcoherence/test/1", {"x": np.zeros(rows)}, origin.as_attributes())


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder with two inputs and what was made from them; returns the origin of that."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / RUN
    for name in (IMAGES, STEP):
        write(tmp_path / name, Provenance({}, {}, "", {}, ""))
    inputs = {name: digest_of(tmp_path / name) for name in (IMAGES, STEP)}
    origin = Provenance(SETTINGS, inputs, "", {}, "cpu", code=JOB.code)
    write(folder / "evaluation.h5", origin)
    return origin


def told(tmp_path, job=JOB):
    return told_by(job, Origins(tmp_path / "kept.json"), (tmp_path / "results/study").relative_to(tmp_path))


def reason(tmp_path, job=JOB):
    return misfit(job, told(tmp_path, job)[OUTPUT])


def test_a_file_made_by_settings_code_and_inputs_of_now_fits(study, tmp_path):
    assert told(tmp_path) == {OUTPUT: Told(JOB.settings, JOB.code, ())}
    assert reason(tmp_path) == ""


def test_other_settings_and_other_code_are_named(study, tmp_path):
    write(tmp_path / OUTPUT, replace(study, settings={"seed": 0, "lr": 0.2}))
    assert reason(tmp_path) == "lr: 0.2 -> 0.3"
    write(tmp_path / OUTPUT, replace(study, settings={"seed": 1, "lr": 0.2}))
    assert reason(tmp_path) == "lr: 0.2 -> 0.3 and 1 more"
    write(tmp_path / OUTPUT, replace(study, code=""))
    assert reason(tmp_path) == "made by other code"


def test_an_input_that_was_replaced_left_out_or_added_is_named(study, tmp_path):
    write(tmp_path / STEP, study, rows=2)
    assert reason(tmp_path) == f"made from another {STEP} than is there now"
    (tmp_path / STEP).unlink()  # what was deleted since is no reason
    assert reason(tmp_path) == ""
    assert reason(tmp_path, replace(JOB, inputs=[*JOB.inputs, f"{RUN}/step8.h5"])) == f"made without {RUN}/step8.h5"
    assert reason(tmp_path, replace(JOB, inputs=[IMAGES])) == f"made from {STEP} besides"
    parts = [*JOB.inputs, f"{RUN}/parts/evaluation/0/whole.h5", "docs/captions/x.rst", f"{RUN}/claims.html"]
    assert reason(tmp_path, replace(JOB, inputs=parts)) == ""


def test_a_study_that_was_renamed_finds_its_inputs(study, tmp_path):
    (tmp_path / "results/study").rename(tmp_path / "results/other")
    renamed = replace(
        JOB, **{key: [name.replace("study", "other") for name in getattr(JOB, key)] for key in ("inputs", "outputs")}
    )
    found = told_by(renamed, Origins(tmp_path / "kept.json"), (tmp_path / "results/other").relative_to(tmp_path))
    assert [one.complaints for one in found.values()] == [()]


def test_a_damaged_file_says_so_and_a_missing_one_or_a_part_nothing(study, tmp_path):
    (tmp_path / OUTPUT).write_bytes(b"x")
    assert reason(tmp_path) == UNKNOWN
    (tmp_path / OUTPUT).unlink()
    assert told(tmp_path) == {}
    part = f"{RUN}/parts/evaluation/0/whole.h5"
    write(tmp_path / part, study)
    assert told(tmp_path, replace(JOB, outputs=[part])) == {}


def test_the_paragraph_counts_files_by_reason_and_rule():
    misfits = [("train", "lr: 0.3 -> 0.2", 7), ("train", "lr: 0.3 -> 0.2", 7), ("draw_a", "made by other code", 1)]
    first, *reasons = in_words(misfits).splitlines()
    assert first.startswith("15 files are not what would be made now, and are made again")
    assert reasons == ["    lr: 0.3 -> 0.2 (train 14)", "    made by other code (draw_a 1)"]
    assert in_words([]) == ""
    assert in_words(misfits[-1:], runs=False).startswith(
        "1 file is not what would be made now, and is kept all the same"
    )
    many = [(f"draw_{i}", "made by other code", 1) for i in range(9)]
    assert in_words(many).endswith("(draw_0 1, draw_1 1, draw_2 1, draw_3 1 and 5 more rules)")
    assert "and 3 more reasons" in in_words([("train", f"seed: {i}", 1) for i in range(9)])
