"""Recurrent layers whose gates the graph shows, held against torch's own layers and their gradients."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mcoherence import gradient_statistics
from mcoherence.gradients.alignment import layouts
from mcoherence.gradients.graph import users_below
from mcoherence.gradients.recurrent import Recurrent
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
