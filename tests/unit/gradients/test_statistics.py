"""Sums and squared norms of per-example gradients against the loop over single examples, in float64."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.batch import capture
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.layer_rules import convolution, depthwise, lookup, products, registry
from mcoherence.gradients.reference import per_example_gradients

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def with_random_statistics(model):
    """Batch norm with running statistics away from 0 and 1, so that no test passes by luck."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
    return model


def conv(*args, shape=None, kind=nn.Conv2d, **kwargs):
    """A convolution between two others, so that neither its input nor its output gradient is special."""
    shape = shape or (args[0], 9, 8)
    layer = kind(*args, **kwargs)
    flat = layer(torch.zeros(1, *shape)).numel()
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(flat, 4)), shape


def normalized(layer, shape):
    """A normalisation between two others, with weights away from 1 and 0."""
    for p in layer.parameters():
        nn.init.normal_(p)
    before = nn.Conv1d(shape[0], shape[0], 1) if len(shape) == 2 else nn.Tanh()
    return nn.Sequential(before, layer, nn.Tanh(), nn.Flatten(), nn.Linear(math.prod(shape), 4)), shape


def frozen(layer, *names):
    for name in names:
        getattr(layer, name).requires_grad_(False)
    return layer


class Indices(nn.Module):
    """Real numbers to indices below 5, many of them alike."""

    def forward(self, x):
        return x.abs().mul(2).long().clamp_max(4)


def embedded(layer):
    return nn.Sequential(Indices(), layer, nn.Tanh(), nn.Flatten(), nn.Linear(6 * layer.embedding_dim, 4))


class Scale(nn.Module):
    """A layer that no rule knows."""

    def __init__(self, size):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(size))

    def forward(self, x):
        return x * self.gain.exp()


class Limit(nn.Module):
    """A layer whose operation nothing knows."""

    def __init__(self, size):
        super().__init__()
        self.limit = nn.Parameter(torch.randn(size))

    def forward(self, x):
        return torch.minimum(x, self.limit)


