"""Batch norm by the statistics of a sample, set in a copy, and by those of each mini-batch: against dense sums."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence.coherence import alpha, alpha_from_minibatches
from mcoherence.gradients.batch_norm import batch_norm_layers, with_batch_statistics, with_sample_statistics
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.minibatches import alpha_of_examples, minibatch_statistics
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.statistics import gradient_statistics

LOSS = nn.CrossEntropyLoss(reduction="none")


def network(*further):
    """Convolutions and a hidden layer with batch norm of both kinds, and dropout, in float64; statistics far off."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False),
        nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5, momentum=None), nn.Dropout(0.5), nn.Linear(5, 3), *further,
    ]  # fmt: skip
    model = nn.Sequential(*layers).double()
    for layer in (model[1], model[4], model[7]):
        layer.running_mean.fill_(3.0)
        layer.running_var.fill_(7.0)
    return model


@pytest.fixture
def inputs():
    return torch.randn(11, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def targets():
    return torch.arange(11) % 3


def cut(*tensors, sizes=(4, 5, 2)):
    return list(zip(*(tensor.split(sizes) for tensor in tensors), strict=True))


def set_by_hand(model, inputs):
    """The statistics of every layer from the whole sample in one batch, written out layer by layer."""
    value = inputs
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                axes = [0, *range(2, value.dim())]
                layer.running_mean.copy_(value.mean(axes))
                layer.running_var.copy_(value.var(axes, unbiased=False))
            value = layer.eval()(value)
    return model


def test_the_copy_has_the_statistics_of_the_whole_sample_layer_by_layer(inputs, targets):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = with_sample_statistics(model.eval(), cut(inputs, targets))
    by_hand = set_by_hand(network(), inputs)
    for layer in (1, 4, 7):
        torch.testing.assert_close(copy[layer].running_mean, by_hand[layer].running_mean, rtol=0, atol=1e-14)
        torch.testing.assert_close(copy[layer].running_var, by_hand[layer].running_var, rtol=1e-13, atol=0)
    # in eval mode it does what training mode does for the sample as one batch
    trained = with_batch_statistics(network())
    torch.testing.assert_close(copy(inputs), trained(inputs), rtol=1e-12, atol=1e-13)
    assert copy is not model
    assert not copy.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_coherence_of_the_copy_is_that_of_a_loop_over_examples(inputs, targets):
    statistics = gradient_statistics(with_sample_statistics(network(), cut(inputs)), LOSS, cut(inputs, targets))
    rows = per_example_gradients(set_by_hand(network(), inputs), LOSS, inputs, targets)
    flat = torch.cat([value.flatten(1) for value in rows.values()], dim=1)
    assert statistics.sum_sq_norm() == pytest.approx(flat.square().sum().item(), rel=1e-11)
    assert statistics.sq_norm_of_sum() == pytest.approx(flat.sum(0).square().sum().item(), rel=1e-11)
    running = gradient_statistics(network(), LOSS, cut(inputs, targets))
    assert abs(running.m_coherence() / statistics.m_coherence() - 1) > 0.01  # it does make a difference
    assert running.fingerprint != statistics.fingerprint


def test_inference_mode_around_a_call_changes_nothing(inputs, targets):
    one, other = network(), network()
    with torch.inference_mode():
        batches = cut(inputs.clone(), targets)
        measured = gradient_statistics(with_sample_statistics(one, batches), LOSS, batches)
        means = minibatch_statistics(other, LOSS, [(*batches[0], 0)], ["all"])
    outside = gradient_statistics(with_sample_statistics(network(), cut(inputs)), LOSS, cut(inputs, targets))
    assert measured.sum_sq_norm() == pytest.approx(outside.sum_sq_norm(), rel=1e-12)
    assert np.isfinite(means.sum_sq_norms).all()


@pytest.mark.parametrize("sizes", [(11,), (1, 10), (2, 2, 7)])
def test_how_the_sample_is_cut_changes_rounding_at_most(inputs, sizes):
    copy, other = (with_sample_statistics(network(), cut(inputs, sizes=one)) for one in (sizes, (4, 5, 2)))
    for name, value in copy.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-12, atol=1e-13)


def test_layers_without_running_statistics_get_those_of_the_sample(inputs, targets):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(32, 3)
    )
    model.double()
    with pytest.raises(UnsupportedModelError, match="batch norm without running statistics: 1"):
        gradient_statistics(model, LOSS, cut(inputs, targets))
    copy = with_sample_statistics(model, cut(inputs))
    torch.testing.assert_close(copy.eval()(inputs), model(inputs), rtol=1e-12, atol=1e-13)
    assert gradient_statistics(copy, LOSS, cut(inputs, targets)).n == {"all": 11}
    assert model[1].running_mean is None


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.BatchNorm1d, (3,)), (nn.BatchNorm1d, (3, 2)), (nn.BatchNorm3d, (3, 2, 2, 2)), (nn.SyncBatchNorm, (3, 2))],
)
def test_every_kind_of_batch_norm(layer, shape):
    inputs = 2 + torch.randn(6, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    copy = with_sample_statistics(layer(3).double(), [(inputs[:4],), (inputs[4:],)])
    axes = [0, *range(2, inputs.dim())]
    torch.testing.assert_close(copy.running_mean, inputs.mean(axes))
    torch.testing.assert_close(copy.running_var, inputs.var(axes, unbiased=False))


class Frozen(nn.Sequential):
    """Keeps its batch norm in eval mode, whatever is asked for."""

    def train(self, mode=True):
        super().train(mode)
        self[0].eval()
        return self


def test_frozen_layers_and_other_norms_stay_as_they_are():
    model = Frozen(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2))
    assert batch_norm_layers(model) == ("3",)
    copy = with_sample_statistics(model, [(torch.tensor([[1.0, 2.0], [5.0, 0.0]]),)])
    assert copy[0].running_mean.tolist() == [0, 0]
    assert copy[3].running_mean.tolist() != [0, 0]


