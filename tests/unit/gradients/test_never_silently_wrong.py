"""What could give a wrong number without a word: each equals the loop over single examples, or is refused by name."""

import itertools
import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver

from mcoherence import gradient_statistics
from mcoherence.gradients.batch.evidence import IdentityError
from mcoherence.gradients.given.fingerprint import fingerprint
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.graph.probe import are_of_one_example_each, weights
from mcoherence.gradients.reference import per_example_gradients
from tests.unit.gradients.model_of_function import Model

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def lin(d=4, p=4):
    return nn.Linear(d, p)


def two(forward, **further):
    return lambda: Model(forward, a=lin(), b=lin(), **{name: build() for name, build in further.items()})


def loop(model, loss_fn, inputs, targets):
    """{parameter: gradients [n, *shape]} of single examples, each a batch of one: an oracle that shares nothing."""
    named = dict(model.named_parameters())
    rows = {name: [] for name in named}
    for i in range(len(inputs)):
        loss = loss_fn(model(inputs[i : i + 1]), targets[i : i + 1]).sum()
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for (name, p), g in zip(named.items(), found, strict=True):
            rows[name].append(torch.zeros_like(p) if g is None else g)
    return {name: torch.stack(values) for name, values in rows.items()}


def assert_equal(statistics, rows, rel=1e-10):
    whole = sum(float(g.abs().square().sum()) for g in rows.values())
    for name, g in rows.items():
        floor = 1e-2 * rel * whole
        found = statistics.sum_sq_norm(by="parameter")[name], statistics.sq_norm_of_sum(by="parameter")[name]
        expected = float(g.abs().square().sum()), float(g.sum(dim=0).abs().square().sum())
        assert found == pytest.approx(expected, rel=rel, abs=floor), name


def parts(inputs, targets, size):
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def selected(m, x):
    """Rows chosen by content: in some batch as many as there are examples."""
    chosen = x[:, :, 0] > 0
    out = x.new_zeros(x.shape)
    out[chosen] = m.a(x[chosen]).tanh()
    return m.b(out.sum(1))


def experts(m, x):
    out = torch.zeros_like(x[:, 0])
    for expert, mine in ((m.a, x[:, 0, 0] > 0), (m.c, x[:, 0, 0] <= 0)):
        rows = mine.nonzero(as_tuple=True)[0]
        if len(rows):
            out = out.index_add(0, rows, expert(x[rows, 0]))
    return m.b(out)


def hooked_within(m, x):
    hidden = m.a(x[:, 0])
    hidden.register_hook(lambda g: 2 * g)
    return m.b(hidden.tanh())


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g.clamp(-0.05, 0.05)


def attention_of_timm(m, x):
    q, k, v = m.qkv(x).reshape(len(x), -1, 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)
    return m.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape).mean(1))


