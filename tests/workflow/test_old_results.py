"""What files say of themselves decides what runs, whatever Snakemake's records and time stamps say, or do not."""

import os
import shutil
from contextlib import contextmanager

import pytest

from mcoherence.data.store import LABELS_SCHEMA
from mcoherence.files.hdf5 import read_hdf5, write_hdf5
from tests.workflow.conftest import copy_study
from tests.workflow.test_reruns import (
    AFTER_TRAINING,
    ALL_RUNS,
    CHECKED,
    CLAIMS,
    DRAW_COHERENCE,
    DRAW_TRAINING,
    EDITS,
    RECORDS,
    Edit,
    applied,
    trained,
)

pytestmark = [pytest.mark.slow, pytest.mark.apart, pytest.mark.one_in(3)]

BY_NAME = {edit.what: edit for edit in EDITS}
RATE, OPTIMIZER = BY_NAME["the rate of one optimiser"], BY_NAME["an unused line in one optimiser"]
NETWORK = BY_NAME["an unused line in one network, which all runs use"]
EVALUATION = BY_NAME["the code of the evaluation"]
STATE, RESULT = "state=expand(", 'result=f"{RUN}/{name}.h5"'  # outputs of two rules
WITHOUT_RECORDS = (
    RATE, OPTIMIZER, EVALUATION, BY_NAME["the share that is called easy"], BY_NAME["the code of one table"],
    BY_NAME["a figure's colour"], BY_NAME["a threshold of one claim"],
    BY_NAME["a section of an experiment that the study does not make"],
)  # fmt: skip
RUN = "runs/digits/cnn/half_random/rm3/full/seed0"
A_RUN = trained(1) | {"evaluate": 1, "measure_coherence": 1, "measure_contributions": 1}  # on partly random labels
AFTER_A_RUN = {"tabulate": 8} | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS


@contextmanager
def away(*paths):
    """Files and folders that are not there inside the block."""
    kept = [(path, path.with_name(f"{path.name}.away")) for path in paths]
    for path, other in kept:
        path.rename(other)
    try:
        yield
    finally:
        for path, other in kept:
            shutil.rmtree(path, ignore_errors=True)
            other.rename(path)


@contextmanager
def replaced(path, other):
    """The bytes of another file in place of a file's inside the block, with the same time stamps."""
    kept, stamp = path.read_bytes(), path.stat()
    for content in (other.read_bytes(), kept):
        path.write_bytes(content)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        if content is not kept:
            yield


@pytest.fixture(scope="module")
def without_records(finished, tmp_path_factory):
    """A copy of the finished study as it was made, time stamps included, without Snakemake's records."""
    copied = copy_study(finished, tmp_path_factory.mktemp("copied") / "study")
    shutil.rmtree(copied.folder / RECORDS)
    return copied


@pytest.mark.parametrize("edit", WITHOUT_RECORDS, ids=lambda edit: edit.what)
def test_results_that_were_copied_without_records_run_the_same_jobs_after_an_edit(without_records, edit):
    with applied(edit, without_records.folder):
        assert without_records.planned() == edit.jobs


def test_touch_makes_nothing_fresh(study):
    with applied(RATE, study.folder):
        answer = study.run("--touch", "--cores", "1", "--quiet", "all")
        assert answer.returncode == 0, answer.stdout
        assert study.planned() == RATE.jobs
        said = study.run("--dry-run", "--quiet", "reason").stdout
    # of the first segment, five checkpoints and a state; what follows from them is not counted
    assert "24 files are not what would be made now, and are made again" in said
    assert "    optimizer.lr: 0.3 -> 0.2 (train 24)\n" in said
    assert study.planned() == {}


