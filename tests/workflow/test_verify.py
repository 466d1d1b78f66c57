"""`mcoherence verify` of a whole study: one line where all is right, and one for each damaged file where it is not."""

import json
import shutil

import h5py
import pytest

from mcoherence.command.main import main
from mcoherence.files.hdf5 import read_hdf5, write_hdf5
from mcoherence.study.result_names import EVALUATION_SCHEMA

pytestmark = [pytest.mark.slow, pytest.mark.apart]
RUN = "runs/digits/cnn/half_random/rm3/full/seed0"


def changed_byte(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def copied_evaluation(results):
    shutil.copy2(results / RUN.replace("rm3", "sgd") / "evaluation.h5", results / RUN / "evaluation.h5")


def sealed_again(results):
    """The labels of a run, other ones, with seals that are right."""
    path = results / "data/digits/labels/half_random/seed1/labels.h5"
    with h5py.File(path) as file:
        schema = file.attrs["schema"]
    datasets, attributes = read_hdf5(path, schema)
    datasets["labels"][0] = (datasets["labels"][0] + 1) % 10
    write_hdf5(path, schema, datasets, attributes)


def other_code(results):
    path = results / RUN.replace("seed0", "seed1") / "evaluation.h5"
    datasets, attributes = read_hdf5(path, EVALUATION_SCHEMA)
    write_hdf5(path, EVALUATION_SCHEMA, datasets, attributes | {"code": "0123456789abcdef"})


# what is done to the study -> (the file that a line names, what the line says)
DAMAGE = {
    "a checkpoint with other weights": (
        lambda results: changed_byte(results / RUN / "checkpoints/step12.safetensors", -1),
        f"{RUN}/checkpoints/step12.safetensors: damaged",
    ),
    "a result of another run": (copied_evaluation, f"{RUN}/evaluation.h5: not made from "),
    "a damaged result": (
        lambda results: changed_byte(results / RUN / "coherence.h5", 3000),
        f"{RUN}/coherence.h5: missing, damaged or not a result file",
    ),
    "a missing result": (
        lambda results: (results / "splits/digits/cnn/split.h5").unlink(),
        "splits/digits/cnn/split.h5: missing",
    ),
    "an edited log": (
        lambda results: edited(results / RUN / "training_log.csv", "\n1,", "\n1,0"),
        f"{RUN}/training_log.csv: changed since it was made",
    ),
    "a damaged state": (
        lambda results: changed_byte(results / RUN / "state/update6.safetensors", -1),
        f"{RUN}/state/update6.safetensors: damaged",
    ),
    "other labels, sealed again": (sealed_again, "made from another "),
    "code of another version": (other_code, "evaluation.h5: made by other code (0123456789abcdef) than "),
    "an edited table": (
        lambda results: edited(results / "tables/accuracy.csv", "0.", "1."),
        "tables/accuracy.csv: changed since it was made",
    ),
    "an edited figure": (
        lambda results: changed_byte(results / "figures/summary.pdf", 500),
        "figures/summary.pdf: changed since it was drawn",
    ),
    "an edited page of claims": (
        lambda results: edited(results / "claims.html", "supported", "refuted"),
        "claims.html: changed since it was made",
    ),
    "an edited page about the study": (
        lambda results: edited(results / "study.html", "digits", "figits"),
        "study.html: changed since it was made",
    ),
    "an edited front page": (
        lambda results: edited(results / "index.html", " tested, ", " doubted, "),
        "index.html: changed since it was made",
    ),
}


def said(capsys, *arguments):
    capsys.readouterr()
    status = main(["verify", *map(str, arguments)])
    return status, capsys.readouterr().out.splitlines()


def test_a_finished_study_is_verified_wherever_it_lies_and_every_damage_is_a_line(study_copy, tmp_path, capsys):
    results = tmp_path / "above/elsewhere"
    results.parent.mkdir()
    shutil.move(study_copy.results, results)
    status, (line,) = said(capsys, results.parent)
    assert status == 0
    assert line.startswith(f"{results}: ")
    assert "files as written and as config.json asks" in line
    for damage, _ in DAMAGE.values():
        damage(results)
    status, lines = said(capsys, results)
    assert status == 1
    for name, (_, message) in DAMAGE.items():
        assert any(message in line for line in lines), name
    assert all(line.startswith(f"{results}/") for line in lines)


def test_settings_other_than_the_configs_are_found(study_copy, capsys):
    path = study_copy.results / "config.json"
    config = json.loads(path.read_text())
    config["optimizers"]["rm3"]["lr"] = 0.2
    path.write_text(json.dumps(config))
    status, lines = said(capsys, study_copy.results)
    assert status == 1
    assert any("config.json: changed since it was made" in line for line in lines)
    assert any("made with optimizer.lr 0.3, expected 0.2 as the config asks" in line for line in lines)
