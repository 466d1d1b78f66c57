"""Training against a loop written out here, and what evaluation and measurement read from its checkpoints."""

import io
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mcoherence.data.batches import training_batches
from mcoherence.device import prepare_device
from mcoherence.errors import UserError
from mcoherence.evaluation import evaluate
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.measurement import (
    group_batches,
    heldout_sample,
    measure,
    record_of,
    training_sample,
)
from mcoherence.progress import progress
from mcoherence.run_files import CORRUPT, GROUPS, HELDOUT, PRISTINE
from mcoherence.training import TrainingSettings, initial_model, train

CPU = torch.device("cpu")
MLP = {"architecture": "mlp", "hidden": [5]}


def settings(optimizer, updates=7, checkpoint_steps=(0, 3, 7), seed=1):
    return TrainingSettings(MLP, optimizer, updates, 6, checkpoint_steps, seed)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20, 1, 2, 2, generator=generator), torch.randint(0, 3, (20,), generator=generator)


def weights_at_checkpoints(run, data):
    """{step: state_dict} of a run, and its log."""
    saved = {}

    def save(step, epoch, model):
        saved[step] = {name: value.clone() for name, value in model.state_dict().items()}

    return saved, train(run, *data, num_classes=3, device=CPU, save=save)


def gradient(model, data, positions):
    loss = F.cross_entropy(model(data[0][positions]), data[1][positions])
    return torch.autograd.grad(loss, list(model.parameters()))


def descend(model, direction, lr):
    with torch.no_grad():
        for p, d in zip(model.parameters(), direction, strict=True):
            p -= lr * d


def median(gradients):
    return [torch.stack(tensors).median(dim=0).values for tensors in zip(*gradients, strict=True)]


def plain_loop(method, run, data):
    """The weights after every update, by the definitions alone."""
    model, history, recent = initial_model(run, data[0], 3), {}, []
    batches = training_batches(20, 6, run.seed)
    for step in range(run.updates + 1):
        history[step] = {name: value.clone() for name, value in model.state_dict().items()}
        batch = next(batches)
        if method == "m3":
            direction = median([gradient(model, data, part) for part in np.array_split(batch, 3)])
        else:
            recent = [*recent, gradient(model, data, batch)][-3:]
            mean = [sum(tensors) / 3 for tensors in zip(*recent, strict=True)]
            direction = {"sgd": recent[-1], "rm3": median(recent), "ra3": mean}[method]
        if method in ("sgd", "m3") or len(recent) == 3:
            descend(model, direction, lr=0.5)
    return history


@pytest.mark.parametrize("method", ["sgd", "m3", "rm3", "ra3"])
def test_checkpoints_follow_the_definition_of_the_optimiser(method, data):
    run = settings({"method": method, "lr": 0.5})
    saved, _ = weights_at_checkpoints(run, data)
    expected = plain_loop(method, run, data)
    assert list(saved) == [0, 3, 7]
    for step, weights in saved.items():
        for name, value in weights.items():
            assert torch.allclose(value, expected[step][name], rtol=1e-5, atol=1e-7), (step, name)


def test_every_optimiser_starts_from_the_weights_of_the_seed(data):
    starts = [weights_at_checkpoints(settings({"method": m, "lr": 0.5}), data)[0][0] for m in ("sgd", "rm3")]
    other = weights_at_checkpoints(settings({"method": "sgd", "lr": 0.5}, seed=2), data)[0][0]
    assert torch.equal(starts[0]["output.weight"], starts[1]["output.weight"])
    assert not torch.equal(starts[0]["output.weight"], other["output.weight"])


def test_training_again_gives_the_same_bits_whatever_the_global_generator(data):
    run = settings({"method": "sgd", "lr": 0.5})
    first, _ = weights_at_checkpoints(run, data)
    torch.manual_seed(99)
    second, _ = weights_at_checkpoints(run, data)
    assert all(torch.equal(first[7][name], second[7][name]) for name in first[7])


