"""Recurrent layers whose gates the graph shows, held against torch's own layers and their gradients."""

import copy
import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from mcoherence import example_statistics, gradient_statistics
from mcoherence.gradients.graph.alignment import layouts
from mcoherence.gradients.graph.recurrent import Recurrent, step_by_step
from mcoherence.gradients.graph.walk import users_below
from mcoherence.gradients.reference import per_example_gradients

N, T, D, H = 3, 5, 4, 6
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def relu(*sizes, **options):
    return nn.RNN(*sizes, nonlinearity="relu", **options)


def shown(layer, *args):
    """The layer's call with its gates in the graph."""
    recurrent = Recurrent(layer)
    recurrent.shown = True
    with recurrent.in_place():
        return layer(*args)


def nodes(*tensors):
    return {node.name() for node in users_below([tensor.grad_fn for tensor in tensors], {})}


def flat(output, states):
    return output, *(states if isinstance(states, tuple) else (states,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, relu])
def test_outputs_states_and_all_gradients_are_those_of_torchs_layer(kind, dtype):
    for layers, both, batch_first, bias in itertools.product((1, 2), (False, True), (False, True), (False, True)):
        torch.manual_seed(0)
        layer = kind(D, H, layers, bidirectional=both, batch_first=batch_first, bias=bias).to(dtype)
        inputs = torch.randn(*((N, T) if batch_first else (T, N)), D, dtype=dtype, requires_grad=True)
        count = 2 if isinstance(layer, nn.LSTM) else 1
        starts = [torch.randn(layers * (1 + both), N, H, dtype=dtype, requires_grad=True) for _ in range(count)]
        given = tuple(starts) if count == 2 else starts[0]
        asked = [inputs, *starts, *layer.parameters()]
        found, expected = flat(*shown(layer, inputs, given)), flat(*layer(inputs, given))
        weights = [torch.randn_like(value) for value in expected]
        gradients = [
            torch.autograd.grad(sum((w * value).sum() for w, value in zip(weights, values, strict=True)), asked)
            for values in (found, expected)
        ]
        assert "GatesBackward" in nodes(*found)
        tolerance = 1e-12 if dtype == torch.float64 else 2e-5
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_state_alone_has_its_gradient(kind):
    torch.manual_seed(0)
    layer, inputs = kind(D, H).double(), torch.randn(T, N, D, dtype=torch.float64)
    found, expected = flat(*shown(layer, inputs))[-1], flat(*layer(inputs))[-1]
    asked = list(layer.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), asked), torch.autograd.grad(expected.square().sum(), asked)
    )


@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_are_where_they_were_and_none_is_in_doubt(batch_first):
    layer = nn.LSTM(D, H, batch_first=batch_first)
    output, (_, cell) = shown(layer, torch.randn(*((N, T) if batch_first else (T, N)), D))
    losses = output.sum((1, 2) if batch_first else (0, 2)) + cell.sum((0, 2))
    users = users_below([losses.grad_fn], {})
    (gates,) = [node for node in users if node.name() == "GatesBackward"]
    products = [node for node in users if node.name() == "AddmmBackward0"]
    found, sure = layouts(users, [gates, *products], N)
    assert sure
    assert found[gates] == (0 if batch_first else 1, 1)
    # T N rows, sequence by sequence, or step by step
    assert [found[node] for node in products] == [(0, 1) if batch_first else (0, T)] * 2


def test_what_is_computed_otherwise_goes_step_by_step_and_the_fused_calls_are_on_again_afterwards():
    before = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    inputs = torch.randn(T, N, D)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, [T, T, T])
    of_packed = shown(nn.LSTM(D, H), packed)[0].data
    of_projected = shown(nn.LSTM(D, H, proj_size=2), inputs)[0]
    of_dropped = shown(nn.LSTM(D, H, 2, dropout=0.5), inputs)[0]
    for found in (of_packed, of_projected, of_dropped):
        assert not {"GatesBackward", "MkldnnRnnLayerBackward0"} & nodes(found)
    assert (torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()) == before


def test_layers_are_torchs_own_but_where_they_are_to_be_shown():
    layer, inputs = nn.GRU(D, H), torch.randn(T, N, D)
    recurrent = Recurrent(layer)
    with recurrent.in_place():
        assert "GatesBackward" not in nodes(layer(inputs)[0])
        recurrent.shown = True
        with torch.no_grad():
            assert layer(inputs)[0].grad_fn is None
        assert "GatesBackward" in nodes(layer(inputs)[0])
    assert "forward" not in vars(layer)
    assert "GatesBackward" not in nodes(layer(inputs)[0])


