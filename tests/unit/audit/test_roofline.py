"""Speeds of networks that nobody measured here, against what others and an H200 have measured."""

import pytest
import torch
from torch import nn

from mcoherence.audit import roofline
from mcoherence.audit.roofline import DEPTH_WISE, PEAKS, DevicePeak, training_seconds
from mcoherence.audit.speeds import network_of
from mcoherence.study.data_sizes import Size

IMAGENET = Size(1, 1, (3, 224, 224), 1000)
PUBLISHED = [  # images a second of training, middle of what is published of an A100 in TF32; the last two: an H200 here
    ("resnet18", IMAGENET, 2250, 1.5),
    ("resnet50", IMAGENET, 860, 1.5),
    ("vgg13_bn", IMAGENET, 400, 1.5),
    ("efficientnet_b0", IMAGENET, 1000, 1.5),
    ("inception_v3", Size(1, 1, (3, 299, 299), 1000), 700, 1.5),
    ("resnet50", IMAGENET, 128 / 0.1451, 1.5),  # plain pass in float32, benchmarks/RESULTS.md
    ("vit_b_16", IMAGENET, 128 / 0.3366, 2.0),  # attention is counted with all of its weights in memory
]


@pytest.mark.parametrize(("architecture", "size", "published", "factor"), PUBLISHED)
def test_networks_train_about_as_fast_as_is_published(architecture, size, published, factor):
    speed = 1 / training_seconds({"architecture": architecture}, size, PEAKS["cuda"])
    assert published / factor <= speed <= published * factor


def test_with_memory_for_nothing_it_is_the_arithmetic_of_three_passes():
    for model in ({"architecture": "resnet18"}, {"architecture": "efficientnet_b0"}):
        flops = network_of(model, IMAGENET).flops
        seconds = training_seconds(model, IMAGENET, DevicePeak(1e12, 1e30))
        assert seconds * 1e12 == pytest.approx(3 * flops, rel=0.05)  # the first layer has no gradient of its input


def test_by_hand_of_a_linear_classifier():
    linear, size = {"architecture": "mlp", "hidden": []}, Size(1, 1, (1, 1, 3), 2)
    flops = 2 * 3 * 2  # forward, and once more for the weights; none for the images
    assert training_seconds(linear, size, DevicePeak(1.0, 1e30)) == pytest.approx(2 * flops)
    assert training_seconds(linear, size, DevicePeak(1e30, 1.0)) > 4 * 3  # bytes of an image


@pytest.mark.parametrize(
    ("convolution", "image", "times"),
    [
        (nn.Conv2d(1, 4, 1, bias=False), (1, 2, 2), 1),  # of a grey image
        (nn.Conv2d(4, 4, 1, groups=4, bias=False), (4, 2, 2), DEPTH_WISE),
        (nn.Conv2d(4, 4, 1, groups=2, bias=False), (4, 2, 2), 1),
    ],
)
def test_a_convolution_is_depth_wise_by_its_groups_and_not_by_the_colours_of_an_image(convolution, image, times):
    inputs = torch.zeros(3, *image)
    with roofline._Counter() as counter:
        made = convolution(inputs)
    moved = 4 * (inputs.numel() + convolution.weight.numel() + made.numel())
    assert max(bytes_moved for _, bytes_moved in counter.steps) == times * moved


class Untrainable(nn.Module):
    """A network that has no parameters, only frozen ones, or is cut off from them."""

    def __init__(self, layers, detached=False):
        super().__init__()
        self.layers, self.detached = layers, detached

    def forward(self, images):
        logits = self.layers(images)
        return logits.detach() if self.detached else logits


@pytest.mark.parametrize(
    "network",
    [
        Untrainable(nn.Flatten()),
        Untrainable(nn.Sequential(nn.Flatten(), nn.Linear(3, 2).requires_grad_(False))),
        Untrainable(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), detached=True),
    ],
)
def test_a_network_that_cannot_be_trained_is_planned_all_the_same(network, monkeypatch):
    for module in ("roofline", "speeds"):
        monkeypatch.setattr(f"mcoherence.audit.{module}.outline", lambda *_: network)
    settings, size = {"architecture": "mine:of_this_test", "options": {"name": str(network)}}, Size(1, 1, (1, 1, 3), 2)
    assert training_seconds(settings, size, DevicePeak(1e12, 1e9)) > 0
    assert network_of(settings, size).parameters in (0, 8)