SETTINGS = {
    "linear-2d": lambda: (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)), (6,)),
    "linear-2d-no-bias": lambda: (nn.Linear(6, 4, bias=False), (6,)),
    "linear-3d-gram": lambda: (nn.Sequential(nn.Linear(16, 16), nn.Flatten(), nn.Linear(32, 4)), (2, 16)),
    "linear-3d-rows": lambda: (nn.Sequential(nn.Linear(2, 2), nn.Flatten(), nn.Linear(60, 4)), (30, 2)),
    "linear-4d": lambda: (nn.Sequential(nn.Linear(3, 2), nn.Flatten(), nn.Linear(40, 4)), (4, 5, 3)),
    "conv-plain": lambda: conv(3, 5, 3),
    "conv-no-bias": lambda: conv(3, 5, 3, bias=False),
    "conv-few-positions-gram": lambda: conv(8, 16, 3, shape=(8, 4, 4)),
    "conv-stride-padding-dilation": lambda: conv(3, 5, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
    "conv-groups": lambda: conv(6, 4, 3, groups=2, shape=(6, 7, 7)),
    "conv-depthwise": lambda: conv(4, 8, 3, groups=4, padding=1, shape=(4, 6, 6)),
    "conv-same": lambda: conv(3, 5, (4, 3), padding="same", dilation=(1, 2)),
    "conv-valid": lambda: conv(3, 5, 3, padding="valid"),
    "conv-circular": lambda: conv(3, 5, 3, padding=1, padding_mode="circular"),
    "conv-reflect": lambda: conv(3, 5, 3, padding=(2, 1), padding_mode="reflect"),
    "conv-replicate-same": lambda: conv(3, 5, 4, padding="same", padding_mode="replicate"),
    "batch-norm-2d": lambda: (
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(210, 4)),
        (3, 9, 8),
    ),
    "batch-norm-1d": lambda: (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)), (6,)),
    "in-place-relu": lambda: (nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4)), (6,)),
    "dropout": lambda: (nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.9), nn.Linear(5, 4)), (6,)),
    "conv-transpose": lambda: (
        nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.Flatten(), nn.Linear(108, 4)),
        (2, 4, 4),
    ),
    "prelu": lambda: (nn.Sequential(nn.Linear(6, 5), nn.PReLU(5), nn.Linear(5, 4)), (6,)),
    "limit-by-fallback": lambda: (nn.Sequential(nn.Linear(6, 5), Limit(5), nn.Linear(5, 4)), (6,)),
    "conv1d": lambda: conv(3, 5, 3, kind=nn.Conv1d, shape=(3, 9)),
    "conv1d-hostile": lambda: conv(
        4, 6, 4, kind=nn.Conv1d, shape=(4, 9), groups=2, padding="same", dilation=2, padding_mode="reflect", bias=False
    ),
    "conv1d-stride": lambda: conv(4, 6, 3, kind=nn.Conv1d, shape=(4, 9), stride=2, padding=2, padding_mode="circular"),
    "conv1d-pointwise": lambda: conv(4, 6, 1, kind=nn.Conv1d, shape=(4, 9)),
    "conv-far-reaching": lambda: conv(4, 6, 3, padding=12, dilation=12, groups=2),
    "conv-far-reaching-stride": lambda: conv(4, 6, (3, 2), padding=(10, 1), dilation=(10, 2), stride=(2, 1)),
    "conv-far-reaching-to-one-side": lambda: conv(2, 3, (2, 3), stride=(2, 1), padding=(3, 2), dilation=(11, 2)),
    "conv1d-far-reaching-depthwise": lambda: conv(
        4, 8, 5, kind=nn.Conv1d, shape=(4, 9), groups=4, padding=22, dilation=11
    ),
    "conv-pointwise": lambda: conv(4, 6, 1),
    "conv-pointwise-stride-groups": lambda: conv(4, 6, 1, stride=2, groups=2),
    "conv3d": lambda: conv(2, 3, 2, kind=nn.Conv3d, shape=(2, 4, 3, 5)),
    "conv3d-hostile": lambda: conv(
        4,
        6,
        (2, 3, 1),
        kind=nn.Conv3d,
        shape=(4, 4, 5, 4),
        groups=2,
        stride=(1, 2, 2),
        padding=(1, 2, 0),
        dilation=(2, 1, 3),
        padding_mode="replicate",
    ),
    "conv3d-same-depthwise": lambda: conv(
        4, 4, (2, 3, 2), kind=nn.Conv3d, shape=(4, 3, 4, 4), groups=4, padding="same", bias=False
    ),
    "conv-same-reflect-groups": lambda: conv(4, 6, (4, 2), padding="same", padding_mode="reflect", groups=2),
    "layer-norm": lambda: (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)), (6,)),
    "layer-norm-sequence": lambda: normalized(nn.LayerNorm(5), (3, 5)),
    "layer-norm-two-axes": lambda: normalized(nn.LayerNorm((3, 5)), (2, 3, 5)),
    "layer-norm-no-bias": lambda: normalized(nn.LayerNorm(5, bias=False, eps=0.1), (3, 5)),
    "layer-norm-all-axes": lambda: normalized(nn.LayerNorm((2, 3, 5)), (2, 3, 5)),
    "rms-norm": lambda: normalized(nn.RMSNorm(5), (3, 5)),
    "rms-norm-eps-two-axes": lambda: normalized(nn.RMSNorm((3, 5), eps=0.1), (2, 3, 5)),
    "group-norm": lambda: normalized(nn.GroupNorm(2, 4), (4, 3, 2)),
    "group-norm-vector": lambda: normalized(nn.GroupNorm(2, 4), (4,)),
    "instance-norm-1d": lambda: normalized(nn.InstanceNorm1d(4, affine=True), (4, 6)),
    "instance-norm-2d": lambda: normalized(nn.InstanceNorm2d(4, affine=True, eps=0.1), (4, 3, 2)),
    "instance-norm-3d": lambda: normalized(nn.InstanceNorm3d(2, affine=True), (2, 3, 2, 2)),
    "instance-norm-running": lambda: normalized(nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (4, 3, 2)),
    "batch-norm-3d": lambda: normalized(nn.BatchNorm3d(2), (2, 3, 2, 2)),
    "batch-norm-1d-sequence": lambda: normalized(nn.BatchNorm1d(3), (3, 4)),
    "batch-norm-bias-alone": lambda: normalized(frozen(nn.BatchNorm2d(3), "weight"), (3, 4, 2)),
    "linear-weight-alone": lambda: (nn.Sequential(frozen(nn.Linear(6, 5), "bias"), nn.Linear(5, 4)), (6,)),
    "embedding": lambda: (embedded(nn.Embedding(5, 3)), (6,)),
    "embedding-padding": lambda: (embedded(nn.Embedding(5, 3, padding_idx=1)), (6,)),
    "embedding-sparse": lambda: (embedded(nn.Embedding(5, 3, sparse=True)), (6,)),
    "embedding-two-axes": lambda: (embedded(nn.Embedding(5, 3, padding_idx=0)), (2, 3)),
    "unknown-layer": lambda: (nn.Sequential(nn.Linear(6, 5), Scale(5), nn.Linear(5, 4)), (6,)),
    "frozen-layer": lambda: (nn.Sequential(nn.Linear(6, 5).requires_grad_(False), nn.Linear(5, 4)), (6,)),
}


