"""Result files that are not those which the config asks for are refused, in one line that says why."""

import hashlib
from pathlib import Path

import pytest
import torch

from mcoherence.audit.origins import NoOriginError, read_provenance
from mcoherence.audit.result_checks import check_checkpoints, check_code, check_inputs, check_log, check_settings
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import Provenance, digest_of
from mcoherence.files.tensors import write_tensors
from mcoherence.training.state import TrainingState, write_state


def provenance(**inputs):
    return Provenance(settings={}, inputs=inputs, git_commit="c", device="cpu", versions={}, fp32_precision="ieee")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results/study"
    (folder / "data").mkdir(parents=True)
    (folder / "data/images.h5").write_bytes(b"images")
    (folder / "data/labels.h5").write_bytes(b"some labels")
    return folder


def test_settings_that_differ_name_the_key_both_values_and_the_way_out():
    with pytest.raises(UserError) as error:
        check_settings(
            "step8.safetensors", {"optimizer": {"lr": 0.3}, "seed": 0}, {"optimizer": {"lr": 0.2}, "seed": 0}
        )
    assert str(error.value).startswith("step8.safetensors: made with optimizer.lr 0.3, expected 0.2 as the config asks")
    assert "delete the file" in str(error.value)
    check_settings(
        "step8.safetensors", {"lr": 1, "sizes": [2]}, {"sizes": (2,), "lr": 1.0}
    )  # the same, otherwise written


def test_inputs_that_are_as_they_were_pass_and_are_counted(results):
    made = provenance(**{"results/study/data/images.h5": sha256(b"images"), "results/study/data/gone.h5": "anything"})
    assert check_inputs({"evaluation.h5": made}, results) == (1, 0)


def test_an_input_that_was_replaced_is_refused(results):
    made = provenance(**{"results/study/data/images.h5": sha256(b"older images")})
    with pytest.raises(UserError, match=r"evaluation.h5: made from another .*images.h5 than the one that is there now"):
        check_inputs({"evaluation.h5": made}, results)


def test_two_files_from_two_versions_of_an_input_are_refused_unread(results):
    files = {name: provenance(**{"results/study/data/images.h5": sha256(name.encode())}) for name in ("a.h5", "b.h5")}
    with pytest.raises(UserError, match=r"b.h5: made from another results/study/data/images.h5 than a.h5"):
        check_inputs(files, results, limit=0)


def test_inputs_beyond_the_limit_are_counted_and_not_read(results):
    names = {"results/study/data/images.h5": sha256(b"images"), "results/study/data/labels.h5": "not its hash"}
    assert check_inputs({"evaluation.h5": provenance(**names)}, results, limit=10) == (1, 1)
    with pytest.raises(UserError, match=r"labels\.h5"):
        check_inputs({"evaluation.h5": provenance(**names)}, results, limit=17)


def test_a_study_that_was_renamed_finds_its_inputs_under_its_new_name(results):
    made = provenance(**{"results/old_name/data/images.h5": sha256(b"images")})
    assert check_inputs({"evaluation.h5": made}, results) == (1, 0)


def test_a_measurement_of_another_run_or_of_fewer_checkpoints_is_refused(results):
    own = {results / f"runs/a/checkpoints/step{step}.safetensors" for step in (0, 8)}
    of_run = {f"results/study/runs/a/checkpoints/step{step}.safetensors": "x" for step in (0, 8)}
    check_checkpoints("runs/a/evaluation.h5", provenance(**of_run), own, results)
    with pytest.raises(
        UserError, match=r"evaluation.h5: not made from .*a/checkpoints/step8.safetensors, expected the 2"
    ):
        check_checkpoints("runs/a/evaluation.h5", provenance(**dict(list(of_run.items())[:1])), own, results)
    more = {"results/study/runs/A/checkpoints/step0.safetensors": "x"}
    with pytest.raises(UserError, match=r"evaluation.h5: made from .*A/checkpoints/step0.safetensors, expected the 2"):
        check_checkpoints("runs/a/evaluation.h5", provenance(**of_run, **more), own, results)


def test_the_provenance_is_read_from_attributes_and_a_file_without_is_refused(tmp_path):
    path = Path(tmp_path / "coherence.h5")
    attributes = {"settings": {"seed": 3}, "inputs": {"a": "b"}, "versions": {"torch": "2"}}
    write_hdf5(
        path, "mcoherence/test/1", {}, attributes | {"git_commit": "abc", "device": "cpu", "fp32_precision": "ieee"}
    )
    assert read_provenance(path) == Provenance({"seed": 3}, {"a": "b"}, "abc", {"torch": "2"}, "cpu", "ieee")
    write_hdf5(path, "mcoherence/test/1", {}, {"settings": {}})
    with pytest.raises(NoOriginError, match=r"coherence.h5: found nothing in it of what made it \(no 'inputs'\)"):
        read_provenance(path)  # whole, and so not called damaged
    for wrong in (tmp_path / "none.h5", tmp_path / "none.safetensors"):
        with pytest.raises(UserError, match="missing, damaged or not a result file"):
            read_provenance(wrong)


def test_content_that_is_not_what_its_seal_says_is_found_although_the_seal_is_the_recorded_one(results):
    """A large checkpoint is asked for its seal, which is in its header; within the limit its tensors are read too."""
    path = results / "data/step0.safetensors"
    write_tensors(path, {"weight": torch.arange(8.0)}, {})
    made = provenance(**{"results/study/data/step0.safetensors": digest_of(path)})
    assert check_inputs({"evaluation.h5": made}, results) == (1, 0)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert check_inputs({"evaluation.h5": made}, results, limit=10) == (0, 1)
    with pytest.raises(UserError, match=r"step0\.safetensors: damaged \(its tensors are not as they were written\)"):
        check_inputs({"evaluation.h5": made}, results)
    write_tensors(path, {"weight": torch.zeros(8)}, {})
    with pytest.raises(UserError, match=r"made from another .*step0\.safetensors than the one that is there now"):
        check_inputs({"evaluation.h5": made}, results, limit=10)


def test_a_training_log_that_was_edited_or_is_missing_is_refused(tmp_path):
    log, state = tmp_path / "training_log.csv", tmp_path / "update3.safetensors"
    log.write_text("step,epoch,loss\n0,0.0,2.5\n")
    write_state(state, TrainingState(3, {"w": torch.ones(1)}), log_sha256=sha256(log.read_bytes()))
    check_log(log, state)
    log.write_text("step,epoch,loss\n0,0.0,0.5\n")
    with pytest.raises(UserError, match=r"training_log\.csv: changed since .*; delete the file and run again$"):
        check_log(log, state)
    log.unlink()
    with pytest.raises(UserError, match=r"training_log\.csv: missing.*; run again$"):
        check_log(log, state)


def test_code_that_differs_is_named_and_the_way_out():
    check_code("step8.safetensors", "ab12", "ab12")
    with pytest.raises(UserError, match=r"step8\.safetensors: made by other code than the present one \(ab12\)"):
        check_code("step8.safetensors", "ab12", "ab13")
    with pytest.raises(UserError, match=r"\(it does not say which\), expected ab13; .*delete the file and run again"):
        check_code("step8.safetensors", "", "ab13")
