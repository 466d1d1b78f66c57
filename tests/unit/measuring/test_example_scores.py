"""Scores of single examples along a run, against gradients and logits taken one by one."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import open_source
from mcoherence.data.store import LABELS_SCHEMA
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import read_hdf5, write_hdf5
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.measuring.example_scores import (
    logit_scores,
    measure_example_scores,
    require_wrong_labels,
)
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.joining import join
from mcoherence.models import NetworkSettings, build_model, save_checkpoint
from mcoherence.study.result_names import EXAMPLE_SCORES_SCHEMA, GRADIENT_SCORES, LOGIT_SCORES
from workflow_scripts.measure_example_scores import main

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 7, 0, 2])  # one example alone has label 7
MLP = {"architecture": "mlp", "hidden": [5]}
NORMALISED = {"architecture": "deep_mlp", "width": 5, "depth": 2, "batch_norm": True}


@pytest.fixture
def job_of(tmp_path):
    """A job along two checkpoints of a network, the second of which has diverged; and the images' inputs."""

    def make(settings):
        images, network = tmp_path / "images.h5", NetworkSettings(settings, (1, 8, 8), 10)
        digits = {"source": "digits", "train_size": len(LABELS), "test_size": 10, "seed": 0}
        prepare_images(images, open_source(digits, tmp_path, False), {})
        torch.manual_seed(0)
        model = build_model(settings, (1, 8, 8), 10)
        for step, diverged in ((0, {}), (4, {"diverged_at": 3})):
            told = {"step": step, "epoch": step / 2, "run": {}, **diverged}
            save_checkpoint(tmp_path / f"step{step}.safetensors", model, network, told)
        job = MeasuringJob(images, [tmp_path / f"step{step}.safetensors" for step in (0, 4)], torch.device("cpu"))
        everything = np.arange(len(LABELS))
        (pixels,) = job.load("train", everything, torch.float64).batches([(0, everything)])
        return job, model.double().eval(), pixels

    return make


def by_the_loop(model, pixels, others_of):
    """Squared norm, and product and cosine with the sum over the others of `others_of(i)`, example by example."""
    loss = nn.CrossEntropyLoss(reduction="none")
    found = per_example_gradients(model, loss, pixels, torch.from_numpy(LABELS))
    rows = torch.cat([one.flatten(1) for one in found.values()], dim=1).numpy()
    products, cosines = np.zeros(len(rows)), np.zeros(len(rows))
    for i, own in enumerate(rows):
        others = rows[[j for j in others_of(i) if j != i]].sum(axis=0)
        products[i] = own @ others
        if others.any():
            cosines[i] = own @ others / (np.linalg.norm(own) * np.linalg.norm(others))
    return (rows**2).sum(axis=1), products, cosines


@pytest.mark.parametrize(("settings", "batch_norm"), [(MLP, "running"), (NORMALISED, "sample")])
def test_every_example_is_compared_with_the_others_of_its_label_and_with_all_others(job_of, settings, batch_norm):
    job, model, pixels = job_of(settings)
    scores, attributes = measure_example_scores(job, LABELS, batch_norm=batch_norm)
    if batch_norm == "sample":
        model = with_sample_statistics(model, [(pixels,)])
    sq_norm, dot, cosine = by_the_loop(model, pixels, lambda i: np.flatnonzero(LABELS[i] == LABELS))
    np.testing.assert_allclose(scores["sq_norm"][0], sq_norm, rtol=1e-10)
    np.testing.assert_allclose(scores["class_dot"][0], dot, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(scores["class_cosine"][0], cosine, rtol=1e-8, atol=1e-12)
    assert (scores["class_dot"][0, 9], scores["class_cosine"][0, 9]) == (0, 0)
    _, dot, cosine = by_the_loop(model, pixels, lambda i: np.arange(len(LABELS)))
    np.testing.assert_allclose(scores["all_dot"][0], dot, rtol=1e-8)
    np.testing.assert_allclose(scores["all_cosine"][0], cosine, rtol=1e-8)
    losses = nn.functional.cross_entropy(model(pixels), torch.from_numpy(LABELS), reduction="none")
    np.testing.assert_allclose(scores["loss"][0], losses.detach().numpy(), rtol=1e-10)
    assert (scores["step"].tolist(), scores["diverged"].tolist()) == ([0, 4], [False, True])
    for name in (*GRADIENT_SCORES, *LOGIT_SCORES):
        assert scores[name].shape == (2, len(LABELS))
        assert np.isnan(scores[name][1]).all()
    assert attributes["batch_norm"]["statistics"] == ("sample" if batch_norm == "sample" else "none")


def test_scores_of_logits_by_hand():
    """Chances 1/4, 1/4, 1/2 of one example; the other is so sure that 1 - p is below the rounding of p."""
    logits = torch.tensor([[0.0, 0.0, np.log(2.0)], [50.0, 0.0, 0.0]], dtype=torch.float64)
    scores = logit_scores(logits, torch.tensor([1, 0]))
    rest = np.exp(-50.0)
    expected = {
        "loss": [np.log(4), 2 * rest],
        "el2n": [np.sqrt(1 / 16 + 9 / 16 + 1 / 4), rest * np.sqrt(6)],
        "margin": [-np.log(2), 50],
        "confidence": [1 / 4, 1],
    }
    assert scores.keys() == expected.keys()
    for name, values in expected.items():
        assert scores[name] == pytest.approx(values, rel=1e-10, abs=1e-30 if name == "el2n" else 1e-15), name


@pytest.mark.parametrize("changed", [[False, False], [True, True]])
def test_labels_of_which_none_or_all_are_wrong_are_refused(changed):
    with pytest.raises(UserError, match=rf"^labels\.h5: found {sum(changed)} of 2 labels changed, expected some that"):
        require_wrong_labels(np.array(changed), "labels.h5")
    require_wrong_labels(np.array([True, False]), "labels.h5")


def test_blocks_of_checkpoints_by_the_command_are_the_whole_to_the_bit(job_of, tmp_path, monkeypatch):
    job, _, _ = job_of(MLP)
    original = np.append(LABELS[:-1], 1)
    labels = {"labels": LABELS, "original": original, "selected": original != LABELS, "changed": original != LABELS}
    write_hdf5(tmp_path / "labels.h5", LABELS_SCHEMA, labels | {"test/targets": np.zeros(10, dtype=int)}, {})

    def measured(name, checkpoints):
        settings = {"precision": "float64", "tf32": False, "batch_norm": "none"}
        words = ["--settings", json.dumps(settings), "--code", "c", "--images", str(job.images)]
        words += ["--labels", str(tmp_path / "labels.h5"), "--split", "--device", "cpu", "--checkpoints"]
        words += [*map(str, checkpoints), "--result", str(tmp_path / name)]
        monkeypatch.setattr(sys, "argv", ["measure_example_scores", *words])
        main()
        return tmp_path / name

    whole, _ = read_hdf5(measured("whole.h5", job.checkpoints), EXAMPLE_SCORES_SCHEMA)
    blocks = [measured(f"{place}.h5", job.checkpoints[place : place + 1]) for place in (1, 0)]
    joined, attributes = join(blocks, EXAMPLE_SCORES_SCHEMA)
    assert joined.keys() == whole.keys() == {"step", "epoch", "diverged", *GRADIENT_SCORES, *LOGIT_SCORES}
    assert joined["step"].tolist() == [0, 4]
    assert all(np.array_equal(whole[name], joined[name], equal_nan=True) for name in whole)
    assert attributes["evidence"]["examples_measured"] == 2 * len(LABELS)  # for the sum over all, and one by one