def test_the_log_has_the_loss_before_every_update(data):
    run = settings({"method": "sgd", "lr": 0.5})
    _, log = weights_at_checkpoints(run, data)
    model = initial_model(run, data[0], 3)
    batch = next(training_batches(20, 6, run.seed))
    expected = F.cross_entropy(model(data[0][batch]), data[1][batch]).item()
    assert log.loss[0] == pytest.approx(expected, rel=1e-6)
    assert log.epoch.tolist() == pytest.approx([0, 0.3, 0.6, 0.9, 1.0, 1.3, 1.6])


def test_divergence_stops_with_the_update_and_the_way_out(data):
    inputs = data[0] * 1e30
    with pytest.raises(UserError, match=r"diverged: the loss is (nan|inf) at update 3.*lower the optimiser's lr"):
        train(settings({"method": "sgd", "lr": 1e30}), inputs, data[1], 3, CPU, lambda *_: None)


def test_evaluation_is_cross_entropy_and_argmax_per_example(data):
    model = initial_model(settings({"method": "sgd", "lr": 0.5}), data[0], 3)
    evaluation = evaluate(model, *data)
    logits = model(data[0]).detach().double().numpy()
    logsumexp = np.log(np.exp(logits).sum(axis=1))
    assert evaluation.loss == pytest.approx(logsumexp - logits[np.arange(20), data[1]], rel=1e-5)
    assert evaluation.prediction.tolist() == logits.argmax(axis=1).tolist()
    assert (evaluation.loss.dtype, evaluation.prediction.dtype) == (np.float32, np.int32)


def test_samples_are_fixed_without_replacement_and_grouped_by_change():
    changed = np.arange(100) % 3 == 0
    candidates = np.arange(40, 90)
    sample, again = (training_sample(candidates, changed, 20, seed=4) for _ in range(2))
    assert np.array_equal(sample.index, again.index)
    assert len(set(sample.index)) == 20
    assert set(sample.index) <= set(candidates)
    assert np.all(np.diff(sample.index) > 0)
    assert np.array_equal(sample.group == CORRUPT, changed[sample.index])
    assert set(sample.group) == {PRISTINE, CORRUPT}
    assert len(training_sample(candidates, changed, 1000, seed=4).index) == 50
    assert set(heldout_sample(30, 10, seed=0).group) == {HELDOUT}


def test_a_record_holds_the_statistics_of_every_checkpoint(data):
    inputs, targets = data[0].double(), data[1]
    groups = np.array([PRISTINE] * 8 + [HELDOUT] * 12)
    run = settings({"method": "sgd", "lr": 0.5})
    models = [initial_model(run, inputs, 3).double(), initial_model(settings({}, seed=9), inputs, 3).double()]
    record = record_of([measure(model, group_batches(inputs, targets, groups)) for model in models])

    assert record.layers == ("hidden1", "output")
    assert record.parameter_layer.tolist() == [0, 0, 1, 1]
    assert record.n.tolist() == [[8, 0, 12]] * 2
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    for k, model in enumerate(models):
        rows = per_example_gradients(model, loss, inputs[8:], targets[8:])
        flat = {name: value.flatten(1) for name, value in rows.items()}
        layer = torch.cat([flat["output.weight"], flat["output.bias"]], dim=1)
        whole = torch.cat(list(flat.values()), dim=1)
        for measured, expected in (
            (record.m_coherence_by_layer()[k, GROUPS.index("heldout"), 1], layer),
            (record.m_coherence_of_model()[k, GROUPS.index("heldout")], whole),
        ):
            assert measured == pytest.approx(
                (expected.sum(0).square().sum() / expected.square().sum()).item(), rel=1e-10
            )
    assert np.isnan(record.m_coherence_of_model()[:, CORRUPT]).all()


def test_a_missing_device_is_refused_by_name():
    if torch.cuda.is_available():
        assert prepare_device("cuda", 1).type == "cuda"
    else:
        with pytest.raises(
            UserError, match=r"device: found 'cuda', expected one that this machine has \((mps, )?cpu\)"
        ):
            prepare_device("cuda", 1)


def test_progress_in_a_log_file_is_whole_lines(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress(iter(range(5)), 5, "train")) == [0, 1, 2, 3, 4]
    lines = log.getvalue().splitlines()
    assert lines[0] == "train: 0/5"
    assert lines[-1].startswith("train: 100% 5/5")
    assert "\r" not in log.getvalue()