# name: (model, whether layers are left to the whole model); inputs [n, 4, 4]
ROWS = {
    "chosen-by-content": (two(selected), True),
    "sent-to-experts": (two(experts, c=lin), True),
    "two-of-three-experts-by-index": (two(lambda m, x: m.b(m.a(x[torch.arange(len(x)), 1]))), False),
    "sorted-and-back": (
        two(lambda m, x: m.b(m.a(x[x[:, 0, 0].argsort(), 0])[x[:, 0, 0].argsort().argsort()])),
        True,
    ),
    "flipped-and-back": (two(lambda m, x: m.b(m.a(x[:, 0].flip(0)).tanh().flip(0))), True),
    "rolled-and-back": (two(lambda m, x: m.b(m.a(x[:, 0].roll(1, 0)).tanh().roll(-1, 0))), True),
    "repeated-and-thinned": (two(lambda m, x: m.b(m.a(x[:, 0]).repeat_interleave(2, 0)[::2])), False),
    "positions-first": (two(lambda m, x: m.b(m.a(x.transpose(0, 1)).tanh().mean(0))), False),
    "positions-first-and-back": (two(lambda m, x: m.b(m.a(x.transpose(0, 1)).transpose(0, 1).tanh().mean(1))), False),
    "positions-embedded": (
        two(lambda m, x: m.b((m.a(x) + m.p(torch.arange(4))).tanh().mean(1)), p=lambda: nn.Embedding(4, 4)),
        False,
    ),
    "biases-of-attention-embedded": (
        two(
            lambda m, x: m.b(F.scaled_dot_product_attention(x, x, m.a(x), attn_mask=m.p(torch.arange(4))).mean(1)),
            p=lambda: nn.Embedding(4, 4),
        ),
        False,
    ),
    "gradients-clipped-by-element": (two(lambda m, x: m.b(Clipped.apply(m.a(x[:, 0])).tanh())), True),
    "doubled-by-a-hook-within": (two(hooked_within), True),
    "parts-of-one-map": (lambda: Model(attention_of_timm, qkv=lin(4, 12), b=lin()), False),
    "channels-turned": (two(lambda m, x: m.b(m.a(x).permute(2, 0, 1)[1:].tanh().sum(0))), False),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("size", [4, 3, 1])
def test_rows_that_are_not_the_examples_though_as_many(name, size):
    torch.manual_seed(0)
    build, whole = ROWS[name]
    model, inputs, targets = build().double(), torch.randn(11, 4, 4).double(), torch.randint(0, 4, (11,))
    statistics = gradient_statistics(model, PER_EXAMPLE, parts(inputs, targets, size))
    assert_equal(statistics, loop(model, PER_EXAMPLE, inputs, targets))
    if size == 4:
        assert bool(statistics.evidence.by_whole_model) == whole


def test_as_many_chosen_rows_as_examples_by_chance_in_a_later_batch():
    torch.manual_seed(0)
    model, inputs, targets = two(selected)().double(), torch.randn(14, 6, 4).double(), torch.randint(0, 4, (14,))
    inputs[:, :, 0] = -1
    inputs[:7, 0, 0] = 1  # one of each example; then seven of five examples
    for i, j in ((7, 0), (7, 1), (7, 2), (8, 0), (9, 0), (11, 3), (12, 1)):
        inputs[i, j, 0] = 1
    statistics = gradient_statistics(model, PER_EXAMPLE, parts(inputs, targets, 7), spot_check=0)
    assert_equal(statistics, loop(model, PER_EXAMPLE, inputs, targets))


@pytest.mark.parametrize(("n", "dtype"), [(3, torch.float32), (300, torch.float32), (5, torch.float16)])
def test_weighted_losses_tell_every_exchange_of_two_rows_and_every_sum(n, dtype):
    given = weights(n, dtype)
    assert len(set(given.tolist())) == n
    plain = torch.linspace(1, 2, n, dtype=torch.float64)
    assert are_of_one_example_each(plain, plain * given, given, dtype)
    for i, j in itertools.islice(itertools.combinations(range(n), 2), 200):
        exchanged, summed = given.clone(), plain * given
        exchanged[[i, j]] = given[[j, i]]
        assert not are_of_one_example_each(plain, plain * exchanged, given, dtype)
        summed[i] = plain[i] * (given[i] + given[j]) / 2
        assert not are_of_one_example_each(plain, summed, given, dtype)


def half(g):
    return g * (torch.arange(g.numel()).reshape(g.shape) % 2)


HOOKS = {
    "mask": lambda m: m[2].weight.register_hook(half),
    "clamp": lambda m: m[2].weight.register_hook(lambda g: g.clamp(-0.01, 0.01)),
    "factor": lambda m: [p.register_hook(lambda g: 0.1 * g) for p in m[2].parameters()],
    "looking-on": lambda m: m[2].weight.register_post_accumulate_grad_hook(lambda p: None),
    "reversal": lambda m: m[1].register_full_backward_hook(lambda mod, gi, go: (-0.5 * gi[0],)),
    "output-reversal": lambda m: m[2].register_full_backward_pre_hook(lambda mod, go: (-0.5 * go[0],)),
    "old-kind": lambda m: m[2].register_backward_hook(lambda mod, gi, go: tuple(3 * g for g in gi)),
    "outputs": lambda m: m[2].register_forward_hook(lambda mod, args, out: 2 * out),
}


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook")
@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_seen_and_sums_and_squares_are_both_those_of_the_loop(name):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 16, 3), nn.Tanh(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    ).double()
    HOOKS[name](model)
    inputs, targets = torch.randn(4, 2, 20, 20).double(), torch.randint(0, 4, (4,))
    statistics = gradient_statistics(model, PER_EXAMPLE, parts(inputs, targets, 2), spot_check=0)
    assert_equal(statistics, loop(model, PER_EXAMPLE, inputs, targets))