@pytest.mark.parametrize(
    ("rule", "edit"),
    [
        (Edit("", "rules/train.smk", STATE, f'more=f"{{RUN}}/more_{{stop}}.csv", {STATE}', {}), NETWORK),
        (Edit("", "rules/measure.smk", RESULT, f'{RESULT}, more=f"{{RUN}}/{{name}}.csv"', {}), EVALUATION),
    ],
    ids=["train", "evaluate"],
)  # fmt: skip
def test_a_rule_that_gained_an_output_runs_where_its_code_was_edited_and_else_does_not(study, rule, edit):
    with applied(rule, study.folder):
        assert study.planned() == {}
        with applied(edit, study.folder):
            assert study.planned() == edit.jobs


def test_another_length_of_segments_trains_again_with_what_was_edited_beside_it(study):
    segments = {"train": ALL_RUNS, "train_from_4": ALL_RUNS, "train_from_8": ALL_RUNS}
    shorter = Edit("", "miniature.yaml", "segment_updates: 6", "segment_updates: 4", {})
    with applied(shorter, study.folder), applied(RATE, study.folder):
        assert study.planned() == segments | AFTER_TRAINING


def test_fewer_updates_train_the_segment_again_that_becomes_shorter(study):
    with applied(Edit("", "miniature.yaml", "updates: 12", "updates: 8", {}), study.folder):
        assert study.planned() == {"train": 6, "train_from_6": ALL_RUNS} | AFTER_TRAINING


@pytest.mark.parametrize(
    ("names", "jobs"),
    [
        ([f"{RUN}/checkpoints/step6.safetensors"], A_RUN | AFTER_A_RUN),
        ([f"{RUN}/evaluation.h5"], {"evaluate": 1, "tabulate": 5} | DRAW_TRAINING | CLAIMS),
        (["figures/easy_hard.pdf"], {"draw_easy_hard": 1, "describe_study": 1, "page": 1, "report": 1}),
        (["tables/learning_time.csv"], {"tabulate": 1} | CLAIMS),
        (["checks"], {}),
        (["tables/dictionary.csv", "report.html"], {"describe_study": 1, "page": 1, "report": 1}),
    ],
    ids=["checkpoint", "evaluation", "figure", "table", "check", "report"],
)  # fmt: skip
def test_a_file_that_was_deleted_is_made_again(study, names, jobs):
    with away(*(study.results / name for name in names)):
        assert study.planned() == jobs


def test_a_study_from_before_networks_were_checked_trains_what_is_new_alone(study):
    more = BY_NAME["one seed of the label-noise experiment"]
    with away(study.results / "checks"), applied(more, study.folder):
        assert study.planned() == CHECKED | more.jobs


def test_a_checkpoint_of_other_settings_among_its_siblings_trains_the_segment_again(study):
    run, other = (study.results / RUN.replace("rm3", name) for name in ("rm3", "sgd"))
    with replaced(run / "checkpoints/step12.safetensors", other / "checkpoints/step12.safetensors"):
        assert study.planned() == {rule: jobs for rule, jobs in (A_RUN | AFTER_A_RUN).items() if rule != "train"}


def test_what_was_made_from_another_input_than_is_there_now_is_made_again_and_named(study, tmp_path):
    name = "results/miniature/data/digits/labels/half_random/seed1/labels.h5"
    path, other = study.folder / name, tmp_path / "labels.h5"
    datasets, attributes = read_hdf5(path, LABELS_SCHEMA)
    datasets["labels"][0] = (datasets["labels"][0] + 1) % 10
    write_hdf5(other, LABELS_SCHEMA, datasets, attributes)
    with replaced(path, other):
        said = study.run("--dry-run", "--quiet", "reason").stdout
    assert f"    made from another {name} than is there now (train 18)\n" in said  # of three optimisers


def test_a_job_that_parses_the_workflow_refuses_what_was_edited_since_the_start(study_copy):
    file = f"results/miniature/{RUN}/evaluation.h5"
    asked = ("--mode", "remote", "--nolock", "--dry-run", "--quiet", "all", "--", file)
    assert study_copy.run(*asked).returncode == 0
    line = "error: the config (optimizers.rm3.lr: 0.3 -> 0.2): edited since the study started; "
    with applied(RATE, study_copy.folder):
        answer = study_copy.run(*asked)
    assert answer.returncode == 1
    assert line in answer.stdout
