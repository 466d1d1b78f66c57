"""Result files that are not those which the config asks for are refused, in one line that says why."""

import hashlib

import pytest

from mcoherence.audit.result_checks import check_checkpoints, check_code, check_inputs, check_settings
from mcoherence.errors import UserError
from mcoherence.files.provenance import Provenance


def provenance(**inputs):
    return Provenance(settings={}, inputs=inputs, git_commit="c", device="cpu", versions={})


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


def test_code_that_differs_is_named_and_the_way_out():
    check_code("step8.safetensors", "ab12", "ab12")
    with pytest.raises(UserError, match=r"step8\.safetensors: made by other code than the present one \(ab12\)"):
        check_code("step8.safetensors", "ab12", "ab13")
    with pytest.raises(UserError, match=r"\(it does not say which\), expected ab13; .*delete the file and run again"):
        check_code("step8.safetensors", "", "ab13")