BY_FALLBACK = {"limit-by-fallback"}


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def problem(request):
    """(model, inputs [n, ...], targets [n]) in float64, n = 7."""
    torch.manual_seed(0)
    model, shape = request.param()
    return with_random_statistics(model).double(), torch.randn(7, *shape).double(), torch.randint(0, 4, (7,))


def assert_equal_to_loop(statistics, rows, rel=1e-10):
    """Q and |S|^2 of every parameter agree with gradients taken one by one."""
    totals = statistics.sum_sq_norm(by="parameter")
    squared = statistics.sq_norm_of_sum(by="parameter")
    assert set(totals) == set(rows)
    for name, gradients in rows.items():
        assert totals[name] == pytest.approx(gradients.square().sum().item(), rel=rel), name
        assert squared[name] == pytest.approx(gradients.sum(dim=0).square().sum().item(), rel=rel), name


def test_every_layer_equals_the_loop_over_examples(problem):
    model, inputs, targets = problem
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))


@pytest.mark.parametrize("name", SETTINGS)
def test_rules_serve_every_setting_but_those_of_the_fallback(name, monkeypatch):
    used = []
    original = capture.layer_rows
    monkeypatch.setattr(capture, "layer_rows", lambda layer, *tensors: used.append(layer) or original(layer, *tensors))
    torch.manual_seed(0)
    model, shape = SETTINGS[name]()
    statistics = gradient_statistics(model, PER_EXAMPLE, [(torch.randn(4, *shape), torch.zeros(4).long())])
    assert bool(used) == (name in BY_FALLBACK)
    assert statistics.evidence.by_whole_model == ()


def test_ragged_batches_equal_one_batch(problem):
    model, inputs, targets = problem
    batches = [(inputs[:3], targets[:3]), (inputs[3:4], targets[3:4]), (inputs[4:], targets[4:])]
    statistics = gradient_statistics(model, PER_EXAMPLE, batches)
    assert statistics.n == {"all": 7}
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))


@pytest.mark.parametrize("elements", [1, 10**6], ids=["one-a-call", "all-in-one"])
@pytest.mark.parametrize("name", [name for name in SETTINGS if name.startswith("conv") and "transpose" not in name])
def test_kernel_rows_take_the_place_of_autograds_weight_gradient(name, elements, monkeypatch):
    monkeypatch.setattr(convolution, "LIBRARY_ROWS_AT_A_TIME", elements)
    monkeypatch.setattr(products, "ROWS_AT_A_TIME", elements)
    registered = lookup.rule_for(nn.Conv2d(1, 1, 1))
    for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        always = dataclasses.replace(registered, prefers_summing=lambda *call: True, forward=None)
        monkeypatch.setitem(registry.RULES, kind, always)
    torch.manual_seed(0)
    model, shape = SETTINGS[name]()
    kind = type(model[0])
    model = nn.Sequential(kind(shape[0], shape[0], 1), nn.Tanh(), *model).double()
    inputs, targets = torch.randn(6, *shape).double(), torch.randint(0, 4, (6,))
    summed = []
    original = capture.Capture.sums
    monkeypatch.setattr(capture.Capture, "sums", lambda self: summed.append(original(self)) or summed[-1])
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))
    # The convolution before it is one too, and the first layer.
    own = {f"{place}.{own}" for place in (0, 2) for own, _ in model[place].named_parameters()}
    assert [set(sums) for sums in summed] == [own]


def test_a_weight_that_was_to_be_summed_in_a_hook_that_never_came_is_measured_all_the_same(monkeypatch):
    class Leaf(nn.Module):
        def forward(self, x):
            return x.detach().requires_grad_()  # a leaf that no parameter is behind

    always = dataclasses.replace(lookup.rule_for(nn.Conv1d(1, 1, 1)), prefers_summing=lambda *call: True)
    monkeypatch.setitem(registry.RULES, nn.Conv1d, always)
    torch.manual_seed(0)
    model = nn.Sequential(Leaf(), nn.Conv1d(2, 4, 3, bias=False), nn.Flatten(), nn.Linear(12, 4)).double()
    inputs, targets = torch.randn(3, 2, 5).double(), torch.randint(0, 4, (3,))
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))
    assert statistics.evidence.by_whole_model == ()


