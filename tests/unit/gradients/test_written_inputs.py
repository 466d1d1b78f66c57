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


def if_large(m, x):
    return m.b(m.a(x.mul_(0.5) if x.abs().amax() > 50 else x).tanh())


def if_large_behind_autograds_back(m, x):
    if x.abs().amax() > 50:
        x.data.mul_(0.5)
    return m.b(m.a(x).tanh())


def to_the_same_values(m, x):
    return m.b(m.a(x.clamp_(-1000, 1000)).tanh())


@pytest.mark.parametrize("forward", [if_large, if_large_behind_autograds_back, to_the_same_values])
def test_so_they_have_where_it_writes_in_a_later_batch_only_or_nothing_new(forward):
    inputs, targets = sample([5])[0]
    inputs = inputs.sign() * (1 + inputs.abs())
    batches = [(inputs, targets), (100 * inputs, targets), (inputs, targets)]
    found = gradient_statistics(network(forward), CE, given := copies(batches))
    expected = [
        gradient_statistics(network(forward), CE, [(one[i : i + 1].clone(), targets[i : i + 1])])
        for one, _ in batches
        for i in range(5)
    ]
    assert found.sum_sq_norm() == pytest.approx(sum(each.sum_sq_norm() for each in expected), rel=1e-10)
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(given, batches, strict=True))


def test_what_nobody_can_write_to_is_left_alone(tmp_path):
    np.save(tmp_path / "targets.npy", np.arange(5) % 3)
    with pytest.warns(UserWarning, match="not writable"):
        mapped = torch.from_numpy(np.load(tmp_path / "targets.npy", mmap_mode="r"))
    inputs, _ = sample([5])[0]
    activation = inputs.clone().requires_grad_() * 1
    total = (activation**2).sum()
    for targets in (mapped, torch.tensor([1]).expand(5)):
        assert gradient_statistics(network(halving), CE, [(inputs, targets)]).sum_sq_norm() > 0
        found = gradient_statistics(network(lambda m, x: m.b(m.a(x))), zeroed, [(activation, targets)])
        assert found.sum_sq_norm() > 0
    total.backward()  # nothing was written to what it needs


def squares(outputs, targets):
    return ((outputs - targets) ** 2).sum(1)


def test_inputs_that_share_memory_are_measured_unless_they_are_written_to():
    def half(m, x):
        x /= 2
        return m.a(x)

    inputs, _ = sample([5])[0]
    assert gradient_statistics(network(lambda m, x: m.a(x)), squares, [(inputs, inputs)]).sum_sq_norm() > 0
    with pytest.raises(UnsupportedModelError, match="two of these share memory"):
        gradient_statistics(network(half), squares, [(inputs, inputs)], spot_check=0)
    assert gradient_statistics(network(half), squares, [(inputs, inputs.clone())]).sum_sq_norm() > 0


def test_a_batch_is_as_it_was_after_a_call_that_fails():
    inputs, targets = sample([5])[0]
    before = inputs.clone()
    with pytest.raises(ValueError, match="loss_fn: found losses of shape"):
        gradient_statistics(network(halving), lambda outputs, targets: CE(outputs, targets).mean(), [(inputs, targets)])
    assert torch.equal(inputs, before)
