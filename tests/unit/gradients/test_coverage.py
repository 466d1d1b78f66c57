"""No parameter is ever left out: whatever way a model uses one, its statistics equal the loop, or it is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from mcoherence import gradient_statistics
from mcoherence.gradients.batch.evidence import IdentityError, bound_ratio
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.layer_rules.registry import RULES, Registered, only_argument
from mcoherence.gradients.reference import per_example_gradients
from tests.unit.gradients.model_of_function import Model

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def tied_linear():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def tied_embedding():
    """Weights tied as in language models: the table maps in, functionally also out."""
    return Model(lambda m, x: F.linear(m.embed(x.long().abs()).mean(1), m.embed.weight), embed=nn.Embedding(6, 4))


def used_twice():
    shared = nn.Linear(4, 4)
    return nn.Sequential(shared, nn.Tanh(), shared)


def own_code(m, x):
    return m.last((m.first(x) * m.gain).tanh())


def bare(*shape):
    return nn.Parameter(torch.randn(shape))


def with_class_token(m, x):
    """The front of a vision transformer."""
    tokens = torch.cat([m.token.expand(len(x), -1, -1), x], dim=1) + m.position
    return m.last(tokens).tanh()[:, 0]


def with_factor_written_to(m, x):
    """The gradient of the gain needs `factor`, which is a copy as large before it is written to."""
    factor = m.last(x).detach().clone()
    spread = factor.clone() * m.gain
    return m.last(x) + spread + factor.mul_(2.0)


class InPlaceScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return x.mul_(self.gain)


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return x @ self.weight, x @ self.weight.T


class Unregistered(nn.Module):
    """Keeps its parameter in a list, too, where functional_call does not replace it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.kept = [self.weight]

    def forward(self, x):
        return x @ self.kept[0] + x @ self.weight


class UsesAnother(nn.Module):
    """A leaf module that uses a parameter of another one."""

    def __init__(self, other):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(4))
        self.other = [other]

    def forward(self, x):
        return (x * self.gain) @ self.other[0].weight


def uses_another():
    first = nn.Linear(4, 4)
    return nn.Sequential(first, nn.Tanh(), UsesAnother(first))


def with_hook():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[0].register_forward_hook(lambda module, args, output: 2.0 * output + module.weight.sum())
    return model


def with_own_forward():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[0].forward = lambda x: x @ model[0].weight.square() + model[0].bias
    return model


def changed_after_use(m, x):
    x = m.first(x)
    out = m.shift(x)
    x += 1.0
    return out * m.last(x)


def no_grad_call(m, x):
    with torch.no_grad():
        m.first(x)
    return m.last(m.first(x))


def lstm(m, x):
    return m.last(m.lstm(x)[0][:, -1])


def attention_and_its_weights(m, x):
    attended, weights = m.a(x, x, x)
    return attended.sum(1) + weights[:, :1].square().sum(2)


def attention_and_its_weights_in_two_calls(m, x):
    return m.a(x, x, x)[0].sum(1) + m.a.out_proj.weight.sum() * m.a(x, x, x)[1].square().sum((1, 2))[:, None]


def causal(m, x):
    later = torch.ones(3, 3).triu(1).bool()
    return m.a(x, x, x, need_weights=False, is_causal=True, attn_mask=later)[0].sum(1)


def frozen_weight(layer):
    layer.weight.requires_grad_(False)
    return layer


def frozen_in_projection(layer):
    layer.in_proj_weight.requires_grad_(False)
    return layer


def lin(d=4):
    return nn.Linear(d, d)


def attention(**kwargs):
    return nn.MultiheadAttention(4, 2, **kwargs)


def last_forward(m, x):
    return m.last(m.first(x).tanh())