def test_so_are_hooks_on_all_modules():
    torch.manual_seed(0)
    model, inputs, targets = (
        nn.Sequential(lin(), nn.Tanh(), lin()).double(),
        torch.randn(4, 4).double(),
        torch.arange(4),
    )
    handle = nn.modules.module.register_module_forward_hook(lambda mod, args, out: 2 * out)
    try:
        statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)
        assert_equal(statistics, loop(model, PER_EXAMPLE, inputs, targets))
    finally:
        handle.remove()


def test_a_rule_that_the_spot_check_finds_misread_loses_its_sums_too(monkeypatch):
    from mcoherence.gradients.batch import layers

    monkeypatch.setattr(layers, "has_global_hooks", lambda: False)  # as if they were not looked for
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Tanh(), nn.Conv2d(16, 16, 3), nn.Flatten(2)).double()
    inputs, targets = torch.randn(4, 3, 32, 32).double(), torch.arange(4)

    def losses(outputs, targets):
        return PER_EXAMPLE(outputs.mean(2), targets)

    handle = nn.modules.module.register_module_forward_hook(
        lambda mod, args, out: 2 * out if isinstance(mod, nn.Conv2d) else None
    )
    try:
        statistics = gradient_statistics(model, losses, [(inputs, targets)])
        assert_equal(statistics, loop(model, losses, inputs, targets))
    finally:
        handle.remove()


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = lin()
        self.alias, self.other = self.block, lin()
        self.other.weight = self.block.weight

    def forward(self, x):
        return self.other(self.alias(self.block(x).tanh()).tanh()).relu()


def test_a_module_under_two_names_keeps_its_weights_even_where_float64_is_asked(monkeypatch):
    monkeypatch.setattr("mcoherence.gradients.checks.spot_check.agree_in_float64", _run_in_float64)
    torch.manual_seed(0)
    model, inputs = TwoNames(), torch.randn(6, 4)
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters(remove_duplicate=False)}
    noisy = nn.Sequential(model, Model(lambda m, x: x * (1.0 if len(x) > 2 else 1.5)))
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(noisy, PER_EXAMPLE, [(inputs, torch.zeros(6).long())])
    for name, p in model.named_parameters(remove_duplicate=False):
        assert p is before[name][0]
        assert p.dtype == torch.float32
        assert torch.equal(p, before[name][1])


def _run_in_float64(model, batch, chosen):
    from mcoherence.gradients.checks.batch_again import found_in_float64

    norms = found_in_float64(model, batch, lambda double: double.norms_within(chosen))
    assert all(value.dtype == torch.float64 for value in norms.values())
    return False


def test_a_mask_is_two_groups_and_arrays_and_lists_are_taken():
    torch.manual_seed(0)
    model, inputs, targets = lin(), torch.randn(8, 4), torch.randint(0, 4, (8,))
    mask = torch.arange(8) >= 3

    def of(ids):
        return gradient_statistics(model, PER_EXAMPLE, [(inputs, targets, ids)], groups=["no", "yes"])

    expected = of(mask.long())
    for ids in (mask, mask.numpy(), mask.tolist(), mask.int().numpy(), mask.to(torch.uint8), mask.long().tolist()):
        assert of(ids).n == {"no": 3, "yes": 5}
        assert np.array_equal(of(ids).sum_sq_norms, expected.sum_sq_norms)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(8), "float32"),
        (np.zeros(8), "float64"),
        (torch.zeros(5).long(), r"shape \(5,\) for 8 examples"),
        (torch.zeros(8, 1).long(), r"shape \(8, 1\)"),
        ([0] * 7, r"shape \(7,\)"),
        (["no"] * 8, "list that is no row of numbers"),
        (torch.full((8,), 2), "found 2, expected 0..1"),
        (torch.full((8,), -1), "found -1, expected 0..1"),
    ],
)
def test_other_group_ids_are_refused_by_name(ids, message):
    with pytest.raises(ValueError, match=message):
        gradient_statistics(lin(), PER_EXAMPLE, [(torch.randn(8, 4), torch.zeros(8).long(), ids)], groups=["no", "yes"])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (({"x": torch.randn(2, 4)}, torch.zeros(2).long()), "inputs: found dict"),
        ((torch.randn(2, 4), [0, 1]), r"targets\[0\]: found int"),
        ((torch.randn(2, 4), torch.randn(2, 4), torch.zeros(2)), "found 3 parts"),
        (torch.randn(2, 4), "found Tensor"),
        ((torch.randn(2, 4), torch.zeros(3).long()), "found 3 of them for 2 inputs"),
        ((torch.tensor(1.0), torch.tensor(1)), "without axes"),
    ],
)
def test_other_batches_are_refused_in_one_line(batch, message):
    with pytest.raises(ValueError, match=message):
        gradient_statistics(lin(), PER_EXAMPLE, [batch])


