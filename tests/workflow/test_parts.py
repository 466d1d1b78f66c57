"""A run measured and evaluated in parts: the same results, jobs that start early, and sizes that re-run nothing."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from mcoherence.files.hdf5 import read_hdf5
from mcoherence.study.result_names import EVALUATION_SCHEMA
from tests.workflow.conftest import copy_study

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]

RUN = "results/miniature/runs/digits/cnn/half_random/rm3/full/seed1"
RESULTS = (f"{RUN}/coherence.h5", f"{RUN}/evaluation.h5", f"{RUN}/contributions.h5")
ROOT = Path(__file__).parents[2]
SIZES = "operational: {checkpoints_per_job: 4, examples_per_shard: 40}\n"


def in_parts(workflow, sizes=SIZES, done="MEASURED|EVALUATED"):
    """The workflow with what is `done` in parts done in parts of these sizes, however small the study."""
    cutting = workflow.folder / "mcoherence/study/cutting.py"
    text = (ROOT / "mcoherence/study/cutting.py").read_text()
    cutting.write_text(re.sub(rf"\b({done})_IN_PARTS = [\d_]+", r"\1_IN_PARTS = 1", text))
    config = workflow.folder / "miniature.yaml"
    config.write_text(config.read_text().partition("operational")[0] + sizes)
    return workflow


@pytest.fixture(scope="module")
def parts(finished, tmp_path_factory):
    """A copy of the miniature study, one run of which is measured and evaluated again, in parts."""
    workflow = in_parts(copy_study(finished, tmp_path_factory.mktemp("parts") / "study"))
    for result in RESULTS:
        (workflow.folder / result).unlink()
    assert "train" not in workflow.planned(*RESULTS)
    answer = workflow.run("--cores", "2", "--", *RESULTS)
    assert answer.returncode == 0, answer.stdout[-5000:]
    return workflow


def test_the_results_are_those_of_one_job(parts, study):
    evaluations = [read_hdf5(one.folder / RESULTS[1], EVALUATION_SCHEMA) for one in (parts, study)]
    (datasets, attributes), (others, other_attributes) = evaluations
    assert datasets.keys() == others.keys()
    for name, values in datasets.items():
        np.testing.assert_array_equal(values, others[name])
    # to put parts together takes more code
    assert attributes.pop("code").startswith(other_attributes.pop("code"))
    assert attributes == other_attributes
    for result in (RESULTS[0], RESULTS[2]):
        with h5py.File(parts.folder / result) as joined, h5py.File(study.folder / result) as whole:
            for name in ("step", "n", "sample/index", "sample/group"):
                assert np.array_equal(joined[name], whole[name])
            for name in ("sum_sq_norm", "gram", "m_coherence", "m_coherence_model"):
                within = 1e-12 * np.nanmax(np.abs(whole[name]))
                np.testing.assert_allclose(joined[name], whole[name], rtol=0, atol=within)
            assert joined.attrs["inputs"] == whole.attrs["inputs"]
            assert joined.attrs["settings"] == whole.attrs["settings"]


def test_nothing_is_left_of_the_parts(parts):
    assert not [path for path in (parts.folder / RUN).rglob("parts/**/*") if path.is_file()]


@pytest.mark.parametrize(
    "sizes", ["", "operational: {checkpoints_per_job: 3}\n", "operational: {examples_per_shard: 60}\n", SIZES]
)
def test_other_sizes_re_run_nothing(parts, sizes):
    try:
        assert in_parts(parts, sizes).planned(*RESULTS) == {}
    finally:
        in_parts(parts)


def test_what_is_measured_again_is_measured_in_the_new_sizes(parts):
    config = parts.folder / "miniature.yaml"
    kept = config.read_text()
    config.write_text(kept.replace("sample_size: 50", "sample_size: 40").replace("job: 4", "job: 3"))
    try:
        assert parts.planned(RESULTS[0]) == {
            "measure_coherence_part": 3 * 2, "add_shards": 3, "join_measurement": 1, "measure_coherence": 1,
        }  # fmt: skip
    finally:
        config.write_text(kept)


def test_gradients_of_easy_and_hard_examples_are_measured_in_parts(parts):
    result = "results/miniature/runs/digits/cnn/clean/sgd/easy/seed10/difficulty_coherence.h5"
    more = ("--config", 'experiments=["label_noise","easy_hard","difficulty_coherence"]')
    in_parts(parts, SIZES.replace("40", "60"), done="MEASURED")  # not the runs that the difficulty is scored by
    # 7 checkpoints in blocks of 4; 120 examples at most in shards of 60
    assert parts.planned(result, arguments=more) == {
        "measure_difficulty_coherence_part": 2 * 2, "add_shards": 2, "join_measurement": 1,
        "measure_difficulty_coherence": 1,
    }  # fmt: skip
    answer = parts.run("--cores", "2", "--quiet", "reason", *more, "--", result)
    assert answer.returncode == 0, answer.stdout[-5000:]
    with h5py.File(parts.folder / result) as file:
        assert file["step"][:].tolist() == [0, 1, 2, 4, 6, 8, 12]
        assert (file["n"][:].sum(axis=1) == len(file["sample/index"])).all()
        assert (file["m_coherence_model"][:] > 0).all()
    assert parts.planned(result, arguments=more) == {}
    in_parts(parts)


def test_early_checkpoints_are_measured_while_later_segments_train(study_copy):
    """The part of the first checkpoints needs the first segment only, and can be made before there is a second."""
    workflow = in_parts(study_copy)
    shutil.rmtree(workflow.folder / RUN)
    plan = workflow.run("--dry-run", "--", RESULTS[0]).stdout
    first = re.search(rf"{RUN}/parts/coherence/\w+/steps0-4_shard0of2\.h5", plan)[0]
    last = first.replace("steps0-4", "steps6-12")
    assert workflow.planned(first)["train"] == 1
    assert "train_from_6" not in workflow.planned(first)
    assert workflow.planned(last)["train_from_6"] == 1
    answer = workflow.run("--cores", "2", "--quiet", "reason", "--", first)
    assert answer.returncode == 0, answer.stdout[-5000:]
    with h5py.File(workflow.folder / first) as file:
        assert file["step"][:].tolist() == [0, 1, 2, 4]
    assert [path.name for path in (workflow.folder / RUN / "state").glob("*.safetensors")] == ["update6.safetensors"]