VECTOR, SEQUENCE = (4,), (3, 4)
# name: (model, shape of an example, names of parameters expected to need the whole model: all, none or a set)
HOSTILE = {
    "tied": (tied_linear, VECTOR, set()),
    "tied-embedding": (tied_embedding, VECTOR, set()),
    "used-twice": (used_twice, VECTOR, set()),
    "bare-parameter": (
        lambda: Model(own_code, first=lin(), last=lin(), gain=nn.Parameter(torch.randn(4))),
        VECTOR,
        set(),
    ),
    "class-token-and-positions": (
        lambda: Model(with_class_token, last=lin(), token=bare(1, 1, 4), position=bare(1, 4, 4)),
        SEQUENCE,
        set(),
    ),
    "layer-scale-behind-views": (
        lambda: Model(
            lambda m, x: (m.last(x) * m.gain[None, None] + m.first(x) * m.gain2.view(3, 1).unsqueeze(0)).sum(1),
            first=lin(), last=lin(), gain=bare(4), gain2=bare(3),
        ),
        SEQUENCE,
        set(),
    ),
    "subtracted-and-scaled": (
        lambda: Model(
            lambda m, x: m.last(torch.sub(torch.add(x, m.a, alpha=3), m.b, alpha=2).tanh()) - m.c,
            last=lin(), a=bare(4), b=bare(), c=bare(1),
        ),
        VECTOR,
        set(),
    ),
    "subtracted-from": (
        lambda: Model(lambda m, x: m.last((m.a - x).tanh() * 2), last=lin(), a=bare(4)), VECTOR, set(),
    ),
    "spread-twice": (
        lambda: Model(lambda m, x: m.last(x * m.gain + m.gain), last=lin(), gain=bare(4)),
        VECTOR,
        set(),
    ),
    "spread-after-an-operation-of-its-own": (
        lambda: Model(lambda m, x: m.last(x * m.gain.exp()), last=lin(), gain=bare(4)),
        VECTOR,
        set(),
    ),
    "spread-over-positions-that-come-first-and-are-as-many": (
        lambda: Model(
            lambda m, x: m.last((m.last(x).transpose(0, 1) * m.gain).tanh().sum(0)), last=lin(), gain=bare(4)
        ),
        (7, 4),
        set(),
    ),
    "factor-written-to": (lambda: Model(with_factor_written_to, last=lin(), gain=bare(4)), VECTOR, set()),
    "functional-use-alone": (
        lambda: Model(lambda m, x: x @ m.first.weight, first=lin()),
        VECTOR,
        set(),
    ),
    "call-and-functional-use": (
        lambda: Model(lambda m, x: m.last(m.first(x)) @ m.first.weight, first=lin(), last=lin()),
        VECTOR,
        set(),
    ),
    "functional-use-in-another-leaf": (uses_another, VECTOR, set()),
    "in-place-on-its-input": (lambda: nn.Sequential(lin(), InPlaceScale(), lin()), VECTOR, set()),
    "tuple-output": (
        lambda: Model(lambda m, x: m.two(x)[0].sin() + m.two(x)[1], two=TwoOutputs()),
        VECTOR,
        set(),
    ),
    "keyword-argument": (lambda: Model(lambda m, x: m.first(input=x), first=lin()), VECTOR, set()),
    "two-arguments": (lambda: Model(lambda m, x: m.first(x, x.sin()), first=nn.Bilinear(4, 4, 4)), VECTOR, None),
    "unregistered-alias": (lambda: nn.Sequential(lin(), Unregistered(), lin()), VECTOR, set()),
    "forward-hook": (with_hook, VECTOR, set()),
    "forward-replaced": (with_own_forward, VECTOR, set()),
    "changed-in-place-after-use": (
        lambda: Model(changed_after_use, first=lin(), shift=frozen_weight(lin()), last=lin()),
        VECTOR,
        {"shift.bias"},
    ),
    "called-without-gradient-too": (lambda: Model(no_grad_call, first=lin(), last=lin()), VECTOR, set()),
    "examples-folded-into-positions": (
        lambda: Model(lambda m, x: m.first(x.reshape(-1, 4)).reshape(-1, 3, 4).sin().sum(1), first=lin()),
        SEQUENCE,
        set(),
    ),
    "positions-first": (
        lambda: Model(lambda m, x: m.first(x.transpose(0, 1)).sin().sum(0), first=lin()),
        SEQUENCE,
        set(),
    ),
    "positions-first-as-many-as-examples": (
        lambda: Model(lambda m, x: m.first(x.transpose(0, 1)).sin().sum(0), first=lin()),
        (7, 4),
        set(),
    ),
    "examples-in-another-order": (
        lambda: Model(lambda m, x: m.first(x.flip(0)).sin().flip(0), first=lin()),
        VECTOR,
        None,
    ),
    "unused-module": (lambda: Model(lambda m, x: m.last(x), first=lin(), last=lin()), VECTOR, set()),
    "cut-by-detach": (
        lambda: Model(lambda m, x: m.last(x) + m.first(x).detach(), first=lin(), last=lin()),
        VECTOR,
        set(),
    ),
    "lstm": (lambda: Model(lstm, lstm=nn.LSTM(4, 5, batch_first=True), last=nn.Linear(5, 4)), SEQUENCE, set()),
    "weight-norm": (lambda: nn.Sequential(parametrizations.weight_norm(lin()), nn.Tanh(), lin()), VECTOR, None),
    "orthogonal": (lambda: nn.Sequential(parametrizations.orthogonal(lin()), nn.Tanh(), lin()), VECTOR, None),
    "old-weight-norm": (lambda: nn.Sequential(torch.nn.utils.weight_norm(lin()), nn.Tanh(), lin()), VECTOR, None),
    "self-attention": (
        lambda: Model(lambda m, x: m.a(x, x, x, need_weights=False)[0].sum(1), a=attention(batch_first=True)),
        SEQUENCE,
        set(),
    ),
    "self-attention-with-dropout": (
        lambda: Model(lambda m, x: m.a(x, x, x)[0].sum(1), a=attention(batch_first=True, dropout=0.5)),
        SEQUENCE,
        set(),
    ),
    "self-attention-weights-unused": (
        lambda: Model(lambda m, x: m.a(x, x, x)[0].sum(1), a=attention(batch_first=True, bias=False)),
        SEQUENCE,
        set(),
    ),
    "self-attention-weights-used-in-another-call": (
        lambda: Model(
            attention_and_its_weights_in_two_calls,
            a=attention(batch_first=True),
        ),
        SEQUENCE,
        None,
    ),
    "self-attention-weights-used-once": (
        lambda: Model(attention_and_its_weights, a=attention(batch_first=True)),
        SEQUENCE,
        set(),
    ),
    "self-attention-causal": (
        lambda: Model(causal, a=attention(batch_first=True)),
        SEQUENCE,
        set(),
    ),
    "self-attention-positions-first": (
        lambda: Model(lambda m, x: m.a(*[x.transpose(0, 1)] * 3)[0].sum(0), a=attention()),
        SEQUENCE,
        set(),
    ),
    "self-attention-bias-k": (
        lambda: Model(lambda m, x: m.a(x, x, x)[0].sum(1), a=attention(batch_first=True, add_bias_kv=True)),
        SEQUENCE,
        None,
    ),
    "cross-attention": (
        lambda: Model(lambda m, x: m.a(x, x.sin(), x)[0].sum(1), a=attention(batch_first=True)),
        SEQUENCE,
        None,
    ),
    "transformer-encoder": (
        lambda: Model(
            lambda m, x: m.encoder(x).sum(1),
            encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 2),
        ),
        SEQUENCE,
        set(),
    ),
    "frozen-in-projection": (
        lambda: Model(lambda m, x: m.a(x, x, x)[0].sum(1), a=frozen_in_projection(attention(batch_first=True))),
        SEQUENCE,
        set(),
    ),
}  # fmt: skip