DEPTHWISE = {
    "one-to-one": (nn.Conv2d(3, 3, 5, padding=2, groups=3), (3, 9, 8)),
    "several-of-each": (nn.Conv2d(3, 6, (5, 2), groups=3, stride=2), (3, 9, 8)),
    "of-one-channel": (nn.Conv2d(1, 4, (4, 5), padding=(1, 2)), (1, 9, 8)),
    "input-that-no-kernel-reaches": (nn.Conv2d(3, 3, 4, groups=3, stride=3), (3, 9, 12)),
    "dilated": (nn.Conv2d(3, 3, (2, 5), groups=3, dilation=(3, 1), stride=(1, 2)), (3, 9, 8)),
    "map-smaller-than-the-padding": (nn.Conv2d(3, 3, 7, padding=3, groups=3), (3, 2, 2)),
    "same": (nn.Conv2d(3, 3, (4, 5), padding="same", groups=3), (3, 9, 8)),
    "circular": (nn.Conv2d(3, 3, 5, padding=2, padding_mode="circular", groups=3), (3, 9, 8)),
    "map-of-one-position": (nn.Conv2d(3, 6, 7, padding=3, groups=3), (3, 1, 1)),
    "one-position-far-apart": (nn.Conv2d(3, 3, (2, 3), dilation=(4, 2), stride=5, groups=3), (3, 6, 7)),
    "one-axis": (nn.Conv1d(3, 6, 11, padding=4, groups=3), (3, 13)),
    "three-axes": (nn.Conv3d(2, 2, (3, 2, 3), padding=1, groups=2), (2, 4, 5, 3)),
}


