"""A layer without a rule runs again for each example, and is measured by that only if it gave each the same before."""

import math

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.batch import fallback
from mcoherence.gradients.batch.fallback import are_same_outputs, layer_rows
from mcoherence.gradients.reference import per_example_gradients

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
HALF = torch.float16, torch.bfloat16
DTYPES = (*HALF, torch.float32, torch.float64)


def outputs(dtype, *shape):
    torch.manual_seed(0)
    return torch.randn(*shape).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_no_difference(dtype):
    within = outputs(dtype, 3, 40)
    assert are_same_outputs(within, within * (1 + torch.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.05, 2.0])
def test_what_is_more_than_rounding_is_one(dtype, share):
    within = outputs(dtype, 3, 40)
    assert not are_same_outputs(within, within * (1 + share))


def test_it_is_told_in_float32_from_a_thousandth_and_in_float64_from_a_millionth():
    for dtype, share in ((torch.float32, 1e-3), (torch.float64, 1e-6)):
        within = outputs(dtype, 3, 40)
        assert not are_same_outputs(within, within * (1 + share))


def test_one_element_of_a_million_is_not_hidden_by_the_others():
    within = outputs(torch.float32, 1, 10**6)
    alone = within * (1 + 1e-7)
    assert are_same_outputs(within, alone)
    alone[0, 77] *= 2
    assert not are_same_outputs(within, alone)


def test_the_second_example_counts_as_the_first():
    within = outputs(torch.float32, 2, 3)
    assert not are_same_outputs(within, torch.stack([within[0], -within[1]]))


# With the smallest numbers of float32 a square is 0; with the largest of each dtype it is infinite, and so is a sum.
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.float16, 6e4),
        (torch.float32, 3e38),
        (torch.float32, 1e-30),
        (torch.float64, 1e308),
        (torch.float64, 1e-200),
    ],
)
def test_no_size_of_numbers_hides_a_difference(dtype, size):
    within = torch.full((2, 4096), size, dtype=dtype)
    assert are_same_outputs(within, within.clone())
    assert not are_same_outputs(within, -within)
    assert not are_same_outputs(within, within / 2)


@pytest.mark.parametrize("filling", [-math.inf, math.inf, math.nan, torch.finfo(torch.float32).min, -1e9])
def test_what_a_mask_is_filled_with_is_the_same_and_hides_nothing(filling):
    within = outputs(torch.float32, 2, 4)
    within[:, 0] = filling
    alone = within.clone()
    assert are_same_outputs(within, alone)
    alone[1, 2] += 0.1
    assert not are_same_outputs(within, alone)


@pytest.mark.parametrize("filling", [-math.inf, math.inf, math.nan])
def test_a_number_and_none_differ(filling):
    within, alone = torch.ones(1, 2), torch.tensor([[1.0, filling]])
    assert not are_same_outputs(within, alone)
    assert not are_same_outputs(alone, within)


def test_complex_outputs_are_told_apart_by_both_parts():
    within = torch.tensor([[1 + 1j]])
    assert are_same_outputs(within, within * (1 + 1e-7))
    assert not are_same_outputs(within, within.conj())


def test_outputs_of_another_shape_are_others():
    assert not are_same_outputs(torch.ones(2, 3), torch.ones(2, 1))
    assert not are_same_outputs(torch.ones(2, 1), torch.ones(2))


class Limits(nn.Module):
    """Of two parameters, by an operation that nothing knows; `of_all` is added to what examples get in company."""

    def __init__(self, size, of_all=0.0):
        super().__init__()
        self.upper, self.lower, self.of_all = nn.Parameter(torch.randn(size)), nn.Parameter(torch.randn(size)), of_all

    def forward(self, x):
        return torch.maximum(torch.minimum(x, self.upper), self.lower) + (len(x) > 1) * self.of_all


def rows_of(layer, inputs):
    output_grads = torch.ones_like(inputs)
    return layer_rows(layer, inputs, layer(inputs).detach(), output_grads)


@pytest.mark.parametrize("elements", [1, 2**24])
def test_chunks_of_examples_are_each_compared_with_their_own(elements, monkeypatch):
    monkeypatch.setattr(fallback, "ROWS_BUDGET", elements)
    torch.manual_seed(0)
    inputs = torch.randn(5, 3, dtype=torch.float64)
    formed = rows_of(Limits(3).double(), inputs)
    assert formed.apart
    assert formed.rows.keys() == {"upper", "lower"}
    assert not rows_of(Limits(3, of_all=1e-3).double(), inputs).apart


def test_rows_of_a_limit_count_where_it_is_reached():
    layer = Limits(2).double()
    with torch.no_grad():
        layer.upper.fill_(1.0)
        layer.lower.fill_(-1.0)
    formed = rows_of(layer, torch.tensor([[2.0, 0.0], [3.0, 4.0], [-5.0, 2.0]], dtype=torch.float64)).rows
    assert formed["upper"].squared_norms.tolist() == pytest.approx([1, 2, 1])
    assert formed["upper"].total.tolist() == [2, 2]
    assert formed["lower"].squared_norms.tolist() == pytest.approx([0, 0, 1])
    assert formed["lower"].total.tolist() == [1, 0]