def problem(name):
    """(model, inputs [n, ...], targets [n], parameters by the whole model) in float64, n = 7."""
    torch.manual_seed(0)
    build, shape, whole = HOSTILE[name]
    return build().double(), torch.randn(7, *shape).double(), torch.randint(0, 4, (7,)), whole


def assert_equal_to_loop(statistics, rows):
    totals, squared = statistics.sum_sq_norm(by="parameter"), statistics.sq_norm_of_sum(by="parameter")
    assert set(totals) == set(rows)
    whole = sum(g.square().sum().item() for g in rows.values())
    for name, gradients in rows.items():
        # The floor is for gradients that vanish by cancellation, such as those of attention's key bias.
        assert totals[name] == pytest.approx(gradients.square().sum().item(), rel=1e-10, abs=1e-25 * whole), name
        summed = gradients.sum(dim=0).square().sum().item()
        assert squared[name] == pytest.approx(summed, rel=1e-10, abs=1e-25 * whole), name


@pytest.mark.parametrize("name", HOSTILE)
def test_every_use_of_a_parameter_equals_the_loop(name):
    model, inputs, targets, whole = problem(name)
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))
    if whole is not None:
        assert set(statistics.evidence.by_whole_model) == whole


@pytest.mark.parametrize("name", HOSTILE)
def test_every_use_of_a_parameter_equals_the_loop_in_ragged_batches(name):
    model, inputs, targets, _ = problem(name)
    batches = [(inputs[part], targets[part]) for part in (slice(0, 1), slice(1, 4), slice(4, 7))]
    statistics = gradient_statistics(model, PER_EXAMPLE, batches)
    assert statistics.n == {"all": 7}
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))