def test_no_examples_and_nothing_trainable_are_refused():
    with pytest.raises(ValueError, match="found no examples"):
        gradient_statistics(lin(), PER_EXAMPLE, [])
    with pytest.raises(UnsupportedModelError, match="no parameter of the model requires a gradient"):
        gradient_statistics(lin().requires_grad_(False), PER_EXAMPLE, [(torch.randn(2, 4), torch.zeros(2).long())])


class Counting(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        if self.how == "in place":
            self.calls += 1
        elif self.how == "behind autograd's back":
            self.calls.data = self.calls.data + 1
        else:
            self.calls = self.calls + 1
        return x


def quantised():
    return FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "build",
    [*(lambda how=how: Counting(how) for how in ("in place", "behind autograd's back", "anew")), quantised],
    ids=["in-place", "data", "anew", "fake-quantisation"],
)
def test_buffers_that_a_pass_changes_are_named_and_put_back(build):
    torch.manual_seed(0)
    model = nn.Sequential(lin(), build(), lin())
    model.train()
    before = {name: (b, b.clone()) for name, b in model.named_buffers()}
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with pytest.raises(UnsupportedModelError, match=r"buffers that a forward pass changes in eval mode: 1\."):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(4, 4, generator=torch.Generator()), torch.arange(4))] * 2)
    for name, b in model.named_buffers():
        assert b is before[name][0]
        assert torch.equal(b, before[name][1])
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad and not p._backward_hooks for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(generators[0], torch.get_rng_state())
    assert generators[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e25])
def test_squares_that_leave_float32_are_kept(scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 4, bias=False))
    inputs, targets = torch.randn(5, 2, 8), torch.randint(0, 4, (5,))

    def of(factor):
        return gradient_statistics(model, lambda o, t: factor * PER_EXAMPLE(o, t), [(inputs, targets)])

    one, scaled = of(1.0), of(scale)
    assert scaled.sum_sq_norms / scale**2 == pytest.approx(one.sum_sq_norms, rel=1e-4)
    assert scaled.m_coherence(by="layer") == pytest.approx(one.m_coherence(by="layer"), rel=1e-4)


def test_large_inputs_hide_no_lost_squares_of_small_gradients():
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 4, bias=False), torch.randn(5, 4)
    targets = torch.arange(5) % 4
    exact = gradient_statistics(lin().double(), lambda o, t: 1e-22 * o[:, 0], [(1e12 * inputs.double(), targets)])
    found = gradient_statistics(model, lambda o, t: 1e-22 * o[:, 0], [(1e12 * inputs, targets)])
    weight = exact.sum_sq_norm(by="parameter")["weight"]
    assert found.sum_sq_norm() == pytest.approx(weight, rel=1e-4)


def test_gradients_that_are_not_finite_are_named_with_parameter_example_and_cause():
    torch.manual_seed(0)
    model, inputs, targets = nn.Sequential(lin(), nn.Tanh(), lin()), torch.randn(6, 4), torch.arange(6) % 4
    inputs[3, 0] = torch.nan
    with pytest.raises(IdentityError, match=r"parameter '0.weight', example 3 of a batch of 6; its inputs"):
        gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    inputs[3, 0] = 0.0
    model[2].bias.data[1] = torch.inf
    with pytest.raises(IdentityError, match=r"the weights '2.bias' are not finite: the training has diverged"):
        gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])


