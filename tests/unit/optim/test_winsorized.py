"""Winsorised SGD against sorted per-example gradients of a loop over single examples."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mcoherence.errors import UserError
from mcoherence.gradients.reference import per_example_gradients as gradients_one_by_one
from mcoherence.optim import WinsorizedSGD
from mcoherence.optim.linear_weights import NotFactoredError, linear_weights
from mcoherence.optim.winsorized import WinsorizedMean, gradients_of_examples


def winsorized_mean(values, c, chunk_size=1000):
    """What WinsorizedMean makes of NumPy values [n, ...]."""
    mean = WinsorizedMean(len(values), c)
    for start in range(0, len(values), chunk_size):
        mean.add(torch.from_numpy(values[start : start + chunk_size].copy()))
    return mean.value().numpy().reshape(values.shape[1:])


def test_a_mean_by_hand():
    values = np.array([[7.0], [-50.0], [1.0], [90.0], [3.0]])
    assert winsorized_mean(values, c=0) == pytest.approx(51 / 5)
    assert winsorized_mean(values, c=25) == pytest.approx((1 + 1 + 3 + 7 + 7) / 5)  # one at each end, ranks 1 and 3
    assert winsorized_mean(values, c=12.5) == pytest.approx(51 / 5)  # rank 0.5 goes to 0: nothing is clipped
    assert winsorized_mean(values, c=50) == 3.0


def test_half_of_the_examples_at_each_end_leave_the_median():
    values = np.random.default_rng(0).normal(size=(6, 5))
    assert winsorized_mean(values, c=50) == pytest.approx(np.median(values, axis=0))
    assert winsorized_mean(values[:5], c=50) == pytest.approx(np.median(values[:5], axis=0))


@pytest.mark.parametrize("chunk_size", [1, 7, 33, 100, 1000])
@pytest.mark.parametrize("c", [0, 1, 2, 4, 8, 30, 50])
def test_the_papers_batches_of_100_are_clipped_to_numpys_nearest_percentiles(c, chunk_size):
    generator = np.random.default_rng(1)
    values = generator.normal(size=(100, 3, 4)) * 10.0 ** generator.integers(-6, 6, size=(100, 3, 4))
    if c == 50:
        expected = np.median(values, axis=0)  # rank 49.5: "nearest" is not symmetric there
    else:
        low, high = np.percentile(values, [c, 100 - c], axis=0, method="nearest")
        expected = np.clip(values, low, high).mean(axis=0)
    assert winsorized_mean(values, c, chunk_size) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 4, 50])
def test_one_huge_value_costs_the_others_no_digits(chunk_size):
    values = np.arange(1.0, 12.0, dtype=np.float32)[:, None]
    values[3] = 1e30  # was 4; becomes 11, the next smaller, as 1 becomes 2
    clipped = [2.0, 2.0, 3.0, 11.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    assert winsorized_mean(values, c=10, chunk_size=chunk_size)[0] == np.float32(sum(clipped) / 11)


def test_infinities_of_few_examples_are_clipped_and_what_is_not_a_number_is_not_hidden():
    values = np.tile(np.arange(11.0)[:, None], (1, 3))
    values[0, 0], values[4, 1], values[5, 2] = np.inf, -np.inf, np.nan
    mean = winsorized_mean(values, c=10, chunk_size=3)
    # first column: 1..10 and inf: 2 2 3 ... 10 10; second: -inf 0 1 2 3 5 ... 10: 0 0 1 2 3 5 ... 9 9
    assert mean[:2] == pytest.approx(
        [(2 + sum(range(2, 11)) + 10) / 11, (0 + 0 + 1 + 2 + 3 + 5 + 6 + 7 + 8 + 9 + 9) / 11]
    )
    assert np.isnan(mean[2])


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 2), nn.GroupNorm(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)]
    return nn.Sequential(*layers).double(), torch.randn(10, 1, 3, 3).double(), torch.randint(0, 4, (10,))


def loss_of(model):
    return lambda inputs, labels: F.cross_entropy(model(inputs), labels)


@pytest.mark.parametrize("chunk_size", [3, 10])
def test_per_example_gradients_are_those_of_single_examples(chunk_size):
    model, inputs, labels = network()
    parameters = list(model.parameters())
    chunks = list(gradients_of_examples(model, parameters, loss_of(model), inputs, labels, chunk_size))
    expected = gradients_one_by_one(model, nn.CrossEntropyLoss(reduction="none"), inputs, labels)
    for i, (name, rows) in enumerate(expected.items()):
        assert torch.allclose(torch.cat([chunk.whole[i] for chunk in chunks]), rows, rtol=1e-10, atol=1e-14), name
    losses = F.cross_entropy(model(inputs), labels, reduction="none")
    assert torch.allclose(torch.cat([chunk.losses for chunk in chunks]), losses)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("c", [0, 20, 50])
def test_a_step_follows_the_clipped_mean_and_returns_the_mean_loss(c, chunk_size):
    model, inputs, labels = network()
    rows = gradients_one_by_one(model, nn.CrossEntropyLoss(reduction="none"), inputs, labels)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    mean_loss = loss_of(model)(inputs, labels)
    optimizer = WinsorizedSGD(model.parameters(), lr=0.5, c=c, model=model, chunk_size=chunk_size)
    assert optimizer.step(loss_of(model), inputs, labels).item() == pytest.approx(mean_loss.item())
    rank = {0: 0, 20: 2, 50: 4}[c]  # of ten examples
    for name, p in model.named_parameters():
        ordered = np.sort(rows[name].numpy(), axis=0)
        ordered[:rank], ordered[10 - rank :] = ordered[rank], ordered[9 - rank]
        assert np.allclose(p.detach().numpy(), before[name].numpy() - 0.5 * ordered.mean(axis=0), atol=1e-12), name
        assert p.grad is None


class UsesLayers(nn.Module):
    """Linear layers used once, twice, on three rows of an example, tied to another, and outside of the layer."""

    def __init__(self):
        super().__init__()
        self.once, self.twice, self.rows = nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(2, 2)
        self.tied, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.other.weight = self.tied.weight
        self.penalised, self.last, self.unused = nn.Linear(6, 6), nn.Linear(6, 4), nn.Linear(2, 2)

    def forward(self, inputs):
        hidden = self.once(inputs.flatten(1)).relu()
        hidden = self.twice(self.twice(hidden)).tanh()
        hidden = self.rows(hidden.view(-1, 3, 2)).flatten(1)
        hidden = self.other(self.tied(hidden).relu())
        return self.last(self.penalised(hidden).relu()) + self.penalised.weight.square().mean()


@pytest.mark.parametrize("c", [0, 20, 50])
def test_linear_layers_of_any_use_follow_the_clipped_mean(c):
    torch.manual_seed(0)
    model = UsesLayers().double()
    inputs, labels = torch.randn(10, 1, 3, 4).double(), torch.randint(0, 4, (10,))
    rows = gradients_one_by_one(model, nn.CrossEntropyLoss(reduction="none"), inputs, labels)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    WinsorizedSGD(model.parameters(), lr=0.5, c=c, model=model).step(loss_of(model), inputs, labels)
    for name, p in model.named_parameters():
        expected = winsorized_mean(rows[name].numpy(), c) if name in rows else 0.0
        assert np.allclose(p.detach().numpy(), before[name].numpy() - 0.5 * expected, atol=1e-12), name


def test_only_what_one_linear_layer_does_once_comes_as_factors():
    model = UsesLayers()
    parameters = list(model.parameters())
    names = [name for name, _ in model.named_parameters()]
    candidates = linear_weights(model, parameters)
    assert [names[i] for i in candidates] == [
        f"{name}.weight" for name in ("once", "twice", "rows", "penalised", "last", "unused")
    ]
    with pytest.raises(NotFactoredError) as refused:
        next(
            gradients_of_examples(
                model, parameters, loss_of(model), torch.randn(2, 12), torch.tensor([0, 1]), 2, candidates
            )
        )
    assert {names[i] for i in refused.value.weights} == {
        f"{name}.weight" for name in ("twice", "rows", "penalised", "unused")
    }


def test_the_pass_that_finds_how_layers_are_used_draws_nothing_at_random():
    """Dropout draws the same whether a layer is found to be used twice or is known to be no candidate."""

    def stepped(layer):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(), layer(12, 12), nn.Linear(12, 4)).double()
        optimizer = WinsorizedSGD(model.parameters(), lr=0.5, c=20, model=model)
        inputs, labels = torch.randn(10, 12).double(), torch.arange(10) % 4
        twice = nn.Sequential(*model[:3], model[2], model[3])
        optimizer.step(loss_of(twice), inputs, labels)
        return model[2].weight.detach()

    class NoCandidate(nn.Linear):
        pass

    assert torch.equal(stepped(nn.Linear), stepped(NoCandidate))


def test_nothing_clipped_is_torchs_sgd_with_momentum_and_weight_decay():
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    model, inputs, labels = network()
    twin, _, _ = network()
    winsorized = WinsorizedSGD(model.parameters(), lr=0.1, c=0, model=model, **settings)
    sgd = torch.optim.SGD(twin.parameters(), lr=0.1, **settings)
    for _ in range(4):
        winsorized.step(loss_of(model), inputs, labels)
        sgd.zero_grad()
        loss_of(twin)(inputs, labels).backward()
        sgd.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10, atol=1e-12)


def test_parameters_without_dimensions():
    model = nn.Linear(1, 1)
    model.weight, model.bias = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(1.0))
    optimizer = WinsorizedSGD(model.parameters(), lr=1.0, c=50, model=model)
    optimizer.step(lambda x, y: (model.weight * x * y + model.bias).sum(), torch.tensor([1.0, 9.0, 2.0]), torch.ones(3))
    assert (model.weight.item(), model.bias.item()) == (-2.0, 0.0)


def test_groups_with_rates_of_their_own_frozen_and_unused_parameters():
    model, inputs, labels = network()
    model.unused = nn.Parameter(torch.ones(2).double())
    model[0].weight.requires_grad_(False)
    kept = [model[0].weight.clone(), model[4].bias.clone()]
    groups = [{"params": model[4].parameters(), "lr": 1e-9}, {"params": [*model[0].parameters(), model.unused]}]
    uses_all_but_one = nn.Sequential(*model)
    WinsorizedSGD(groups, lr=0.5, c=10, model=model).step(loss_of(uses_all_but_one), inputs, labels)
    assert torch.equal(model[0].weight, kept[0])
    assert 0 < (model[4].bias - kept[1]).abs().max() < 1e-8
    assert model.unused.tolist() == [1.0, 1.0]


def test_the_inputs_are_left_as_they_are():
    """The gradients of a linear loss are the inputs themselves, and sorting is in place."""
    model = nn.Linear(3, 1, bias=False)
    inputs = torch.tensor([[3.0, 1.0, 2.0], [1.0, 5.0, 0.0], [2.0, 0.0, 9.0]])
    before, weight = inputs.clone(), model.weight.detach().clone()
    optimizer = WinsorizedSGD(model.parameters(), lr=1.0, c=50, model=model)
    optimizer.step(lambda x, y: model(x).sum(), inputs, torch.zeros(3))
    assert torch.equal(inputs, before)
    assert torch.allclose(weight - model.weight, torch.tensor([[2.0, 1.0, 2.0]]))


def test_batch_norm_in_training_mode_is_refused_by_name_and_in_eval_mode_taken():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))
    inputs, labels = torch.randn(6, 1, 2, 2), torch.randint(0, 3, (6,))
    optimizer = WinsorizedSGD(model.parameters(), lr=0.1, c=10, model=model)
    with pytest.raises(
        UserError, match=r"found batch norm in training mode \(layer 2\).*group or layer norm.*M3 or RM3"
    ):
        optimizer.step(loss_of(model), inputs, labels)
    model.eval()
    assert torch.isfinite(optimizer.step(loss_of(model), inputs, labels))


@pytest.mark.parametrize("setting", [{"c": -1}, {"c": 51}, {"c": 1, "chunk_size": 0}, {"c": 1, "lr": 0.0}], ids=str)
def test_settings_out_of_range_are_refused(setting):
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=f"WinsorizedSGD: found {list(setting)[-1]} "):
        WinsorizedSGD(model.parameters(), **{"lr": 0.1} | setting, model=model)