def test_a_forward_of_its_own_is_called_and_put_back():
    layer, calls = nn.RNN(D, H), []
    layer.forward = lambda x: calls.append(x) or nn.RNN.forward(layer, x)
    own = layer.forward
    assert "GatesBackward" in nodes(shown(layer, torch.randn(T, N, D))[0])
    assert len(calls) == 1
    assert layer.forward is own


class Reader(nn.Module):
    """A recurrent layer, what is made of it, and a head."""

    def __init__(self, recurrent, read):
        super().__init__()
        self.recurrent, self.head, self.read = recurrent, nn.Linear(H, 3), read

    def forward(self, x):
        return self.head(self.read(self.recurrent, x))


def checkpointed(layer, x):
    return checkpoint(lambda values: layer(values)[0], x, use_reentrant=False)[:, -1]


def twice(layer, x):
    return layer(x)[0][:, -1] + layer(x.flip(1)[:, 1:])[0][:, -1]


def from_a_state(layer, x):
    start = x.mean(1)[:, :1].expand(-1, H).unsqueeze(0).contiguous()
    return layer(x, (start, start))[1][1][0]


@pytest.mark.parametrize("read", [checkpointed, twice, from_a_state])
def test_statistics_are_those_of_the_loop_over_torchs_own_layer(read):
    torch.manual_seed(0)
    model = Reader(nn.LSTM(D, H, batch_first=True), read).double()
    inputs, targets = torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)]).sum_sq_norm(by="parameter")
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    assert found == pytest.approx({name: float(g.square().sum()) for name, g in rows.items()}, rel=1e-12)


def gru(**options):
    return nn.GRU(D, H, batch_first=True, **options)


