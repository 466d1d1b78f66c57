"""Chains of torch's layers that keep examples apart, whatever the batch is."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence.gradients.batch import example_wise
from mcoherence.gradients.batch.example_wise import is_example_wise, layer_settings

# A layer, and the shape of an example's input.
KEEPING = [
    (nn.Identity(), (5,)),
    (nn.Linear(5, 3), (5,)),
    (nn.Linear(5, 3), (4, 5)),
    (nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular"), (3, 6)),
    (nn.Conv2d(4, 4, 3, groups=2, dilation=2), (4, 6, 6)),
    (nn.Conv3d(2, 3, 2), (2, 3, 3, 3)),
    (nn.ConvTranspose1d(3, 2, 3, stride=2), (3, 5)),
    (nn.ConvTranspose2d(3, 2, 3), (3, 4, 4)),
    (nn.ConvTranspose3d(2, 2, 2), (2, 3, 3, 3)),
    (nn.GroupNorm(2, 4), (4, 5)),
    (nn.LayerNorm(5), (3, 5)),
    (nn.RMSNorm(5), (3, 5)),
    (nn.InstanceNorm1d(4), (4, 5)),
    (nn.InstanceNorm1d(4, affine=True), (4, 5)),
    (nn.InstanceNorm2d(4, track_running_stats=True), (4, 3, 3)),
    (nn.InstanceNorm3d(2), (2, 3, 3, 3)),
    (nn.BatchNorm1d(4), (4, 5)),
    (nn.BatchNorm1d(4), (4,)),
    (nn.BatchNorm2d(4), (4, 3, 3)),
    (nn.BatchNorm3d(2), (2, 3, 3, 3)),
    *((layer(2), (3, 6)) for layer in (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d)),
    *((layer(2), (3, 6, 6)) for layer in (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)),
    *((layer(2), (2, 4, 4, 4)) for layer in (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d)),
    *(
        (layer(), (4, 5))
        for layer in (
            *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
            *(nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Softshrink),
            *(nn.Hardshrink, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Dropout, nn.Dropout1d, nn.AlphaDropout),
        )
    ),
    (nn.PReLU(4), (4, 5)),
    (nn.Threshold(0.1, 2.0), (4,)),
    (nn.Dropout2d(), (2, 3, 3)),
    (nn.Dropout3d(), (2, 3, 3, 3)),
    *((layer(1), (4, 5)) for layer in (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU)),
    (nn.Flatten(), (4, 5)),
    (nn.Unflatten(1, (2, 2)), (4, 5)),
    (nn.Embedding(7, 3, padding_idx=2), ()),
    (nn.Embedding(7, 3), (4,)),
    (nn.Sequential(nn.Linear(5, 3), nn.Sequential(nn.Tanh(), nn.Flatten())), (4, 5)),
]


def inputs_of(layer, n, shape):
    torch.manual_seed(n)
    return torch.randint(7, (n, *shape)) if isinstance(layer, nn.Embedding) else torch.randn(n, *shape).double()


@pytest.mark.parametrize(("layer", "shape"), KEEPING, ids=lambda one: type(one).__name__ if one != () else "()")
def test_an_example_comes_out_of_these_as_it_does_among_others(layer, shape):
    torch.manual_seed(0)
    layer = layer.double().eval()
    for buffer in layer.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    assert is_example_wise(layer)
    few, others = (inputs_of(layer, n, shape) for n in (3, 6))
    together = layer(torch.cat([others[:4], few, others[4:]]))
    assert len(together) == 9
    torch.testing.assert_close(together[4:7], layer(few), rtol=1e-12, atol=1e-12)


def test_every_kind_of_layer_is_tried_here():
    tried = {type(part) for layer, _ in KEEPING for part in layer.modules()}
    assert tried == set(example_wise._CONDITIONS)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Softmax(0),
        nn.Softmax(-2),
        nn.Softmax(),
        nn.GLU(),  # along the last axis, which is that of the examples where there is no other
        nn.Flatten(0),
        nn.Flatten(-2),
        nn.Unflatten(0, (2, 2)),
        nn.BatchNorm1d(3, track_running_stats=False),
        nn.Embedding(7, 3, scale_grad_by_freq=True),
        nn.Embedding(7, 3, max_norm=1.0),
        nn.ZeroPad2d(1),
        nn.LSTM(3, 3),
        nn.MultiheadAttention(4, 2),
        nn.TransformerEncoderLayer(4, 2),
        nn.ModuleList([nn.Linear(3, 3)]),
        nn.Bilinear(2, 2, 2),
        nn.EmbeddingBag(3, 3),
        nn.Upsample(scale_factor=2),
    ],
    ids=repr,
)
def test_of_these_it_is_not_known(layer):
    assert not is_example_wise(layer.eval())
    assert not is_example_wise(nn.Sequential(nn.Linear(3, 3), layer).eval())


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(3)])
def test_nor_of_those_that_draw_or_mix_in_training_mode(layer):
    assert is_example_wise(layer.eval())
    assert not is_example_wise(layer.train())


class Parameter(nn.Parameter):
    """A parameter of a type of its own."""


def test_nor_of_parameters_and_buffers_of_a_type_of_their_own():
    model = nn.Linear(2, 2)
    model.weight = Parameter(torch.zeros(2, 2))
    assert not is_example_wise(model)
    model = nn.BatchNorm1d(2).eval()
    model.running_mean = torch.zeros(2).as_subclass(Parameter)
    assert not is_example_wise(model)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(nn.Tanh, "forward"), (nn.functional, "leaky_relu"), (nn.Module, "__call__"), (nn.Module, "_call_impl")],
)
def test_nor_where_something_of_torchs_was_replaced(monkeypatch, owner, name):
    """However well the replacement is dressed up."""
    model, own = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), getattr(owner, name)
    assert is_example_wise(model)

    @functools.wraps(own)
    def replaced(*given, **named):
        return own(*given, **named)

    monkeypatch.setattr(owner, name, replaced)
    assert not is_example_wise(model)


def test_nor_of_a_layer_whose_bias_is_no_parameter():
    layer = nn.Linear(2, 2)
    del layer.bias
    layer.bias = torch.ones(2)
    assert not is_example_wise(nn.Sequential(layer))


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "negative_slope", np.float32(0.25)),
        lambda layer: setattr(layer, "inplace", True),
        lambda layer: setattr(layer, "new", 1),
        lambda layer: setattr(layer, "__class__", nn.ELU),
        lambda layer: layer.register_forward_hook(lambda *_: None),
    ],
    ids=["a number of NumPy's", "a truth value", "an attribute", "a type", "a hook"],
)
def test_settings_tell_that_a_layer_has_changed(change):
    model = nn.Sequential(nn.LeakyReLU(np.float32(0.5)))
    before = layer_settings(model)
    assert layer_settings(model) == before
    change(model[0])
    assert layer_settings(model) != before


def test_what_a_user_keeps_on_a_layer_is_not_read_through():
    """A history of losses may be long, and no layer of torch's computes by it."""
    model = nn.Sequential(nn.LeakyReLU())
    model.losses = [0.5] * 1000
    assert len(layer_settings(model)) < 50
