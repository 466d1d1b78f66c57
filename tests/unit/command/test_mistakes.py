"""A user's mistake is one line that names the option or the file, status 1, and no file."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mcoherence.command.main import main, parser
from mcoherence.data.store import LABELS_SCHEMA
from mcoherence.files.hdf5 import read_attributes, write_hdf5

from .conftest import FOLDER, NETWORK, QUICK

MODEL, WEIGHTS, PHOTOS = NETWORK[:2], NETWORK[2:], FOLDER[:2]


@pytest.fixture
def wrong(place):
    """Wrong files beside the right ones."""
    state = torch.load("weights.pt", weights_only=True)
    torch.save({name: value for name, value in state.items() if name != "4.bias"}, "partial.pt")
    torch.save(dict(state, **{"4.bias": torch.zeros(7)}), "other_shape.pt")
    torch.save(dict(state, **{"4.bias": torch.full((3,), torch.nan)}), "diverged.pt")
    torch.save(place.model, "pickled.pt")
    torch.save({"epoch": 3}, "nothing.pt")
    torch.save({name: value.to(torch.int8) for name, value in state.items()}, "quantised.pt")
    (place.folder / "table.csv").write_text("a,b\n1,2\n")
    (place.folder / "text.pt").write_text("no weights")
    (place.folder / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (place.folder / "names.txt").write_text("class0\nclass1\n")
    for part in ("train", "val"):
        shutil.copytree("photos", f"both/{part}", dirs_exist_ok=True)
    shutil.copytree("photos", "broken", dirs_exist_ok=True)
    (place.folder / "broken/class1/04.png").write_bytes(b"no picture")
    (place.folder / "empty").mkdir(exist_ok=True)
    with h5py.File(place.folder / "strange.h5", "w") as strange:
        strange["a"] = [1.0]
    labels = {name: np.zeros(3, dtype=np.int64) for name in ("labels", "original")}
    masks = {name: np.zeros(3, dtype=np.bool_) for name in ("selected", "changed")}
    write_hdf5(place.folder / "labels.h5", LABELS_SCHEMA, labels | masks, {})
    return place


CASES = {
    "no model": ((*WEIGHTS, *FOLDER), "--model: found none, and weights.pt is no checkpoint of a study"),
    "no module": (("--model", "nowhere:net", *WEIGHTS, *FOLDER), "--model: found 'nowhere:net', but no nowhere.py"),
    "no function": (("--model", "command_user:other", *WEIGHTS, *FOLDER), "but nothing called other in"),
    "no name": (("--model", "resnet18", *WEIGHTS, *FOLDER), "--model: found 'resnet18', expected module:function"),
    "no network": (("--model", "command_user:nothing", *WEIGHTS, *FOLDER), "command_user:nothing: found a int,"),
    "other options": ((*NETWORK, "--model-options", "depth=3", *FOLDER), "cannot be called with the options"),
    "no option": ((*NETWORK, "--model-options", "depth", *FOLDER), "found 'depth', expected KEY=VALUE"),
    "other width": ((*NETWORK, "--model-options", "width=8", *FOLDER), "weights.pt: found 0.weight of shape [4, 3,"),
    "no weights": ((*MODEL, "--weights", "no.pt", *FOLDER), "no.pt: not found"),
    "some weights": ((*MODEL, "--weights", "partial.pt", *FOLDER), "partial.pt: found weights of another network: 1"),
    "other shape": ((*MODEL, "--weights", "other_shape.pt", *FOLDER), "other_shape.pt: found 4.bias of shape [7]"),
    "diverged": ((*MODEL, "--weights", "diverged.pt", *FOLDER), "diverged.pt: found 4.bias with values that are not"),
    "pickled": ((*MODEL, "--weights", "pickled.pt", *FOLDER), "pickled.pt: found something else than tensors, which"),
    "no tensors": ((*MODEL, "--weights", "nothing.pt", *FOLDER), "nothing.pt: found a dict without a state_dict in it"),
    "quantised": ((*MODEL, "--weights", "quantised.pt", *FOLDER), "quantised.pt: found 0.weight of type int8,"),
    "a folder": ((*MODEL, "--weights", "photos", *FOLDER), "photos: found a folder, expected a file"),
    "text": ((*MODEL, "--weights", "text.pt", *FOLDER), "text.pt: found something else than tensors"),
    "cut": ((*MODEL, "--weights", "cut.safetensors", *FOLDER), "cut.safetensors: damaged, or no safetensors"),
    "no data": ((*NETWORK, "--data", "nowhere"), "--data: found 'nowhere', which is no folder, no file and no mod"),
    "both parts": ((*NETWORK, "--data", "both"), "both: found the folders train and val, expected one folder of"),
    "no classes": ((*NETWORK, "--data", "empty"), "empty: found no folders, expected one folder of images per class"),
    "no picture": ((*NETWORK, "--data", "broken", *FOLDER[2:]), "found 1 images that do not decode:"),
    "too few names": ((*NETWORK, *FOLDER, "--class-names", "names.txt"), "photos: found the folder class2, which"),
    "another size": ((*NETWORK, *PHOTOS, "--size", 16, "--resize", 16), "photos: found [2, 3, 16, 16] of float32,"),
    "small resize": ((*NETWORK, *PHOTOS, "--resize", 8), "--resize: found 8, expected at least the 224 of --size"),
    "classes": (
        (*MODEL, "--model-options", "classes=5", "--weights", "five.pt", *FOLDER),
        "photos: found 3 classes and a network of 5 outputs, expected as many",
    ),
    "not an h5": ((*NETWORK, "--data", "names.txt"), "names.txt: found nothing in it that says mcoherence wrote it"),
    "too many": ((*NETWORK, *FOLDER, "--sample", 13), "--sample: found 13, expected at most the 12 examples of photos"),
    "no number": ((*NETWORK, *FOLDER, "--std", "nan", 1, 1), "--mean, --std: found (0.485, 0.456, 0.406), (nan, 1.0,"),
    "other h5": ((*NETWORK, "--data", "labels.h5"), "expected mcoherence/images/2; it is a file of another kind"),
    "other labels": ((*NETWORK, *FOLDER, "--labels", "labels.h5"), "--labels: found labels of 3 examples that are"),
    "no changed": ((*NETWORK, *FOLDER, "--groups", "changed"), "--groups changed: found nothing in photos that says"),
    "a loss": ((*NETWORK, *FOLDER, "--loss", "command_user:mean_loss"), "--loss: found [] of float32 for 2 examples"),
    "no batches": ((*NETWORK, "--data", "command_user:singles"), "command_user:singles: found a batch that is a"),
    "unpaired": ((*NETWORK, "--data", "command_user:unpaired"), "command_user:unpaired: targets: found 3 of them"),
    "a label": (
        (*NETWORK, "--data", "command_user:with_label", "--data-options", "label=7"),
        "command_user:with_label: found the label 7, which none of the 3 outputs stands for",
    ),
    "below": (
        (*NETWORK, "--data", "command_user:with_label", "--data-options", "label=-1"),
        "command_user:with_label: found the label -1, which none",
    ),
    "breaking": ((*NETWORK, "--data", "command_user:breaking"), "found KeyError: 'photo 17' in breaking, expected"),
    "a later loss": (
        (*NETWORK, "--data", "command_user:batches", "--loss", "command_user:loss_of_few"),
        "found ValueError: no third class in loss_of_few, expected none",
    ),
    "a later size": ((*NETWORK, "--data", "command_user:of_other_sizes"), "--data: found inputs that the network fail"),
    "in a worker": (
        (*NETWORK, "--data", "command_user:from_a_worker"),
        "found OSError: photo 2 is gone in __getitem__, expected none",
    ),
    "detached": ((*NETWORK, *FOLDER, "--loss", "command_user:detached"), "--loss: found losses that do not depend on"),
    "lazy": (("--model", "command_user:lazy", *WEIGHTS, *FOLDER), "command_user:lazy: found 1.weight without a shape"),
    "no name of data": ((*NETWORK, "--data", ""), "--data: found '', which is no folder"),
    "shuffled": ((*NETWORK, "--data", "command_user:shuffled"), "command_user:shuffled: found other batches than"),
    "sample": ((*NETWORK, "--data", "command_user:batches", "--sample", 3), "--sample: found it with a function"),
    "shard": ((*NETWORK, *FOLDER, "--shard", "3/2"), "found '3/2', expected I/N with I from 1 to N"),
    "shards": ((*NETWORK, *FOLDER, "--shard", "3/20"), "--shard: found 20 shards of 12 examples"),
    "steps": ((*NETWORK, *FOLDER, "--steps", 1, 2), "--steps: found [1, 2], expected 1 ascending numbers"),
    "batch": ((*NETWORK, *FOLDER, "--batch-size", 0), "--batch-size: found 0, expected 1 or more"),
    "device": ((*NETWORK, *FOLDER, "--device", "tpu"), "device: found 'tpu', expected one that this machine has"),
    "out": ((*NETWORK, *FOLDER, "--out", "coherence.txt"), "--out: found coherence.txt, expected a name that ends"),
    "place": ((*NETWORK, *FOLDER, "--out", "text.pt/o.h5"), "--out: found the file "),
    "nowhere": ((*NETWORK, *FOLDER, "--out", "/proc/o.h5"), "--out: found /proc, in which this user cannot write"),
    "an input": ((*NETWORK, "--data", "labels.h5", "--out", "labels.h5"), "--out: found labels.h5, which is read as"),
    "a stranger": ((*NETWORK, *FOLDER, "--out", "strange.h5"), "--out: found strange.h5, which mcoherence has not"),
    "an abbreviation": ((*NETWORK, *FOLDER, "--group", "class"), "--group, which this command does not take (did"),
    "no such option": ((*NETWORK, *FOLDER, "--modle", "x"), "command does not take (did you mean --model?)"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_and_leaves_no_file(wrong, tmp_path, capsys, case):
    arguments, message = CASES[case]
    if case == "classes":
        namespace = {}
        exec((wrong.folder / "command_user.py").read_text(), namespace)
        torch.save(namespace["net"](classes=5).state_dict(), "five.pt")
    before, out = files_in(wrong.folder), [] if "--out" in arguments else ["--out", tmp_path / "new/o.h5"]
    quick = [] if case == "device" else QUICK
    assert status_of(wrong, "measure", *arguments, *quick, *out) == 1
    said = capsys.readouterr()
    assert said.out == ""
    *progress, line = said.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert all(" 0/" in other or "100%" in other for other in progress)
    assert files_in(tmp_path) == set()
    assert files_in(wrong.folder) == before


def files_in(folder):
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def status_of(place, *arguments):
    try:
        return place.run(*arguments)
    except SystemExit as leaving:
        return leaving.code


class Hostile:
    """What leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("name", ["hostile.pt", "hostile.safetensors"])