def by_slope(layer, x):
    """The gradient of a function of the layer, to go on with."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    return layer(x)[0][:, -1] + 0.01 * slope.sum((1, 2)).unsqueeze(1)


def by_jacobian(layer, x):
    x = x.detach().requires_grad_()
    last = layer(x)[0][:, -1]
    each = torch.eye(H, dtype=x.dtype).unsqueeze(1).expand(H, len(x), H)
    (jacobian,) = torch.autograd.grad(last, x, each, is_grads_batched=True, retain_graph=True)
    return last * jacobian.square().sum((0, 2, 3)).unsqueeze(1)


def by_copy(layer, x):
    """As of a teacher whose weights have no gradient."""
    return layer(x)[0][:, -1] + copy.deepcopy(layer)(x)[0][:, 0]


def by_copy_with_weights(layer, x):
    """As of dropped or fast weights."""
    other = copy.copy(layer)
    other._flat_weights = [0.5 * weight for weight in layer._flat_weights]
    return other(x)[0][:, -1]


def of_a_constant_within_vmap(layer, x):
    start = torch.zeros(1, T, D, dtype=x.dtype)
    return torch.func.vmap(lambda one: one.sum() * layer(start)[0][0, -1])(x)


class Doubling(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        return (2 * found[0], found[1]) if func is torch.gru else found


def within_a_mode(layer, x):
    with Doubling():
        return layer(x)[0][:, -1]


class Doubled(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        found = super().__torch_function__(func, types, args, kwargs or {})
        return (2 * found[0], found[1]) if func is torch.gru else found


def of_a_tensor_of_its_own(layer, x):
    return layer(x.as_subclass(Doubled))[0][:, -1].as_subclass(torch.Tensor)


def traced(layer, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(layer, x, check_trace=False)(x)[0][:, -1]


def with_another_forward_for_a_call(layer, x):
    layer.forward = lambda values: nn.GRU.forward(layer, 2 * values)
    try:
        return layer(x)[0][:, -1]
    finally:
        del layer.forward


def with_a_hook_on_the_output(layer, x):
    """The state does not pass by it."""
    output, state = layer(x)
    output.register_hook(lambda gradient: 0.5 * gradient)
    return output[:, 0] + state[0]


def with_a_hook_on_an_output_that_is_not_used(layer, x):
    output, state = layer(x)
    output.register_hook(lambda gradient: 0.5 * gradient)
    return state[0]


def by_the_slope_of_a_state(layer, x):
    """The output is not part of it."""
    output, state = layer(x)
    (slope,) = torch.autograd.grad(state.square().sum(), output, allow_unused=True, retain_graph=True)
    return state[0] if slope is None else 0 * state[0]


def with_weights_put_in_for_a_call(layer, x):
    own, layer._flat_weights = layer._flat_weights, [1.5 * weight for weight in layer._flat_weights]
    try:
        return layer(x)[0][:, -1]
    finally:
        layer._flat_weights = own


OF_THEIR_OWN = [
    *(by_slope, by_jacobian, by_copy, by_copy_with_weights, of_a_constant_within_vmap, within_a_mode),
    *(of_a_tensor_of_its_own, traced, with_another_forward_for_a_call, with_a_hook_on_the_output),
    *(with_a_hook_on_an_output_that_is_not_used, by_the_slope_of_a_state),
    with_weights_put_in_for_a_call,
]


def looped(model, inputs, targets):
    """{parameter name: gradients [n, *parameter shape]} of one example after the other, outside of the package."""
    named = dict(model.named_parameters())
    rows = []
    for i in range(len(inputs)):
        loss = PER_EXAMPLE(model(inputs[i : i + 1]), targets[i : i + 1]).sum()
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        rows.append([torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), found, strict=True)])
    return {name: torch.stack(of_one) for name, of_one in zip(named, zip(*rows, strict=True), strict=True)}


@pytest.mark.parametrize("read", OF_THEIR_OWN)
def test_what_a_model_does_with_its_layer_is_done_with_torchs_own(read):
    torch.manual_seed(0)
    model = Reader(gru(), read).double().eval()
    inputs, targets = torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    rows = looped(model, inputs, targets)
    left = {name: sorted(vars(module)) for name, module in model.named_modules()}
    # No example is measured once more, which would put a wrong number right.
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)
    assert found.sum_sq_norm(by="parameter") == pytest.approx(
        {name: float(g.square().sum()) for name, g in rows.items()}, rel=1e-9
    )
    assert found.sq_norm_of_sum(by="parameter") == pytest.approx(
        {name: float(g.sum(0).square().sum()) for name, g in rows.items()}, rel=1e-9
    )
    along = {"sum": {name: g.sum(0) for name, g in rows.items()}}
    products = example_statistics(model, PER_EXAMPLE, [(inputs, targets)], along, spot_check=0).dot["sum"]
    expected = sum(g.flatten(1) @ g.sum(0).flatten() for g in rows.values())
    assert products == pytest.approx(expected.numpy(), rel=1e-9)
    assert {name: sorted(vars(module)) for name, module in model.named_modules()} == left


def packed(layer, x):
    lengths = 1 + (T - 1) * (x[:, 0, 0] > 0).long()
    return layer(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0]


@pytest.mark.parametrize("parametrised", [False, True])
def test_the_weights_that_a_layer_keeps_beside_its_parameters_are_left_as_found(parametrised):
    model = Reader(gru(), packed)
    if parametrised:
        nn.utils.parametrizations.weight_norm(model.recurrent, "weight_hh_l0")
    kept = model.recurrent._flat_weights
    before = list(kept)
    inputs, targets = torch.randn(N, T, D), torch.arange(N) % 3
    inputs[:, 0, 0] = torch.linspace(-1, 1, N)
    measured = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)
    assert "recurrent.weight_ih_l0" in measured.evidence.by_whole_model  # with other weights in their place
    assert model.recurrent._flat_weights is kept
    assert all(now is then for now, then in zip(kept, before, strict=True))


def test_inputs_are_handed_over_as_the_layers_own_forward_takes_them():
    class OfAPair(nn.GRU):
        def forward(self, pair):
            values, factor = pair
            return super().forward(values)[0][:, -1] * factor

    torch.manual_seed(0)
    model = OfAPair(D, 3, batch_first=True).double()
    inputs, targets = (torch.randn(N, T, D).double(), torch.rand(N, 1).double()), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)]).sum_sq_norm(by="parameter")
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    assert found == pytest.approx({name: float(g.square().sum()) for name, g in rows.items()}, rel=1e-12)


def test_fused_calls_are_on_again_after_layers_of_several_threads_went_step_by_step():
    before = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    first, second = step_by_step(), step_by_step()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert (torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()) == (False, False)
    second.__exit__(None, None, None)
    assert (torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_mode_is_left_behind_by_a_layer_that_is_interrupted(error):
    class Interrupted(nn.GRU):
        def forward(self, x):
            raise error

    layer = Interrupted(D, H)
    with pytest.raises(error):
        shown(layer, torch.randn(T, N, D))
    assert torch._C._len_torch_function_stack() == 0
