"""`mcoherence measure` of somebody's network equals the loop over single examples, in pieces as in one go."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.command.main import main
from mcoherence.command.show import headline
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import Source, SourcePart
from mcoherence.data.store import LABELS_SCHEMA
from mcoherence.figures import coherence_by_step
from mcoherence.figures.style import FigureStyle
from mcoherence.files.hdf5 import read_hdf5, write_hdf5
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.models import NetworkSettings, build_model, save_checkpoint
from mcoherence.study.result_names import COHERENCE_SCHEMA
from mcoherence.study.runs import Run
from mcoherence.tables.coherence import coherence_by_layer
from mcoherence.tables.runs import named
from mcoherence.tables.sums import Sums

from .conftest import FOLDER, NETWORK, QUICK

ROOT = Path(__file__).parents[3]
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def q_and_s(model, inputs, targets, loss=PER_EXAMPLE):
    """Q and |S|^2 of each parameter, by the loop over single examples; float64 [P] each."""
    gradients = per_example_gradients(model, loss, inputs, targets).values()
    squares = [float(g.square().sum()) for g in gradients]
    return np.array(squares), np.array([float(g.sum(dim=0).square().sum()) for g in gradients])


def stored(path):
    return read_hdf5(path, COHERENCE_SCHEMA)


def test_a_trained_network_on_a_folder_of_images_equals_the_loop_and_the_library(place, measured, capsys):
    datasets, attributes = stored(measured)
    q, s = q_and_s(place.model, place.inputs, place.targets)
    assert datasets["sum_sq_norm"][0, 0] == pytest.approx(q, rel=1e-12)
    assert datasets["gram"][0, 0, 0] == pytest.approx(s, rel=1e-12)
    assert datasets["m_coherence_model"][0, 0] == pytest.approx(s.sum() / q.sum(), rel=1e-12)
    library = gradient_statistics(place.model, PER_EXAMPLE, [(place.inputs, place.targets)])
    assert datasets["m_coherence_model"][0, 0] == pytest.approx(library.m_coherence(), rel=1e-12)
    assert datasets["group"] == ["train"]
    assert datasets["layer_type"] == ["Conv2d", "BatchNorm2d", "Linear"]
    assert f"m-coherence {s.sum() / q.sum():.4g} of 12 examples" in headline(measured)
    assert sorted(attributes["inputs"]) == ["photos", "weights.pt"]
    assert attributes["settings"]["model"].keys() == {"name", "code", "options"}
    assert attributes["batch_norm"]["statistics"] == "running"


def test_shards_in_any_order_merge_to_the_whole(place, measured, tmp_path):
    shards = [tmp_path / f"shard{number}.hdf5" for number in (3, 1, 2)]
    for path, number in zip(shards, (3, 1, 2), strict=True):
        asked = (*NETWORK, *FOLDER, *QUICK, "--precision", "float64", "--batch-size", 2)
        assert place.run("measure", *asked, "--shard", f"{number}/3", "--out", path) == 0
    assert place.run("merge", *shards, "--out", tmp_path / "merged.hdf5") == 0
    (whole, of_whole), (merged, of_merged) = stored(measured), stored(tmp_path / "merged.hdf5")
    assert merged.keys() == whole.keys()
    for name in ("sum_sq_norm", "gram", "m_coherence", "m_coherence_model"):
        assert merged[name] == pytest.approx(whole[name], rel=1e-12)
    assert np.array_equal(merged["n"], whole["n"])
    assert of_merged.keys() == of_whole.keys()
    assert [of_merged[key] for key in ("settings", "inputs", "code")] == [
        of_whole[key] for key in ("settings", "inputs", "code")
    ]


def test_batches_of_a_function_are_measured_in_groups_with_the_users_own_loss(place, tmp_path):
    sys.path.insert(0, str(place.folder))
    from command_user import batches, half_of_square

    sys.path.remove(str(place.folder))
    ((inputs, targets, changed),) = batches(size=12)
    asked = (*NETWORK, *QUICK, "--data", "command_user:batches", "--precision", "float64", "--groups", "changed")
    loss = ("--loss", "command_user:half_of_square")
    assert place.run("measure", *asked, *loss, "--out", tmp_path / "whole.h5") == 0
    datasets, attributes = stored(tmp_path / "whole.h5")
    assert datasets["group"] == ["pristine", "corrupt"]
    assert datasets["n"].tolist() == [[8, 4]]
    for group, rows in enumerate((~changed, changed)):
        q, s = q_and_s(place.model, inputs[rows].double(), targets[rows], half_of_square)
        assert datasets["sum_sq_norm"][0, group] == pytest.approx(q, rel=1e-12)
        assert datasets["gram"][0, group, group] == pytest.approx(s, rel=1e-12)
    assert attributes["inputs"]["command_user:batches"].startswith("batches:")
    for number in (1, 2):  # cut within a batch of five
        assert place.run("measure", *asked, *loss, "--shard", f"{number}/2", "--out", tmp_path / f"{number}.h5") == 0
    assert place.run("merge", tmp_path / "1.h5", tmp_path / "2.h5", "--out", tmp_path / "merged.hdf5") == 0
    assert stored(tmp_path / "merged.hdf5")[0]["gram"] == pytest.approx(datasets["gram"], rel=1e-12)


def test_classes_are_groups_and_figures_read_them_together(place, measured, tmp_path):
    out = tmp_path / "classes.h5"
    asked = (*NETWORK, *FOLDER, *QUICK, "--precision", "float64", "--groups", "class")
    assert place.run("measure", *asked, "--out", out) == 0
    datasets, _ = stored(out)
    assert datasets["group"] == ["class0", "class1", "class2"]
    q, s = q_and_s(place.model, place.inputs[:4], place.targets[:4])
    assert datasets["m_coherence_model"][0, 0] == pytest.approx(s.sum() / q.sum(), rel=1e-12)
    run = Run("photos", "net", "clean", "sgd", "full", 0)
    rows = named(run, {"clean": 0.0}, coherence_by_layer(Sums.read(out, COHERENCE_SCHEMA)))
    together = rows[(rows["group"] == "train") & (rows["layer"] == "model")]
    assert together["m_coherence"].tolist() == pytest.approx(stored(measured)[0]["m_coherence_model"][0], rel=1e-12)
    figure = coherence_by_step.draw({"coherence": rows}, FigureStyle({"sgd": "#000000"}, "sgd"))
    assert figure.axes[0].lines


@pytest.mark.parametrize("kind", ["dict", "tuple", "list"])
def test_inputs_and_targets_of_several_tensors_are_measured_as_the_library_does(place, tmp_path, kind):
    sys.path.insert(0, str(place.folder))
    from command_user import Encoder, class_loss, sentences

    sys.path.remove(str(place.folder))
    encoder = Encoder().double().eval()
    torch.save(encoder.state_dict(), "encoder.pt")
    asked = ("--model", "command_user:Encoder", "--weights", "encoder.pt", "--data", "command_user:sentences")
    asked += ("--data-options", f"kind={kind}", *QUICK, "--precision", "float64")
    loss = () if kind != "list" else ("--loss", "command_user:class_loss")
    assert place.run("measure", *asked, *loss, "--out", tmp_path / "o.h5") == 0
    assert place.run("examples", *asked, *loss, "--out", tmp_path / "e.csv") == 0
    if kind == "list":
        batches = [(tuple(map(torch.from_numpy, inputs)), targets) for inputs, targets in sentences(kind)]
    else:
        batches = list(sentences(kind))
    library = gradient_statistics(encoder, class_loss if kind == "list" else PER_EXAMPLE, batches)
    assert stored(tmp_path / "o.h5")[0]["m_coherence_model"][0, 0] == pytest.approx(library.m_coherence(), rel=1e-12)
    table = pd.read_csv(tmp_path / "e.csv")
    assert table["sq_norm"].sum() == pytest.approx(library.sum_sq_norm(), rel=1e-12)
    assert ("target" in table) == (kind != "list")


def test_examples_may_come_one_by_one(place, tmp_path):
    asked = (*NETWORK, *QUICK, "--data", "command_user:one_by_one", "--out", tmp_path / "o.h5")
    assert place.run("measure", *asked) == 0
    assert stored(tmp_path / "o.h5")[0]["n"].tolist() == [[3]]


def test_targets_that_cross_entropy_leaves_out_count_with_gradient_zero_and_it_is_said(place, tmp_path, caplog):
    asked = (*NETWORK, *QUICK, "--data", "command_user:with_label", "--data-options", "label=-100")
    assert place.run("examples", *asked, "--out", tmp_path / "e.csv") == 0
    assert (pd.read_csv(tmp_path / "e.csv")["sq_norm"] == 0).tolist() == [i in (4, 9, 11) for i in range(12)]
    assert "3 of the 12 targets are -100, which cross-entropy leaves out" in caplog.text
    caplog.clear()
    loss = ("--loss", "command_user:half_of_square")  # to which -100 is a number as any other
    assert place.run("examples", *asked, *loss, "--out", tmp_path / "e.csv") == 0
    assert (pd.read_csv(tmp_path / "e.csv")["sq_norm"] > 0).all()
    assert "-100" not in caplog.text


WRAPPED = {  # what is put before names, and what stands beside the weights
    "module.": {},
    "_orig_mod.module.": {},
    "module._orig_mod.": {},
    "model.": {},  # as a Lightning module has it
    "teacher.": {},  # which may not be the network that is meant
    "module.module.": {"n_averaged": torch.tensor(3)},
}


WORDS = ("model.", "teacher.")  # which no wrapper puts there, so that it is said


@pytest.mark.parametrize("prefix", WRAPPED)
@pytest.mark.parametrize("factory", ["as_in_a_study", "wrapped"])
def test_names_of_wrapped_weights_are_taken_off(place, measured, tmp_path, caplog, prefix, factory):
    weights = {f"{prefix}{name}": value for name, value in place.model.float().state_dict().items()}
    place.model.double()
    torch.save({"state_dict": weights | WRAPPED[prefix], "epoch": 3}, tmp_path / "checkpoint.ckpt")
    asked = ("--model", f"command_user:{factory}", "--weights", tmp_path / "checkpoint.ckpt", *FOLDER, *QUICK)
    assert place.run("measure", *asked, "--precision", "float64", "--out", tmp_path / "o.h5") == 0
    assert np.array_equal(stored(tmp_path / "o.h5")[0]["gram"], stored(measured)[0]["gram"])
    said = [f"note: {tmp_path / 'checkpoint.ckpt'}: all names in it begin with {prefix!r}, which the network's do not"]
    assert [line.partition(";")[0] for line in caplog.messages] == (said if prefix in WORDS else [])


def test_checkpoints_and_data_of_a_study_need_no_factory(place, tmp_path):
    random = np.random.default_rng(1)
    targets = np.arange(10) % 2
    part = SourcePart(random.integers(0, 256, size=(10, 1, 4, 4), dtype=np.uint8), targets)
    prepare_images(tmp_path / "images.h5", Source(part, part, (1, 4, 4), ("a", "b")), {})
    labels = {"original": targets, "labels": 1 - targets, "changed": np.arange(10) < 5, "selected": np.arange(10) < 5}
    labels["labels"] = np.where(labels["changed"], 1 - targets, targets)
    write_hdf5(tmp_path / "labels.h5", LABELS_SCHEMA, labels | {"test/targets": targets}, {})
    settings, checkpoints = {"architecture": "mlp", "hidden": [3]}, []
    for step in (0, 8):
        torch.manual_seed(step)
        model, path = build_model(settings, (1, 4, 4), 2), tmp_path / f"step{step}.safetensors"
        network = NetworkSettings(settings, (1, 4, 4), 2)
        save_checkpoint(path, model, network, {"step": step, "epoch": step / 2, "run": {}})
        checkpoints.append(path)
    data = ("--data", tmp_path / "images.h5", "--labels", tmp_path / "labels.h5", "--groups", "changed")
    out = tmp_path / "o.h5"
    asked = ("--weights", *checkpoints, *data, *QUICK, "--precision", "float64")
    assert place.run("measure", *asked, "--out", out) == 0
    datasets, _ = stored(out)
    assert (datasets["step"].tolist(), datasets["epoch"].tolist()) == ([0, 8], [0, 4])
    pixels = torch.from_numpy(part.items).double() / 255
    inputs = (pixels - pixels.mean()) / pixels.std(correction=0)
    for group, rows in enumerate((~labels["changed"], labels["changed"])):
        q, s = q_and_s(model.double().eval(), inputs[rows], torch.from_numpy(labels["labels"][rows]))
        assert datasets["sum_sq_norm"][1, group] == pytest.approx(q, rel=1e-9)
        assert datasets["gram"][1, group, group] == pytest.approx(s, rel=1e-9)


def test_a_sample_is_the_same_whenever_it_is_drawn_and_batch_norm_can_be_that_of_the_sample(place, tmp_path):
    out, again = tmp_path / "o.h5", tmp_path / "again.h5"
    asked = (*NETWORK, *FOLDER, *QUICK, "--precision", "float64", "--sample", 7, "--batch-norm", "sample")
    assert place.run("measure", *asked, "--out", out) == place.run("measure", *asked, "--out", again) == 0
    assert out.read_bytes() == again.read_bytes()
    index = stored(out)[0]["sample/index"]
    assert len(set(index)) == 7
    batch_norm = place.model[1]
    kept = batch_norm.running_mean.clone(), batch_norm.running_var.clone()
    values = place.model[0](place.inputs[index]).detach()
    batch_norm.running_mean[:], batch_norm.running_var[:] = values.mean((0, 2, 3)), values.var((0, 2, 3), correction=0)
    _, s = q_and_s(place.model, place.inputs[index], place.targets[index])
    batch_norm.running_mean[:], batch_norm.running_var[:] = kept
    assert stored(out)[0]["gram"][0, 0, 0] == pytest.approx(s, rel=1e-9)


def test_the_command_loads_neither_snakemake_nor_plotting_libraries(place, tmp_path):
    code = (
        "import sys\nfrom mcoherence.command.main import main\n"
        "loaded = lambda: {name.partition('.')[0] for name in sys.modules}\n"
        "assert not {'torch', 'pandas', 'h5py'} & loaded()\n"  # so that --help is quick
        "status = main(sys.argv[1:])\n"
        "assert not {'snakemake', 'matplotlib', 'seaborn'} & loaded(), loaded()\nsys.exit(status)"
    )
    asked = [str(one) for one in (*NETWORK, *FOLDER, *QUICK, "--out", tmp_path / "o.h5")]
    answer = subprocess.run(
        [sys.executable, "-c", code, "measure", *asked], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"{tmp_path / 'o.h5'}: m-coherence ")
    assert "measure weights.pt: 100% 1/1" in answer.stderr


def test_the_console_script_is_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["mcoherence"].partition(":")
    assert getattr(import_module(module), function) is main


def test_what_arrays_are_in_memory_does_not_matter(place, tmp_path):
    """Order of bytes and strides are of the machine that wrote them; numbers, labels and marks are the same."""
    (place.folder / "command_arrays.py").write_text(
        "from command_user import batches\n\n\ndef arrays(order):\n"
        "    for inputs, targets, changed in batches():\n"
        "        kinds = (inputs, 'f4'), (targets, 'i8'), (changed, 'i4')\n"
        "        yield [one.numpy().astype(order + kind) for one, kind in kinds]\n"
    )
    found = []
    for order in ("<", ">"):
        data = ("--data", "command_arrays:arrays", "--data-options", f"order={order}", "--groups", "changed")
        out = tmp_path / f"{len(found)}.h5"
        assert place.run("measure", *NETWORK, *data, *QUICK, "--out", out) == 0
        content = read_hdf5(out, COHERENCE_SCHEMA)[0]
        found.append([content[name].tolist() for name in ("gram", "sum_sq_norm", "sample/group")])
    assert found[0] == found[1]
    table = tmp_path / "e.csv"
    assert place.run("examples", *NETWORK, *data, *QUICK, "--out", table) == 0


def test_names_of_classes_may_begin_with_a_byte_order_mark(place, tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "names.txt").write_text("class0\nclass1\nclass2\n", encoding=encoding)
        asked = (*NETWORK, *FOLDER, *QUICK, "--class-names", tmp_path / "names.txt", "--out", tmp_path / "o.h5")
        assert place.run("measure", *asked) == 0