def test_so_they_are_of_a_batch_of_one_and_beside_gradients_that_nearly_vanish():
    class TwoScales(nn.Module):
        def __init__(self):
            super().__init__()
            self.tiny, self.root = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x * self.tiny * 1e-22 + (0 * x * self.root).sqrt()

    inputs, targets = torch.rand(4, 3) + 1, torch.zeros(4)
    for n in (4, 1):
        with pytest.raises(IdentityError, match=rf"parameter 'root', example 0 of a batch of {n}; its loss is finite"):
            gradient_statistics(TwoScales(), lambda outputs, _: outputs.sum(1), [(inputs[:n], targets[:n])])


def test_infinite_losses_are_the_same_within_a_batch_and_alone():
    class Masked(nn.Linear):
        def forward(self, x):
            return super().forward(x).masked_fill(torch.tensor([True, False, False, False]), -torch.inf)

    torch.manual_seed(0)
    model, inputs, targets = Masked(4, 4), torch.randn(6, 4), torch.arange(6) % 4
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    assert found.sum_sq_norm() == pytest.approx(sum(float(one.square().sum()) for one in rows.values()), rel=1e-5)


def test_so_are_those_that_are_nan_where_the_gradients_are_finite():
    def loss_fn(outputs, targets):
        return torch.where(targets == 2, torch.nan, PER_EXAMPLE(outputs, targets))

    torch.manual_seed(0)
    model, inputs, targets = nn.Sequential(lin(), nn.Tanh(), lin()), torch.randn(6, 4), torch.arange(6) % 4
    expected = gradient_statistics(model, PER_EXAMPLE, [(inputs[targets != 2], targets[targets != 2])])
    found = gradient_statistics(model, loss_fn, [(inputs, targets)])
    assert found.sum_sq_norm() == pytest.approx(expected.sum_sq_norm(), rel=1e-5)


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return x * torch.sigmoid(self.alpha)


class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, dtype=torch.complex128))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * self.w, n=4)


def channels_last():
    layers = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1), nn.Tanh())
    return nn.Sequential(Model(lambda m, x: m.l(x[:, None]).mean((2, 3)), l=layers), lin(16)).to(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(lin(), Gate(), lin()),
        two(lambda m, x: m.scale.exp() * m.b(m.a(x)), scale=lambda: nn.Parameter(torch.tensor(1.5))),
        lambda: nn.Sequential(lin(), Spectral(), lin()),
        channels_last,
    ],
    ids=["scalar-in-a-layer", "bare-scalar", "complex", "channels-last"],
)
def test_parameters_of_every_kind(build):
    torch.manual_seed(0)
    model = build()
    for p in model.parameters():
        p.data = p.data if p.is_complex() else p.data.double()
    square = any(isinstance(module, nn.Conv2d) for module in model.modules())
    inputs, targets = torch.randn(5, *((16, 16) if square else (4,))).double(), torch.randint(0, 4, (5,))
    statistics = gradient_statistics(model, PER_EXAMPLE, parts(inputs, targets, 4))
    rows = loop(model, PER_EXAMPLE, inputs, targets)
    assert_equal(statistics, rows)
    gram = sum(float(g.sum(dim=0).abs().square().sum()) for g in rows.values())
    assert statistics.gram.sum() == pytest.approx(gram, rel=1e-10)


def test_parameters_on_several_devices_are_refused_by_name():
    with pytest.raises(UnsupportedModelError, match=r"found 1\.bias on meta, which holds none"):
        gradient_statistics(nn.Sequential(lin(), lin().to("meta")), PER_EXAMPLE, [(torch.randn(2, 4), torch.arange(2))])


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode, nullcontext])
def test_what_surrounds_the_call_makes_no_difference(surroundings):
    torch.manual_seed(0)
    model, inputs, targets = nn.Sequential(lin(), nn.Tanh(), lin()), torch.randn(5, 4), torch.randint(0, 4, (5,))
    expected = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    with surroundings():
        found = gradient_statistics(model, PER_EXAMPLE, [(inputs + 0, targets + 0)])
    assert np.array_equal(found.sum_sq_norms, expected.sum_sq_norms)