def test_a_file_of_weights_runs_no_code(place, tmp_path, capsys, name):
    torch.save({"0.weight": torch.zeros(4, 3, 3, 3), "more": Hostile()}, tmp_path / name)
    asked = ("measure", *MODEL, "--weights", tmp_path / name, *FOLDER, *QUICK, "--out", tmp_path / "o.h5")
    assert place.run(*asked) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / name) in line
    assert not (place.folder / "unpickled").exists()


def test_shards_that_do_not_make_a_whole_are_refused(place, tmp_path, capsys):
    for number, model in ((1, NETWORK), (2, NETWORK)):
        asked = (*model, *FOLDER, *QUICK, "--shard", f"{number}/2", "--out", tmp_path / f"{number}.h5")
        assert place.run("measure", *asked) == 0
    asked = (*NETWORK, *FOLDER, *QUICK, "--seed", 1, "--shard", "2/2", "--out", tmp_path / "other.h5")
    assert place.run("measure", *asked) == 0
    third = ("--shard", "2/3", "--out", tmp_path / "third.h5")
    assert place.run("measure", *NETWORK, *FOLDER, *QUICK, *third) == 0
    assert place.run("measure", *NETWORK, *FOLDER, *QUICK, "--out", tmp_path / "whole.h5") == 0
    capsys.readouterr()
    for names, message in (
        (["1"], "1.h5: found 1 of its 2 shards, expected all of them; measure --shard 2/2 too"),
        (["1", "none"], "none.h5: not found, expected a shard"),
        (["1", "1"], "found the shard of"),
        (["1", "other"], "other.h5: found seed 1 where "),
        (["1", "third"], "third.h5: found one of 3 shards where "),
        (["1", "whole"], "found mcoherence/coherence/2, expected mcoherence/coherence_shard/2"),
    ):
        paths = [tmp_path / f"{name}.h5" for name in names]
        assert place.run("merge", *paths, "--out", tmp_path / "o.h5") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not (tmp_path / "o.h5").exists()
    kept = (tmp_path / "1.h5").read_bytes()
    assert place.run("merge", tmp_path / "1.h5", tmp_path / "2.h5", "--out", tmp_path / "1.h5") == 1
    assert (tmp_path / "1.h5").read_bytes() == kept
    assert read_attributes(tmp_path / "1.h5")["schema"] == "mcoherence/coherence_shard/2"


@pytest.mark.parametrize("command", ["measure", "merge", "examples", "show", "verify"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    said = capsys.readouterr().out
    assert f"mcoherence {command}" in said
    assert command in parser().format_help()


def test_an_interrupted_measurement_leaves_nothing(place, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mcoherence.measuring.named_network.stacked", interrupted)  # the file is begun by then
    assert place.run("measure", *NETWORK, *FOLDER, *QUICK, "--out", tmp_path / "o.h5") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: no result was written"
    assert list(tmp_path.iterdir()) == []


def test_a_bug_of_this_package_keeps_its_traceback(place, tmp_path, monkeypatch):
    def broken(*_):
        raise LookupError("a bug")

    monkeypatch.setattr("mcoherence.measuring.named_network.stacked", broken)
    # As an innermost frame of ours would be: the function stands in for one of the package's.
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"tests": str(Path(__file__).parent)})
    with pytest.raises(LookupError, match="a bug"):
        place.run("measure", *NETWORK, *FOLDER, *QUICK, "--out", tmp_path / "o.h5")