WAYS = [
    *itertools.product(DEPTHWISE, [depthwise._correlated, depthwise._correlated_by_position]),
    *itertools.product(["map-of-one-position", "one-position-far-apart"], [depthwise._scaled]),
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_gradients_of_kernels_of_one_channel_are_those_of_autograd(name, way):
    torch.manual_seed(0)
    layer, shape = DEPTHWISE[name]
    layer, inputs = layer.double(), torch.randn(4, *shape).double()
    output_grads = torch.randn_like(layer(inputs))
    rows = way(layer, inputs, output_grads)
    for x, b, found in zip(inputs, output_grads, rows, strict=True):
        (expected,) = torch.autograd.grad(layer(x[None]), layer.weight, b[None])
        assert torch.allclose(found, expected[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", DEPTHWISE)
def test_networks_with_kernels_of_one_channel_equal_the_loop(name, dtype):
    torch.manual_seed(0)
    layer, shape = DEPTHWISE[name]
    flat = layer.float()(torch.zeros(1, *shape)).numel()
    model = nn.Sequential(nn.Tanh(), layer, nn.Tanh(), nn.Flatten(), nn.Linear(flat, 4)).to(dtype)
    inputs, targets = torch.randn(5, *shape).to(dtype), torch.randint(0, 4, (5,))
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    rows = per_example_gradients(model.double(), PER_EXAMPLE, inputs.double(), targets)
    assert_equal_to_loop(statistics, rows, rel=1e-4 if dtype == torch.float32 else 1e-10)


def test_gram_products_and_formed_rows_give_the_same_norms():
    torch.manual_seed(0)
    a, b = torch.randn(5, 6, 40).double(), torch.randn(5, 6, 30).double()
    gram = products.product_squared_norms(a, b)  # 6 (40 + 30) < 40 * 30
    rows = torch.einsum("ntd,ntp->ndp", a, b)
    assert torch.allclose(gram, products.squared_norms(rows), rtol=1e-12)


@pytest.fixture
def threads(request):
    """Those that torch may use for an operation, for the time of a test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5], indirect=True)
@pytest.mark.parametrize("widths", [(70, 90), (90, 70), (3, 5), (5, 3)], ids=str)  # of _WIDE or more, and fewer
@pytest.mark.parametrize("elements", [1, 4 * 70 * 90, 20 * 70 * 90], ids=["few", "some", "many"])
def test_products_a_few_examples_at_a_time_are_those_of_each_example(elements, widths, threads, monkeypatch):
    monkeypatch.setattr(products, "ROWS_AT_A_TIME", elements)
    torch.manual_seed(0)
    (d, p), n = widths, 23
    a, b = torch.randn(n, 6, d).double(), torch.randn(n, 6, p).double()
    norms, total = products.product_rows(a, b)
    rows = torch.einsum("ntp,ntd->npd", b, a)
    assert torch.allclose(norms, rows.square().sum(dim=(1, 2)), rtol=1e-12)
    assert total.shape == (p, d)
    assert torch.allclose(total, rows.sum(dim=0), rtol=1e-12, atol=1e-12)


def small_problem(n=8):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4))
    return with_random_statistics(model).double(), torch.randn(n, 6).double(), torch.randint(0, 4, (n,))


def test_groups_mixed_in_a_batch_are_kept_apart():
    model, inputs, targets = small_problem()
    ids = torch.tensor([2, 0, 0, 2, 0, 2, 2, 0])  # group 1 stays empty
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets, ids)], groups=["a", "b", "c"])
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    flat = torch.cat([g.flatten(1) for g in rows.values()], dim=1)
    sums = torch.stack([flat[ids == group].sum(dim=0) for group in range(3)])
    assert statistics.n == {"a": 4, "b": 0, "c": 4}
    assert np.allclose(statistics.gram.sum(axis=-1), (sums @ sums.T).numpy(), rtol=1e-10, atol=1e-12)
    expected = sums[0].square().sum() / flat[ids == 0].square().sum()
    assert statistics.m_coherence(groups=["a"]) == pytest.approx(expected.item(), rel=1e-10)
    assert np.isnan(statistics.m_coherence(groups=["b"]))
    union = flat.sum(dim=0).square().sum() / flat.square().sum()
    assert statistics.m_coherence() == pytest.approx(union.item(), rel=1e-10)
    assert statistics.alpha() == pytest.approx(union.item() / 8, rel=1e-10)


def test_levels_add_up():
    model, inputs, targets = small_problem()
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert statistics.layers == ("0", "1", "3")
    for quantity in (statistics.sum_sq_norm, statistics.sq_norm_of_sum):
        by_parameter = quantity(by="parameter")
        assert quantity(by="layer")["0"] == pytest.approx(by_parameter["0.weight"] + by_parameter["0.bias"])
        assert quantity() == pytest.approx(sum(by_parameter.values()))


def test_shards_merge_as_if_measured_in_one_go():
    model, inputs, targets = small_problem(20)
    whole = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    shards = [
        gradient_statistics(model, PER_EXAMPLE, [(inputs[part], targets[part])])
        for part in (slice(0, 7), slice(7, 8), slice(8, 20))
    ]
    merged = shards[0].merge(shards[1]).merge(shards[2])
    assert merged.n == {"all": 20}
    assert np.allclose(merged.sum_sq_norms, whole.sum_sq_norms, rtol=1e-12)
    assert np.allclose(merged.gram, whole.gram, rtol=1e-12)


def test_merging_other_groups_is_refused():
    model, inputs, targets = small_problem()
    one = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    other = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets, torch.zeros(8).long())], groups=["a"])
    with pytest.raises(ValueError, match="other groups"):
        one.merge(other)


def test_identical_examples_have_coherence_m_and_zero_gradients_none():
    model, inputs, targets = small_problem()
    same = gradient_statistics(model, PER_EXAMPLE, [(inputs[:1].repeat(5, 1), targets[:1].repeat(5))])
    assert same.m_coherence() == pytest.approx(5.0, rel=1e-12)
    zero = gradient_statistics(model, lambda outputs, _: 0.0 * outputs.sum(dim=1), [(inputs, targets)])
    assert np.isnan(zero.m_coherence())
    assert all(np.isnan(value) for value in zero.m_coherence(by="layer").values())


def test_the_model_is_left_as_found():
    model, inputs, targets = small_problem()
    model.train()
    model[1].eval()
    model[0].weight.grad = torch.full_like(model[0].weight, 3.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.full_like(model[0].weight, 3.0))
    assert model[3].weight.grad is None
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())


def test_float32_agrees_with_float64():
    model, inputs, targets = small_problem()
    exact = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    single = gradient_statistics(model.float(), PER_EXAMPLE, [(inputs.float(), targets)])
    assert np.allclose(single.sum_sq_norms, exact.sum_sq_norms, rtol=1e-5)


def test_batch_norm_that_mixes_examples_is_refused_by_name():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 4))
    with pytest.raises(UnsupportedModelError, match=r"without running statistics: 1 \(BatchNorm1d\)"):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(3, 6), torch.zeros(3).long())])


def test_a_mean_loss_is_refused():
    model, inputs, targets = small_problem()
    with pytest.raises(ValueError, match='use reduction="none"'):
        gradient_statistics(model, nn.CrossEntropyLoss(), [(inputs, targets)])


def test_group_ids_out_of_range_are_refused():
    model, inputs, targets = small_problem()
    with pytest.raises(ValueError, match=r"found 3, expected 0\.\.1"):
        gradient_statistics(model, PER_EXAMPLE, [(inputs, targets, torch.full((8,), 3))], groups=["a", "b"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.m_coherence(groups=["nobody"]), r"found \['nobody'\]"),
        (lambda s: s.m_coherence(groups="all"), "found the string 'all'"),
        (lambda s: s.m_coherence(by="neuron"), "found 'neuron'"),
    ],
)
def test_unknown_groups_and_levels_are_refused(call, message):
    model, inputs, targets = small_problem()
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    with pytest.raises(ValueError, match=message):
        call(statistics)


class TestIllustrativeExample:
    """The six-dimensional regression of arXiv 2203.10036, section 3: 4 training examples, loss (y - w.x)^2 / 2."""

    targets = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    shared = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)  # the sixth component of the real set

    def inputs(self, real):
        own = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
        sixth = self.shared if real else torch.zeros(4, dtype=torch.float64)
        return torch.cat([own, torch.zeros(4, 1, dtype=torch.float64), sixth[:, None]], dim=1)

    def train(self, real, updates=6000, lr=0.1):
        """(weights [6], m-coherence at every 500th step) of gradient descent from 0."""
        model = nn.Linear(6, 1, bias=False).double()
        nn.init.zeros_(model.weight)
        inputs, coherences = self.inputs(real), []

        def losses(outputs, targets):
            return (outputs[:, 0] - targets).square() / 2

        for step in range(updates):
            if step % 500 == 0 and step < 1500:  # later the gradients of the real set vanish to rounding
                statistics = gradient_statistics(model, losses, [(inputs, self.targets)])
                coherences.append(statistics.m_coherence())
            model.zero_grad()
            losses(model(inputs), self.targets).mean().backward()
            with torch.no_grad():
                model.weight -= lr * model.weight.grad
        return model.weight.detach()[0], coherences

    def test_real_set_ends_at_its_exact_solution_with_coherence_two_and_a_half(self):
        weights, coherences = self.train(real=True)
        assert weights.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.0, 0.8], abs=1e-9)
        test_input = torch.tensor([0.0, 0.0, 0.0, 0.0, -1.0, -1.0], dtype=torch.float64)
        assert ((weights @ test_input + 1) ** 2 / 2).item() == pytest.approx(0.02, abs=1e-9)
        assert coherences[0] == pytest.approx(2.5, rel=1e-12)

    def test_random_set_ends_at_its_exact_solution_with_coherence_one(self):
        weights, coherences = self.train(real=False)
        assert weights.tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.0, 0.0], abs=1e-9)
        test_input = torch.tensor([0.0, 0.0, 0.0, 0.0, -1.0, 0.0], dtype=torch.float64)
        assert ((weights @ test_input + 1) ** 2 / 2).item() == pytest.approx(0.5, abs=1e-9)
        assert coherences == pytest.approx([1.0] * 3, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_are_squared_and_summed_in_float32(dtype):
    """Squared norms of these gradients are far above 65504, the largest float16."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, 4)).to(dtype)
    inputs, targets = torch.randn(64, 16).to(dtype), torch.randint(0, 4, (64,))

    def loss_fn(outputs, targets):
        return 300 * PER_EXAMPLE(outputs, targets)

    found = gradient_statistics(model, loss_fn, [(inputs, targets)] * 3)
    exact = gradient_statistics(model.double(), loss_fn, [(inputs.double(), targets)] * 3)
    assert exact.sum_sq_norm() > 1e6
    assert all(s.dtype == torch.float32 for s in found.group_sums)
    assert found.sum_sq_norm(by="layer") == pytest.approx(exact.sum_sq_norm(by="layer"), rel=0.05)
    assert found.m_coherence() == pytest.approx(exact.m_coherence(), rel=0.05)