def batch_normalised(m, x):
    return F.batch_norm(x, None, None, training=True)


MIXING = {
    "centred": lambda: nn.Sequential(lin(), Model(lambda m, x: x - x.mean(0)), lin()),
    "functional-batch-norm": lambda: nn.Sequential(lin(), Model(batch_normalised)),
    "attention-over-examples": lambda: nn.Sequential(lin(), Model(lambda m, x: torch.softmax(x @ x.T, 0) @ x), lin()),
    "functional-dropout": lambda: nn.Sequential(lin(), Model(lambda m, x: F.dropout(x, 0.5)), lin()),
    "bare-parameter-and-mean": lambda: Model(lambda m, x: (x - x.mean(0)) * m.gain, gain=nn.Parameter(torch.randn(4))),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_model_that_mixes_examples_is_refused(name, dtype):
    torch.manual_seed(0)
    model = MIXING[name]().to(dtype)
    with pytest.raises((UnsupportedModelError, ValueError), match=r"mixes the examples|more than 1 value"):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(5, 4).to(dtype), torch.randint(0, 4, (5,)))])


@pytest.mark.parametrize("layer", [nn.Embedding(5, 4, max_norm=1.0), nn.Embedding(5, 4, scale_grad_by_freq=True)])
def test_an_embedding_that_changes_with_the_batch_is_refused_by_name(layer):
    with pytest.raises(UnsupportedModelError, match=r"max_norm or scale_grad_by_freq: 0 \(Embedding\)"):
        gradient_statistics(
            nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 4)),
            PER_EXAMPLE,
            [(torch.zeros(2, 3).long(), torch.zeros(2).long())],
        )


def test_whole_model_rows_are_formed_in_chunks(monkeypatch):
    monkeypatch.setattr("mcoherence.gradients.batch.fallback.ROWS_BUDGET", 50)
    model, inputs, targets, _ = problem("used-twice")
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))


def test_evidence_tells_what_was_checked():
    model, inputs, targets, _ = problem("bare-parameter")
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=3)
    evidence = statistics.evidence
    assert (evidence.examples_asked, evidence.examples_measured) == (7, 7)
    assert evidence.parameters_covered == evidence.parameters_trainable == 44
    assert 0.0 < evidence.bound_ratio <= 1.0
    assert evidence.spot_examples == 3
    assert evidence.spot_relative_error < 1e-10
    both = statistics.merge(gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)).evidence
    assert (both.examples_asked, both.spot_examples) == (14, 3)
    assert both.spot_relative_error == evidence.spot_relative_error


def test_the_spot_check_finds_a_wrong_rule_and_the_whole_model_takes_over(monkeypatch):
    wrong = Registered(lambda layer, x, b: {"weight": x.sum(1).double(), "bias": x.sum(1).double()}, only_argument)
    monkeypatch.setitem(RULES, nn.Linear, wrong)
    torch.manual_seed(0)
    model, inputs, targets = nn.Linear(4, 4).double(), torch.rand(5, 4).double(), torch.randint(0, 4, (5,))
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert_equal_to_loop(statistics, per_example_gradients(model, PER_EXAMPLE, inputs, targets))
    assert statistics.evidence.by_whole_model == ("weight", "bias")
    unchecked = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)
    assert unchecked.sum_sq_norm() == pytest.approx(2 * inputs.sum().item())  # the check is what makes the difference


