"""Models and losses that write to what they are given, as `x /= 255` does: each pass has its own, and nobody else's."""

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor, example_statistics, gradient_statistics
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.reference import per_example_gradients
from tests.unit.gradients.model_of_function import Model, bare

CE = nn.CrossEntropyLoss(reduction="none")


def halving(m, x):
    x /= 2
    return m.b(m.a(x).tanh())


def through_the_whole_model(m, x):
    x.mul_(0.5)
    return m.b((m.a(x) @ m.w).tanh() @ m.w)


def behind_autograds_back(m, x):
    x.data.mul_(0.5)
    return m.b(m.a(x).tanh())


def zeroed(outputs, targets):
    """Targets of -1 count as the first class, from then on."""
    targets += 1
    return CE(outputs, targets % 3)


WRITING = {
    "halving": (halving, CE),
    "through the whole model": (through_the_whole_model, CE),
    "behind autograd's back": (behind_autograds_back, CE),
    "loss": (lambda m, x: m.b(m.a(x).tanh()), zeroed),
}


def network(forward):
    torch.manual_seed(0)
    return Model(forward, a=nn.Linear(6, 6), b=nn.Linear(6, 3), w=bare(6, 6)).double()


def sample(sizes=(5, 5, 4)):
    torch.manual_seed(1)
    return [(torch.randn(n, 6, dtype=torch.float64), torch.arange(n) % 3) for n in sizes]


def copies(batches):
    return [(inputs.clone(), targets.clone()) for inputs, targets in batches]


@pytest.mark.parametrize("spot_check", [0, 1])
@pytest.mark.parametrize("name", WRITING)
def test_each_pass_has_the_tensors_as_they_were_handed_in(name, spot_check):
    forward, loss_fn = WRITING[name]
    batches = sample()
    given = copies(batches)
    found = gradient_statistics(network(forward), loss_fn, given, spot_check=spot_check)
    alone = [
        per_example_gradients(network(forward), loss_fn, inputs[i : i + 1].clone(), targets[i : i + 1].clone())
        for inputs, targets in batches
        for i in range(len(inputs))
    ]
    for parameter, squared in found.sum_sq_norm(by="parameter").items():
        assert squared == pytest.approx(sum(float(one[parameter].square().sum()) for one in alone), rel=1e-10)
    for (inputs, targets), (before, labels) in zip(given, batches, strict=True):
        assert torch.equal(inputs, before)
        assert torch.equal(targets, labels)


def test_so_they_have_in_a_chain_whose_small_batches_go_together():
    model = nn.Sequential(nn.LeakyReLU(0.5, inplace=True), nn.Linear(6, 3)).double()
    batches = sample([4] * 6)
    found = gradient_statistics(model, CE, given := copies(batches))
    expected = gradient_statistics(nn.Sequential(nn.LeakyReLU(0.5), model[1]), CE, batches)
    assert found.sum_sq_norm() == pytest.approx(expected.sum_sq_norm(), rel=1e-12)
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(given, batches, strict=True))


def test_so_has_the_sample_of_a_monitor_and_the_second_pass_for_products():
    model, batches = network(halving), sample()
    inputs, targets = batches[0]
    monitor = CoherenceMonitor(model, CE, (inputs.clone(), targets), every=1, spot_check=0)
    for step in range(3):
        monitor(step)
    assert monitor.history["m_coherence"].nunique() == 1
    products = example_statistics(model, CE, copies(batches), along="sum")
    fresh = network(lambda m, x: m.b(m.a(x / 2).tanh()))
    expected = example_statistics(fresh, CE, batches, along="sum")
    np.testing.assert_allclose(products.products, expected.products, rtol=1e-10)


def test_one_that_does_so_in_a_later_batch_first_is_refused():
    def if_large(m, x):
        return m.b(m.a(x.mul_(0.5) if x.abs().amax() > 50 else x).tanh())

    inputs, targets = sample([5])[0]
    with pytest.raises(UnsupportedModelError, match="writes to the inputs or targets of this batch"):
        gradient_statistics(network(if_large), CE, [(inputs, targets), (100 * inputs, targets)])
