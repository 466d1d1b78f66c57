"""A study with a run that diverges and a run that starts from another's weights, to its report."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from mcoherence import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]

STUDY = """
study: miniature
experiments: [label_noise, bound]
datasets: {digits: {source: digits, train_size: 120}}
models: {cnn: {architecture: cnn, channels: [3, 4], hidden: 6}}
optimizers:
  wild: {method: sgd, lr: 1.0e+30}
  after_noise: {method: sgd, lr: 0.1, start: {labels: half_random, optimizer: sgd}}
training:
  updates: 12
  batch_size: 20
  checkpoints: {every_step_until: 2, per_doubling: 1}
label_noise: {models: [cnn], labels: [clean], optimizers: [sgd, wild, after_noise], seeds: [0]}
measurement: {sample_size: 50, heldout_size: 20}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory, new_workflow):
    workflow = new_workflow(tmp_path_factory.mktemp("outcomes"))
    (workflow.folder / "miniature.yaml").write_text(STUDY)
    answer = workflow.run("--cores", "2", "--quiet", "reason")
    assert answer.returncode == 0, answer.stdout[-5000:]
    return workflow.results


def checkpoint(results, labels, optimizer, step):
    return results / f"runs/digits/cnn/{labels}/{optimizer}/full/seed0/checkpoints/step{step}.safetensors"


def test_a_diverged_run_says_so_everywhere_and_the_others_are_whole(results):
    run = checkpoint(results, "clean", "wild", 0).parents[1]
    log = (results / "logs/train/digits/cnn/clean/wild/full/seed0.log").read_text()
    assert "training diverged: " in log
    assert "lower the optimiser's lr (found 1e+30)" in log
    with safe_open(run / "checkpoints/step12.safetensors", framework="pt") as file:
        diverged_at = json.loads(file.metadata()["diverged_at"])
    assert len(pd.read_csv(run / "training_log.csv")) <= diverged_at + 1 < 12
    with h5py.File(run / "evaluation.h5") as file:
        diverged = file["diverged"][:]
        assert diverged[file["step"][:] > diverged_at].all()
        assert not diverged[file["step"][:] < diverged_at].any()
        assert np.isnan(file["test/loss"][:][diverged]).all()
        assert (file["test/prediction"][:][diverged] == -1).all()
        assert (file["test/prediction"][0] >= 0).all()
    with h5py.File(run / "coherence.h5") as file:
        assert file["diverged"][:].tolist() == diverged.tolist()
        assert np.isnan(file["m_coherence_model"][:][diverged]).all()
        own = file["group"].asstr()[:] != "redrawn"
        assert file["n"][:][:, own].sum(axis=1).tolist() == [70] * len(diverged)
        assert np.isfinite(file["m_coherence_model"][0, 0])
    accuracy = pd.read_csv(results / "tables/accuracy.csv").query("part == 'train'")
    assert accuracy[accuracy["diverged"]]["accuracy"].isna().all()
    assert set(accuracy[accuracy["diverged"]]["optimizer"]) == {"wild"}
    assert accuracy[~accuracy["diverged"]]["accuracy"].notna().all()
    claims = json.loads((results / "claims.json").read_text())["claims"]
    assert all(claim["diverged"] == ["digits, cnn, clean, wild, full, seed 0"] for claim in claims)
    assert "Left out, because they diverged" in (results / "claims.html").read_text()
    assert (results / "report.html").stat().st_size > 0


def test_the_bound_is_drawn_along_the_runs_that_it_is_of(results):
    bound = pd.read_csv(results / "tables/bound.csv")
    assert set(bound["optimizer"]) == {"sgd", "wild"}  # not the one that starts from another run's weights
    coherence = pd.read_csv(results / "tables/coherence.csv").query("group == 'train' and layer == 'model'")
    start, first = (coherence.query(f"optimizer == 'sgd' and step == {step}")["alpha"].item() for step in (0, 1))
    rows = bound.query("optimizer == 'sgd' and beta_times_lr == 1").set_index("step")
    # the rate is 0.3 and every update doubles what was before
    assert 10 ** rows.loc[1, "log10_bound"] == pytest.approx(0.3 * np.sqrt(2 * (1 - start)))
    assert rows.loc[2, "relative_bound"] == pytest.approx((2 * np.sqrt(1 - start) + np.sqrt(1 - first)) / 3)
    diverged = bound.query("optimizer == 'wild' and diverged")
    assert len(diverged) > 0
    assert diverged["relative_bound"].isna().all()
    assert (results / "figures/bound.pdf").stat().st_size > 0


def test_a_run_can_start_from_the_last_weights_of_another(results):
    first = load_checkpoint(checkpoint(results, "clean", "after_noise", 0)).state_dict()
    source = load_checkpoint(checkpoint(results, "half_random", "sgd", 12)).state_dict()
    last = load_checkpoint(checkpoint(results, "clean", "after_noise", 12)).state_dict()
    assert all(torch.equal(value, source[name]) for name, value in first.items())
    assert not torch.equal(last["output.weight"], first["output.weight"])
