"""Property tests: layers of drawn shapes and settings equal the loop over single examples."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.layer_rules import convolution
from mcoherence.gradients.reference import per_example_gradients

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def losses(outputs, targets):
    """A loss with a gradient that differs from output to output, whatever their shape."""
    return outputs.flatten(1).sin().square().mul(targets[:, None]).sum(dim=1)


def assert_equals_loop(model, inputs):
    model, targets = model.double(), torch.rand(len(inputs)).double() + 0.5
    statistics = gradient_statistics(model, losses, [(inputs.double(), targets)])
    assert statistics.evidence.by_whole_model == ()
    for name, rows in per_example_gradients(model, losses, inputs.double(), targets).items():
        expected = rows.square().sum().item()
        assert statistics.sum_sq_norm(by="parameter")[name] == pytest.approx(expected, rel=1e-10, abs=1e-20), name
        squared = rows.sum(dim=0).square().sum().item()
        assert statistics.sq_norm_of_sum(by="parameter")[name] == pytest.approx(squared, rel=1e-10, abs=1e-20), name


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_convolutions_of_any_shape(data):
    axes = data.draw(st.integers(1, 3))
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    inputs_per_group, outputs_per_group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(axes))
    dilation = tuple(data.draw(st.integers(1, 2)) for _ in range(axes))
    size = tuple(data.draw(st.integers(3, 7)) for _ in range(axes))
    mode = data.draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    padding = data.draw(st.sampled_from(["same", "valid", "numbers"]))
    if padding == "numbers":
        padding = tuple(data.draw(st.integers(0, min(2, s - 1))) for s in size)
    stride = 1 if padding == "same" else tuple(data.draw(st.integers(1, 3)) for _ in range(axes))
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same":
        # Reflecting or wrapping more than the input is torch's error, not ours.
        assume(mode == "zeros" or all((span + 1) // 2 < s for span, s in zip(spans, size, strict=True)))
    else:
        room = [s + 2 * (0 if padding == "valid" else padding[i]) for i, s in enumerate(size)]
        assume(all(span < r for span, r in zip(spans, room, strict=True)))
    layer = CONVOLUTIONS[axes - 1](
        groups * inputs_per_group, groups * outputs_per_group, kernel, stride, padding, dilation, groups,
        bias=data.draw(st.booleans()), padding_mode=mode,
    )  # fmt: skip
    n = data.draw(st.integers(1, 4))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    # A first layer and one behind it: with and without an input that takes part in the gradient.
    behind = nn.Sequential(CONVOLUTIONS[axes - 1](2, groups * inputs_per_group, 1), nn.Tanh(), layer)
    assert_equals_loop(layer, torch.randn(n, groups * inputs_per_group, *size))
    assert_equals_loop(behind, torch.randn(n, 2, *size))
    assert_all_ways_agree(layer, torch.randn(n, groups * inputs_per_group, *size).double())


def assert_all_ways_agree(layer, inputs):
    """Every way to a convolution's squared norms, whichever is the cheapest, gives those of the rows."""
    grads = torch.randn_like(layer(inputs))
    norms, sums = convolution.kernel_rows(layer, inputs, grads)
    (expected,) = torch.autograd.grad(layer(inputs), layer.weight, grads)
    assert torch.allclose(sums["weight"], expected, rtol=1e-10, atol=1e-12)
    for way in convolution._costs(layer, inputs.shape, grads.shape, convolution.ON_PROCESSOR):
        found = convolution.weight_squared_norms(layer, inputs, grads, way)
        assert torch.allclose(found, norms["weight"], rtol=1e-10, atol=1e-12), way


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 4),
    positions=st.lists(st.integers(1, 5), max_size=3),
    features=st.integers(1, 6),
    outputs=st.integers(1, 6),
    bias=st.booleans(),
)
def test_linear_layers_of_any_shape(n, positions, features, outputs, bias):
    torch.manual_seed(n + 10 * features + 100 * outputs)
    assert_equals_loop(nn.Linear(features, outputs, bias=bias), torch.randn(n, *positions, features))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 4),
    heads=st.integers(1, 3),
    width=st.integers(1, 3),
    positions=st.integers(1, 5),
    bias=st.booleans(),
)
def test_self_attention_of_any_shape(n, heads, width, positions, bias):
    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(heads * width, heads, bias=bias, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    torch.manual_seed(n + 10 * heads + 100 * positions)
    assert_equals_loop(SelfAttention(), torch.randn(n, positions, heads * width))