def test_the_bound_ratio_is_the_largest_of_a_group_and_layer():
    # layer a: (1 + 2) / (5 (1 + 1)) and (4 + 8) / (4 (2 + 3)); layer b: 1 / (5 2) and 2 / (4 1)
    squared, total = np.array([[1.0, 1.0, 2.0], [4.0, 2.0, 8.0]]), np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 3.0]])
    names, counts = ["a.weight", "b.weight", "a.bias"], np.array([5, 4])
    assert bound_ratio(squared, total, counts, names, torch.float64) == 0.6
    # of two checkpoints, the second with half the sums, and of none
    two = np.stack([squared / 4, squared]), np.stack([total, total]), np.stack([counts, counts])
    assert bound_ratio(*two, names, torch.float64) == 0.6
    assert bound_ratio(*(values[:0] for values in two), names, torch.float64) == 0.0


def test_a_layer_whose_gradients_are_rounding_of_the_others_has_no_bound_to_break():
    """Of float32, whose rounding is 1e-7: layer b is 1e-10 as long as a, and its sum is longer than its parts."""
    counts, names = np.array([5]), ["a.weight", "b.weight"]
    squared, total = np.array([[1.0, 3e-20]]), np.array([[2.0, 1e-21]])
    assert bound_ratio(squared, total, counts, names, torch.float32) == 0.1
    with pytest.raises(IdentityError, match=r"layer 'b'.* is 6e\+09"):  # no rounding is as long as that
        bound_ratio(np.array([[1.0, 3e-8]]), np.array([[2.0, 1e-18]]), counts, names, torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_short_layer_is_held_against_the_bound_in_every_precision(dtype):
    squared, total = np.array([[1.0, 3e-2]]), np.array([[2.0, 2e-3]])  # of b three times n Q, a thousandth of a's
    with pytest.raises(IdentityError, match=r"layer 'b'.* is 3,"):
        bound_ratio(squared, total, np.array([5]), ["a.weight", "b.weight"], dtype)


class _Shifted(nn.Module):
    """Adds one number to every logit, which changes no loss."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(1))

    def forward(self, x):
        return x + self.shift


def test_a_constant_that_is_added_to_every_logit_is_measured():
    for seed in range(40, 60):  # at 49 its sum, 1e-8 long, is longer than its parts
        torch.manual_seed(seed)
        model, inputs = nn.Sequential(nn.Linear(6, 4), _Shifted()), 3 * torch.randn(16, 6)
        found = gradient_statistics(model, PER_EXAMPLE, [(inputs, torch.randint(3, (16,)))])
        assert found.sum_sq_norm(by="parameter")["1.shift"] < 1e-10 * found.sum_sq_norm()


@pytest.mark.parametrize("squared", [11.0, np.nan, np.inf])
def test_a_sum_longer_than_its_parts_is_refused_by_layer(squared):
    one = (np.array([[1.0, squared]]), np.array([[1.0, 2.0]]), np.array([5]))
    with pytest.raises(IdentityError, match="layer 'b'"):
        bound_ratio(*one, ["a.weight", "b.weight"], torch.float64)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused_without_a_spot_check_too(lost):
    model, batch = nn.Linear(3, 2), (torch.rand(2, 3), torch.tensor([1.0, lost]))
    with pytest.raises(IdentityError, match=r"not finite: parameter 'weight', example 1 .* its loss is"):
        gradient_statistics(model, lambda outputs, targets: outputs.sum(1) * targets, [batch], spot_check=0)


@pytest.mark.parametrize("name", HOSTILE)
def test_parameters_stay_the_same_objects_with_the_same_values(name):
    model, inputs, targets, _ = problem(name)
    before = {key: (p, p.detach().clone()) for key, p in model.named_parameters(remove_duplicate=False)}
    gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    after = dict(model.named_parameters(remove_duplicate=False))
    assert after.keys() == before.keys()
    assert all(after[key] is p and torch.equal(p, value) for key, (p, value) in before.items())


def test_parametrized_layers_are_left_as_found():
    model, inputs, targets, _ = problem("weight-norm")
    gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert parametrize.is_parametrized(model[0], "weight")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