def test_a_network_without_batch_norm_measures_the_same_to_the_bit(inputs, targets):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    copy = with_sample_statistics(model, cut(inputs))
    ours, theirs = (gradient_statistics(one, LOSS, cut(inputs, targets)) for one in (copy, model))
    assert ours.sum_sq_norms.tobytes() == theirs.sum_sq_norms.tobytes()
    assert ours.gram.tobytes() == theirs.gram.tobytes()
    assert ours.fingerprint == theirs.fingerprint


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, inputs):
        return self.norm(1 + 3 * self.norm(inputs))


class EitherWay(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

    def forward(self, inputs):
        return self.one(inputs) if len(inputs) > 1 else self.other(inputs)


class OwnNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(2))

    def forward(self, inputs):
        return inputs - self.running_mean


class WithState(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.kept = self.norm.weight * 2  # deepcopy takes no such tensor

    def forward(self, inputs):
        return self.norm(inputs)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice, "batch norm that a forward pass calls more than once: norm"),
        (EitherWay, "batch norm that not every batch comes to, or not in one order: one, other"),
        (OwnNorm, r"running statistics of a layer that is none of torch's:  \(OwnNorm\)"),
        (WithState, "a model that cannot be copied"),
        (lambda: nn.LazyBatchNorm1d(), "weights that a first pass is to make"),
    ],
)
def test_what_has_no_statistics_of_the_sample_is_refused_by_name(model, message):
    batches = [(torch.randn(3, 2),), (torch.randn(1, 2),)]
    with pytest.raises(UnsupportedModelError, match=message):
        with_sample_statistics(model(), batches)


def test_a_sample_that_has_no_variance_or_is_gone_is_refused():
    with pytest.raises(ValueError, match="batch norm '': found one value per channel"):
        with_sample_statistics(nn.BatchNorm1d(2), [(torch.ones(1, 2),)])
    with pytest.raises(ValueError, match="found an iterator, which can be gone through once"):
        with_sample_statistics(nn.BatchNorm1d(2), iter([(torch.ones(3, 2),)]))
    with pytest.raises(ValueError, match="batches: found no examples"):
        with_sample_statistics(nn.BatchNorm1d(2), [])


def test_minibatches_sum_mean_gradients_of_training_mode(inputs, targets):
    model = network()
    batches = [
        (x, y, group) for (x, y), group in zip(cut(inputs[:9], targets[:9], sizes=(3, 3, 3)), (0, 0, 1), strict=True)
    ]
    found = minibatch_statistics(model, LOSS, batches, ["train", "heldout"])

    model.train()
    model[8].eval()  # dropout
    means = []
    for x, y, _ in batches:
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        means.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    first, second, third = means
    assert found.counts.tolist() == [2, 1]
    assert found.sum_sq_norms.sum(axis=1) == pytest.approx(
        [(first @ first + second @ second).item(), (third @ third).item()]
    )
    assert found.gram.sum(axis=-1) == pytest.approx(
        np.array([[a @ b for b in (first + second, third)] for a in (first + second, third)])
    )
    of_means = ((first + second) @ (first + second) / (2 * (first @ first + second @ second))).item()
    assert found.alpha("train") == pytest.approx(of_means / (3 - 2 * of_means))
    assert found.m_coherence("train") == pytest.approx(6 * found.alpha("train"))
    assert np.isnan(found.alpha("heldout"))  # one mini-batch says nothing
    with pytest.raises(
        ValueError, match="found mini-batches of \\[2, 3\\] examples, expected mini-batches of one size"
    ):
        minibatch_statistics(model, LOSS, [(inputs[:3], targets[:3], 0), (inputs[:2], targets[:2], 0)], ["train"])


def test_minibatch_statistics_leave_the_model_as_it_was(inputs, targets):
    model = network().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    minibatch_statistics(model, LOSS, [(inputs, targets, 0)], ["train"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_inverting_alpha_of_all_draws_of_a_minibatch_gives_alpha_of_the_examples():
    """All k-tuples of a population, each as likely as another: the mean of k independent draws, by enumeration."""
    vectors = np.random.default_rng(0).normal(0.3, 1, (5, 4))
    means = np.array([vectors[list(drawn)].mean(axis=0) for drawn in product(range(5), repeat=3)])
    of_means = alpha(np.square(means.sum(axis=0)).sum(), np.square(means).sum(), len(means))
    of_examples = alpha(np.square(vectors.sum(axis=0)).sum(), np.square(vectors).sum(), 5)
    assert alpha_from_minibatches(of_means, 3) == pytest.approx(of_examples, rel=1e-12)


def test_disjoint_minibatches_of_orthogonal_gradients_give_the_bias_that_is_stated():
    """All ways to cut six examples into pairs: |W|^2 is the same in each, and so is the estimate, 6 / (6 - 2 + 1)."""
    vectors = np.eye(6)
    pairings = [
        cut for cut in combinations(list(combinations(range(6), 2)), 3) if len({i for pair in cut for i in pair}) == 6
    ]
    assert len(pairings) == 15
    for pairs in pairings:
        means = np.array([vectors[list(pair)].mean(axis=0) for pair in pairs])
        estimate = alpha_of_examples(np.square(means.sum(axis=0)).sum(), np.square(means).sum(), 3, 2)
        assert 6 * estimate == pytest.approx(6 / 5)