def test_weights_made_in_inference_mode_are_refused():
    with torch.inference_mode():
        model = lin()
    with pytest.raises(UnsupportedModelError, match=r"made in torch.inference_mode: weight, bias"):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(2, 4), torch.arange(2))])


def test_weights_that_autocast_has_cast_without_gradients_do_not_count_as_constants():
    model, batch = nn.Sequential(lin(), nn.Tanh(), lin()), (torch.randn(5, 4), torch.arange(5) % 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            model(batch[0])
        assert gradient_statistics(model, PER_EXAMPLE, [batch]).sum_sq_norm() > 0


def early_exit(m, x):
    hidden = m.a(x)
    return m.b(hidden.tanh()) if hidden.mean() > 0 else hidden


@pytest.mark.parametrize(
    "forward",
    [
        early_exit,
        lambda m, x: m.b(m.a(x).tanh()) * (2 if len(x) in (3, 7) else 1),  # 4 and 3 go together
        lambda m, x: m.b(m.a(x)) * (1 + (random.random() < 0.5)),
    ],
    ids=["on-values", "on-the-number-of-examples", "on-python's-generator"],
)
def test_a_way_that_depends_on_the_batch_is_seen_in_later_batches_too(forward):
    torch.manual_seed(0)
    random.seed(1)
    model, inputs = two(forward)().double(), torch.randn(11, 4).double()
    inputs[:4] = inputs[:1]  # alike, so that the first batch shows nothing
    with pytest.raises(UnsupportedModelError, match=r"passed through the model alone"):
        gradient_statistics(model, PER_EXAMPLE, parts(inputs, torch.arange(11) % 4, 4))


def test_a_fixed_batch_size_is_told_as_such():
    model = two(lambda m, x: m.b(m.a(x.view(8, 4))))()
    with pytest.raises(
        UnsupportedModelError, match=r"fails on one example.*let it take batches of any size.*spot_check=0"
    ):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(8, 4), torch.zeros(8).long())])


@pytest.mark.filterwarnings("ignore")
def test_scripted_modules_are_refused_by_name():
    model = nn.Sequential(torch.jit.script(lin()), lin())
    with pytest.raises(UnsupportedModelError, match=r"scripted modules: 0 .*before torch.jit.script"):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(2, 4), torch.arange(2))])


