"""Second-split forgetting and the gradients of easy and hard examples, run for real in the miniature study."""

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mcoherence import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.one_in(3)]
RUNS = "runs/digits/cnn/clean/sgd"
EXPERIMENTS = 'experiments=["label_noise","easy_hard","second_split","difficulty_coherence"]'


@pytest.fixture(scope="module")
def results(study):
    """The results folder of the miniature study, with one run of each further experiment."""
    wanted = [f"{RUNS}/half_b_after_a/seed0/evaluation.h5", f"{RUNS}/easy/seed10/difficulty_coherence.h5"]
    paths = [str((study.results / name).relative_to(study.folder)) for name in wanted]
    answer = study.run("--cores", "2", "--quiet", "reason", "--config", EXPERIMENTS, "--", *paths)
    assert answer.returncode == 0, answer.stdout[-3000:]
    return study.results


def test_the_second_stage_begins_with_the_weights_of_the_first(results):
    end = load_checkpoint(results / RUNS / "half_a/seed0/checkpoints/step12.safetensors").state_dict()
    begin = load_checkpoint(results / RUNS / "half_b_after_a/seed0/checkpoints/step0.safetensors").state_dict()
    later = load_checkpoint(results / RUNS / "half_b_after_a/seed0/checkpoints/step12.safetensors").state_dict()
    assert all(torch.equal(value, begin[name]) for name, value in end.items())
    assert not all(torch.equal(value, later[name]) for name, value in end.items())


def test_the_halves_share_out_the_training_part(results):
    with h5py.File(results / "splits/digits/halves.h5") as file:
        halves = [file[f"half_{name}_train"][:] for name in "ab"]
    assert sorted(np.concatenate(halves)) == list(range(120))
    assert [len(half) for half in halves] == [60, 60]


def test_gradients_across_groups_equal_brute_force_from_the_checkpoint(results):
    """Mean gradients by torch's own backward pass, and squared norms one example at a time."""
    run = results / RUNS / "easy/seed10"
    with h5py.File(run / "difficulty_coherence.h5") as file:
        index, group = file["sample/index"][:], file["sample/group"][:]
        names = [name.decode() for name in file["group"][:]]
        position = list(file["step"][:]).index(4)
        gram, total, n = (file[name][position] for name in ("gram", "sum_sq_norm", "n"))
    assert len(set(index)) == len(index) == n.sum()
    with h5py.File(results / "splits/digits/cnn/split.h5") as file:
        assert all(set(index[group == g]) <= set(file[name][:]) for g, name in enumerate(names))
    with h5py.File(results / "data/digits/images.h5") as file:
        pixels, targets = file["train/images"][:][index] / 255, torch.from_numpy(file["train/targets"][:][index])
        mean, std = (np.asarray(file.attrs[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    inputs = torch.from_numpy((pixels - mean) / std)
    model = load_checkpoint(run / "checkpoints/step4.safetensors").double()
    parameters = list(model.parameters())

    def gradient(mask):
        loss = F.cross_entropy(model(inputs[mask]), targets[mask], reduction="sum")
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

    sums = [gradient(torch.from_numpy(group == g)) for g in range(len(names))]
    expected = [[(a @ b).item() for b in sums] for a in sums]
    assert gram.sum(axis=-1) == pytest.approx(np.array(expected), rel=1e-8, abs=1e-9 * np.max(expected))
    norms = np.zeros(len(names))
    for i, g in enumerate(group):
        norms[g] += gradient(torch.tensor([i])).square().sum().item()
    assert total.sum(axis=-1) == pytest.approx(norms, rel=1e-8)