CALLS: list[int] = []  # not on the layer, from which what runs again leave is taken away


class Coarse(Limits):
    """Gives rounded numbers where nobody asks for gradients, and counts its calls."""

    def forward(self, x):
        CALLS.append(len(x))
        found = super().forward(x)
        return found if torch.is_grad_enabled() else found.round()


def measured(model, batches, features, **options):
    torch.manual_seed(1)
    inputs, targets = torch.randn(4 * batches, features, dtype=torch.float64), torch.arange(4 * batches) % 3
    parts = [(inputs[i : i + 4], targets[i : i + 4]) for i in range(0, len(inputs), 4)]
    found = gradient_statistics(model, PER_EXAMPLE, parts, **options)
    for name, rows in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[name] == pytest.approx(float(rows.square().sum()), rel=1e-10)
    return found.evidence


def test_the_outputs_that_are_compared_are_those_of_the_pass_and_not_of_another():
    torch.manual_seed(0)
    layer = Coarse(5)
    evidence = measured(nn.Sequential(nn.Linear(6, 5), layer, nn.ReLU(inplace=True), nn.Linear(5, 3)).double(), 3, 6)
    assert evidence.by_whole_model == ()


def test_a_layer_that_reads_a_tensor_which_is_no_buffer_is_measured_through_the_whole_model():
    """For nobody knows what it was computed of."""

    class Scaled(Limits):
        def forward(self, x):
            return torch.minimum(x, self.upper * self.scale)

    torch.manual_seed(0)
    layer = Scaled(6)
    del layer.lower
    layer.scale = torch.ones(6, dtype=torch.float64)
    assert measured(nn.Sequential(layer, nn.Linear(6, 3)).double(), 2, 6).by_whole_model == ("0.upper",)
    del layer.scale
    layer.register_buffer("scale", torch.ones(6, dtype=torch.float64))
    assert measured(nn.Sequential(layer, nn.Linear(6, 3)).double(), 2, 6).by_whole_model == ()


def test_in_later_batches_the_layer_runs_once_in_the_pass_and_once_for_the_examples():
    torch.manual_seed(0)
    calls = {}
    for batches in (3, 4):
        CALLS.clear()
        measured_calls(nn.Sequential(Coarse(6), nn.Linear(6, 3)).double(), batches)
        calls[batches] = list(CALLS)
    assert calls[4] == [*calls[3], 4, 1]


def measured_calls(model, batches):
    inputs, targets = torch.randn(4 * batches, 6, dtype=torch.float64), torch.arange(4 * batches) % 3
    parts = [(inputs[i : i + 4], targets[i : i + 4]) for i in range(0, len(inputs), 4)]
    return gradient_statistics(model, PER_EXAMPLE, parts, spot_check=0)


class Experts(nn.Module):
    """Each example goes to one of two layers by a router that it casts anew in every pass, or clips by its data."""

    def __init__(self, cast):
        super().__init__()
        self.router, self.cast = nn.Linear(6, 2, bias=False), cast
        self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))

    def forward(self, x):
        self.cast(self.router)
        weight, chosen = self.router(x).softmax(1).max(1)
        rows = [(chosen == i).nonzero()[:, 0] for i in range(2)]
        parts = [torch.zeros_like(x).index_add(0, own, self.experts[i](x[own])) for i, own in enumerate(rows)]
        return sum(parts) * weight[:, None]


def clipped(layer):
    layer.weight.data = layer.weight.data.clamp(-9, 9)


@pytest.mark.parametrize("cast", [lambda layer: layer.to(torch.float64), clipped], ids=["cast", "clipped"])
def test_weights_that_a_pass_writes_anew_are_whole_after_passes_by_vmap(cast):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Experts(cast), nn.Linear(6, 3)).double()
    inputs, targets = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)] * 2)
    for name, rows in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter").get(name, 0) == pytest.approx(
            2 * float(rows.square().sum()), rel=1e-10
        )
    assert torch.isfinite(model(inputs)).all()


def test_fewer_examples_go_at_once_where_memory_runs_out(monkeypatch):
    sizes, plain = [], fallback.vmap

    def small(function, **options):
        def run(parameters, inputs, targets):
            sizes.append(len(targets[0]))
            if len(targets[0]) > 2:
                raise torch.OutOfMemoryError("the device is full")
            return plain(function, **options)(parameters, inputs, targets)

        return run

    monkeypatch.setattr(fallback, "vmap", small)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), both := Limits(6), both, nn.Linear(6, 3)).double()
    inputs, targets = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)] * 2)
    expected = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    assert found.sum_sq_norm() == pytest.approx(
        2 * sum(float(one.square().sum()) for one in expected.values()), rel=1e-10
    )
    assert sizes == [8, 4, *[2] * 8]


def test_memory_that_runs_out_in_the_layer_is_told_and_not_taken_for_a_layer_that_cannot_run(monkeypatch):
    def full(*given):
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(fallback, "vmap", full)
    torch.manual_seed(0)
    with pytest.raises(torch.OutOfMemoryError):
        measured_calls(nn.Sequential(nn.Linear(6, 6), Limits(6), nn.Linear(6, 3)).double(), 2)