def test_a_layer_that_stays_in_training_mode_is_refused_by_name():
    class Stubborn(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    with pytest.raises(UnsupportedModelError, match=r"stay in training mode: 1 \(Stubborn\)"):
        gradient_statistics(nn.Sequential(lin(), Stubborn()), PER_EXAMPLE, [(torch.randn(2, 4), torch.arange(2))])


def test_merging_other_weights_or_precisions_is_refused():
    torch.manual_seed(0)
    model, batch = lin(), (torch.randn(4, 4), torch.arange(4))
    one = gradient_statistics(model, PER_EXAMPLE, [batch])
    assert one.merge(gradient_statistics(model, PER_EXAMPLE, [batch])).fingerprint == one.fingerprint
    double = gradient_statistics(lin().double(), PER_EXAMPLE, [(batch[0].double(), batch[1])])
    with pytest.raises(ValueError, match="precision"):
        one.merge(double)
    with torch.no_grad():
        model.weight.copy_(model.weight.flip(1))  # the same numbers in other places
    with pytest.raises(ValueError, match="other weights"):
        one.merge(gradient_statistics(model, PER_EXAMPLE, [batch]))


def channels_last_gradient_of(n):
    """Largest error of torch's input gradient of eval-mode batch norm, whose closed form is a factor by channel."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8).double().eval()
    norm.running_var.uniform_(0.5, 2.0)
    x, g = torch.randn(n, 8, 5, 5).double().requires_grad_(), torch.randn(n, 25, 8).double()
    (found,) = torch.autograd.grad((norm(x).flatten(2).transpose(1, 2) * g).sum(), x)
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return float((found - g.transpose(1, 2).reshape(x.shape) * factor[:, None, None]).abs().max())


@pytest.mark.xfail(
    strict=True, reason="torch 2.15 has it wrong for a batch of one; once it has not, pass examples once"
)
def test_torch_has_the_gradient_of_batch_norm_right_for_a_batch_of_one():
    assert channels_last_gradient_of(1) < 1e-12


def test_so_that_examples_are_passed_twice_where_it_has():
    assert channels_last_gradient_of(2) < 1e-12
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    model = Model(lambda m, x: m.b(m.l(x[:, None]).flatten(2).transpose(1, 2).tanh().mean(1)), l=layers, b=lin())
    layers[1].running_var.uniform_(0.5, 2.0)
    model, inputs, targets = model.double(), torch.randn(5, 6, 6).double(), torch.arange(5) % 4
    whole = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=5)
    with_a_tail_of_one = gradient_statistics(model, PER_EXAMPLE, parts(inputs, targets, 4))
    assert with_a_tail_of_one.sum_sq_norms == pytest.approx(whole.sum_sq_norms, rel=1e-10)


class PooledOverLongest(nn.Module):
    """A mean over the longest sequence of the batch: the usual mistake with padding. `sized` cuts by that length."""

    def __init__(self, sized):
        super().__init__()
        self.inner, self.outer, self.sized = nn.Linear(3, 6), nn.Linear(6, 5), sized

    def forward(self, inputs):
        longest = (inputs[..., 0] != 0).sum(1).max()
        return self.outer(torch.tanh(self.inner(self.sized(inputs, longest))).mean(1))


CUTS = {
    "slice": lambda x, longest: x[:, :longest],
    "arange": lambda x, longest: x[:, torch.arange(longest)],
    "narrow": lambda x, longest: x.narrow(1, 0, longest),
    "split": lambda x, longest: x.split([longest, x.shape[1] - longest], 1)[0],
    "expand": lambda x, longest: x[:, : torch.ones(1).expand(longest).shape[0]],
    "zeros": lambda x, longest: x[:, : torch.zeros(longest).shape[0]],
    "tensor_split": lambda x, longest: x.tensor_split(longest[None], 1)[0],
    "text": lambda x, longest: x[:, : int(f"{longest}")],
    "packed": lambda x, longest: nn.utils.rnn.pad_packed_sequence(
        nn.utils.rnn.pack_padded_sequence(x, (x[..., 0] != 0).sum(1), batch_first=True, enforce_sorted=False),
        batch_first=True,
    )[0],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_size_that_torch_reads_from_a_tensor_is_a_value_that_is_read(cut):
    """The first batch has one length, so that nothing is mixed there; the second has two."""
    torch.manual_seed(0)
    inputs = torch.randn(8, 8, 3, dtype=torch.float64)
    inputs[:4, 6:] = 0
    inputs[4:, 2:] = 0
    inputs[4, :6] = torch.randn(6, 3, dtype=torch.float64)
    targets = torch.randint(0, 5, (8,))
    with pytest.raises(UnsupportedModelError, match="mixes the examples"):
        gradient_statistics(
            PooledOverLongest(CUTS[cut]).double(),
            nn.CrossEntropyLoss(reduction="none"),
            [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])],
        )


class View(torch.autograd.Function):
    """Named like an operation of torch that keeps rows in their places; this one chooses rows."""

    @staticmethod
    def forward(ctx, tokens, order):
        ctx.order, ctx.tokens = order, len(tokens)
        return tokens[order]

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros(ctx.tokens, gradient.shape[1], dtype=gradient.dtype).index_add_(0, ctx.order, gradient), None


class Chosen(nn.Module):
    """An expert for the tokens that content chooses, by chance as many as examples."""

    def __init__(self):
        super().__init__()
        self.inner, self.expert, self.outer = nn.Linear(6, 8), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, inputs):
        tokens = torch.tanh(self.inner(inputs)).reshape(-1, 4)
        order = (inputs[:, :2].reshape(-1) > 0).nonzero()[:, 0]
        back = torch.zeros_like(tokens).index_add(0, order, self.expert(View.apply(tokens, order)))
        return self.outer((back + tokens).reshape(len(inputs), 2, 4).sum(1))


def test_a_function_of_ones_own_is_not_taken_for_one_of_torchs_that_bears_its_name():
    torch.manual_seed(0)
    model, inputs = Chosen().double(), torch.randn(8, 6, dtype=torch.float64)
    inputs[:, :2] = inputs[:, :2].abs()
    inputs[4:, :2] *= -1  # two tokens of some examples, none of the others: 8 rows
    targets, loss_fn = torch.randint(0, 5, (8,)), nn.CrossEntropyLoss(reduction="none")
    found = gradient_statistics(model, loss_fn, [(inputs, targets)], spot_check=0).sum_sq_norm(by="parameter")
    rows = per_example_gradients(model, loss_fn, inputs, targets)
    assert found == pytest.approx({name: float(value.square().sum()) for name, value in rows.items()}, rel=1e-9)


class Siamese(nn.Module):
    """Its bias cancels: every gradient of it is 0, and what is left is rounding."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 5)

    def forward(self, inputs):
        both = self.inner(inputs.flatten(0, 1)).unflatten(0, (-1, 2))
        return (both[:, 0] - both[:, 1]).square()


class SecondOfTied(nn.Module):
    """Two layers of one weight, of which the second alone is called."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5, bias=False), nn.Linear(6, 5, bias=False)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.second(inputs)


@pytest.mark.parametrize(("network", "shape"), [(Siamese, (7, 2, 6)), (SecondOfTied, (7, 6))])
def test_gradients_that_cancel_and_ties_under_another_name_are_measured(network, shape):
    torch.manual_seed(0)
    model, inputs, targets = network().double(), torch.randn(shape, dtype=torch.float64), torch.randint(0, 5, (7,))
    loss_fn = nn.CrossEntropyLoss(reduction="none")
    found = gradient_statistics(model, loss_fn, [(inputs, targets)]).sum_sq_norm(by="parameter")
    rows = per_example_gradients(model, loss_fn, inputs, targets)
    expected = {name: float(value.square().sum()) for name, value in rows.items()}
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-20)


class MaxNorm(nn.Linear):
    def forward(self, inputs):
        self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.1)
        return super().forward(inputs)


def test_weights_that_a_pass_writes_behind_autograds_back_are_refused():
    batch = torch.randn(7, 6), torch.randint(0, 5, (7,))
    with pytest.raises(UnsupportedModelError, match="writes to weights in eval mode"):
        gradient_statistics(MaxNorm(6, 5), nn.CrossEntropyLoss(reduction="none"), [batch])


def test_the_digest_of_weights_tells_their_order_and_takes_any_shape():
    a, b = nn.Linear(4, 4, bias=False).double(), nn.Linear(4, 4, bias=False).double()
    a.weight.data, b.weight.data = torch.eye(4).double(), torch.eye(4).flip(0).double()
    assert fingerprint(a) != fingerprint(b)
    b.weight.data = torch.eye(4).double()
    assert fingerprint(a) == fingerprint(b)
    a.register_buffer("none", torch.empty(0, 5))
    fingerprint(a)
    whole, part = torch.arange(9.0).bfloat16(), nn.Module()
    part.register_buffer("x", whole[3:])
    copied = nn.Module()
    copied.register_buffer("x", whole[3:].clone())
    assert fingerprint(part) == fingerprint(copied)


class DoubledOnce(torch.autograd.Function):
    """Somebody's function whose backward pass uses up what it has kept, and says so by an error of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.factors = [2.0]
        return 2.0 * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factors.pop()


def test_a_function_that_can_be_differentiated_once_leaves_what_is_below_it_to_the_whole_model():
    torch.manual_seed(0)
    model = two(lambda m, x: m.b(DoubledOnce.apply(m.a(x))))().double()
    inputs, targets = torch.randn(5, 4, dtype=torch.float64), torch.arange(5) % 4
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert set(found.evidence.by_whole_model) == {name for name, _ in model.named_parameters()}
    rows = loop(model, PER_EXAMPLE, inputs, targets)
    expected = {name: float(value.square().sum()) for name, value in rows.items()}
    assert found.sum_sq_norm(by="parameter") == pytest.approx(expected, rel=1e-12)
