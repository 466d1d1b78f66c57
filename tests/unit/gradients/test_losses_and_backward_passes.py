"""Losses that are not those of the examples in their order, and backward passes inside of a pass: refused by name."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from mcoherence import CoherenceMonitor, example_gram, example_statistics, gradient_statistics
from mcoherence.gradients.given.refusal import UnsupportedModelError
from tests.unit.gradients.model_of_function import Model
from tests.unit.gradients.reversible import Reversible

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
LOSSES = {
    "sorted": lambda o, t: PER_EXAMPLE(o, t).sort(descending=True).values,
    "the k largest": lambda o, t: PER_EXAMPLE(o, t).topk(len(t))[0],
    "the last one first": lambda o, t: PER_EXAMPLE(o, t).flip(0),
    "each in the place of the next": lambda o, t: PER_EXAMPLE(o, t).roll(1, 0),
    "the mean, once for each example": lambda o, t: F.cross_entropy(o, t).expand(len(t)),
    "mixed with another example's target": lambda o, t: 0.7 * PER_EXAMPLE(o, t) + 0.3 * PER_EXAMPLE(o, t.flip(0)),
}


def sample(n, d=4):
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, d, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def classifier(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.mark.parametrize("n", [2, 3, 5, 64])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_in_another_order_or_mixed_are_refused(name, n):
    """The examples come with growing losses and other targets than their neighbours': all of these change something."""
    inputs, targets = sample(n)[0], torch.arange(n) % 3
    order = PER_EXAMPLE(classifier()(inputs), targets).argsort()
    batch = [(inputs[order], targets[order])]
    with pytest.raises(UnsupportedModelError):
        example_statistics(classifier(), LOSSES[name], batch, along="sum")
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(classifier(), LOSSES[name], batch)
    with pytest.raises(UnsupportedModelError):
        example_gram(classifier(), LOSSES[name], batch)


def reversible():
    torch.manual_seed(0)
    return Model(
        lambda m, x: m.b(Reversible.apply(m.a(x), m.k)), a=nn.Linear(4, 6), k=nn.Linear(6, 6), b=nn.Linear(6, 3)
    )


MEASURES = {
    "the sample": lambda m, batch: gradient_statistics(m, PER_EXAMPLE, [batch]),
    "examples": lambda m, batch: example_statistics(m, PER_EXAMPLE, [batch], along="sum"),
    "the Gram matrix": lambda m, batch: example_gram(m, PER_EXAMPLE, [batch]),
    "a monitor": lambda m, batch: CoherenceMonitor(m, PER_EXAMPLE, batch, every=1)(0),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_backward_pass_inside_of_one_is_refused_before_it_writes(name):
    """The gradients that training has accumulated, and weights that an optimiser steps in a hook, stay as they are."""
    model, batch = reversible(), sample(5)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    stepped = []
    model.k.weight.register_post_accumulate_grad_hook(lambda p: stepped.append(p))
    with pytest.raises(UnsupportedModelError, match="runs a backward pass of its own"):
        MEASURES[name](model, batch)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert stepped == []
    PER_EXAMPLE(model(batch[0]), batch[1]).sum().backward()  # nothing of the refusal is left behind
    assert len(stepped) == 1
    assert (model.k.weight.grad != 1).any()


def test_a_reentrant_checkpoint_of_inputs_that_require_gradients_is_refused():
    torch.manual_seed(0)
    model = Model(
        lambda m, x: m.b(checkpoint(m.a, x, use_reentrant=True)), a=nn.Linear(4, 6), b=nn.Linear(6, 3)
    )  # fmt: skip
    inputs, targets = sample(5)
    with pytest.raises(UnsupportedModelError, match="reentrant"):
        gradient_statistics(model, PER_EXAMPLE, [(inputs.requires_grad_(), targets)])


def test_a_loader_that_shuffles_is_refused_where_rows_are_examples():
    examples = TensorDataset(*sample(6))
    for measure in (example_statistics, example_gram):
        with pytest.raises(ValueError, match="found a loader with a RandomSampler, expected one that does not shuffle"):
            measure(classifier(), PER_EXAMPLE, DataLoader(examples, 3, shuffle=True))
        assert measure(classifier(), PER_EXAMPLE, DataLoader(examples, 3)).n == 6
    assert gradient_statistics(classifier(), PER_EXAMPLE, DataLoader(examples, 3, shuffle=True)).n["all"] == 6


@pytest.mark.parametrize(
    ("loss", "targets", "way_out"),
    [
        (nn.MSELoss(), torch.zeros(5, 3), r"shape \(\), expected .*; use reduction=\"none\"$"),
        (nn.MSELoss(reduction="none"), torch.zeros(5, 3), r"shape \(5, 3\), .*sum each example's"),
        (lambda o, t: F.mse_loss(o[:, :1], t, reduction="none"), torch.zeros(5), r"shape \(5, 5\), .*all pairs"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_of_another_shape_are_refused_with_what_to_do(loss, targets, way_out):
    with pytest.raises(ValueError, match=way_out):
        gradient_statistics(classifier(), loss, [(sample(5)[0], targets)])


def test_arguments_in_another_order_and_a_batch_without_a_list_are_told():
    with pytest.raises(ValueError, match=r"found CrossEntropyLoss, expected a list or a loader .* in this order"):
        gradient_statistics(classifier(), [sample(5)], PER_EXAMPLE)
    with pytest.raises(ValueError, match=r"found Tensor, .*put a single batch into a list"):
        gradient_statistics(classifier(), PER_EXAMPLE, sample(5))
