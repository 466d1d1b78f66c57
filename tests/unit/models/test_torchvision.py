"""torchvision's classifiers: published sizes, small images, any number of channels, weights from the seed alone."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.errors import UserError
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.models import NetworkSettings, build_model, load_checkpoint, save_checkpoint
from mcoherence.models.architectures import may_have_batch_norm
from mcoherence.models.build import outline

models = pytest.importorskip("torchvision.models")
ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
IMAGENET = (3, 224, 224)
# Networks of the families that have a small form, and the least square image that this takes.
LEAST = {"resnet18": 8, "resnet50": 8, "vgg13_bn": 8, "alexnet": 8, "efficientnet_b0": 8, "inception_v3": 15}
NARROW = {"vgg13_bn": {"hidden": 16}, "alexnet": {"hidden": 16}}  # nearly all of their weights are in 2 x 4096 units


def settings(name, **own):
    return {"architecture": name, **own}


def weightless(name, shape, num_classes=10, **own):
    return outline(settings(name, **own), shape, num_classes)


def size(model):
    return sum(p.numel() for p in model.parameters())


def seeded(model_settings, shape, num_classes=10):
    torch.manual_seed(3)
    return build_model(model_settings, shape, num_classes)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("vgg13_bn", 133_053_736),
        ("alexnet", 61_100_840),
        ("efficientnet_b0", 5_288_548),
        ("inception_v3", 27_161_264 - 3_326_696),  # without the auxiliary classifier
    ],
)
def test_the_original_form_has_the_published_number_of_parameters(name, published):
    assert size(weightless(name, (3, 299, 299) if name == "inception_v3" else IMAGENET, 1000)) == published


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 3x3 in place of 7x7 in the first convolution, and 10 classes in place of 1000
        ("resnet18", 11_689_512 - (49 - 9) * 3 * 64 - 990 * 513),
        ("resnet50", 25_557_032 - (49 - 9) * 3 * 64 - 990 * 2049),
        # 512 inputs of the classifier in place of 512 * 7 * 7
        ("vgg13_bn", 133_053_736 - 512 * 48 * 4096 - 990 * 4097),
        # 3x3 in place of 11x11, 256 * 2 * 2 inputs of the classifier in place of 256 * 6 * 6
        ("alexnet", 61_100_840 - (121 - 9) * 3 * 64 - 256 * 32 * 4096 - 990 * 4097),
        # strides and poolings alone
        ("efficientnet_b0", 5_288_548 - 990 * 1281),
        ("inception_v3", 27_161_264 - 3_326_696 - 990 * 2049),
    ],
)
def test_the_small_form_at_32_pixels_differs_in_the_layers_that_it_says(name, expected):
    assert size(weightless(name, (3, 32, 32))) == expected


@pytest.mark.parametrize(
    ("name", "last_map"),
    [("resnet18", 4), ("resnet50", 4), ("vgg13_bn", 1), ("alexnet", 2), ("efficientnet_b0", 4), ("inception_v3", 3)],
)
def test_the_last_map_of_the_small_form_at_32_pixels(name, last_map):
    model = weightless(name, (3, 32, 32)).eval()
    seen = []
    model.avgpool.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[-2:]))
    model(torch.empty(2, 3, 32, 32, device="meta"))
    assert seen == [(last_map, last_map)]


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("shape", ["least", (3, 32, 32), (2, 48, 40), (3, 64, 64), (3, 224, 224)], ids=str)
def test_logits_for_images_of_every_size(name, shape):
    """On the meta device, which knows shapes and nothing else; train mode, as dropout and batch norm would train."""
    shape = (1, LEAST[name], LEAST[name]) if shape == "least" else shape
    model = weightless(name, shape)
    assert model(torch.empty(2, *shape, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("name", LEAST)
def test_one_pixel_less_is_refused_in_one_line(name):
    if LEAST[name] > 8:
        with pytest.raises(UserError, match=rf"^{name}: found images of 1x14x14, which it does not take") as caught:
            build_model(settings(name), (1, 14, 14), 10)
        assert "\n" not in str(caught.value)
    else:
        assert weightless(name, (1, 2, 2)).eval()(torch.empty(2, 1, 2, 2, device="meta")).shape == (2, 10)


def test_auto_is_small_below_96_pixels():
    def first_kernel(side, stem):
        return weightless("resnet18", (3, side, 224), stem=stem).conv1.kernel_size

    assert [first_kernel(side, "auto") for side in (32, 95, 96, 224)] == [(3, 3), (3, 3), (7, 7), (7, 7)]
    assert (first_kernel(224, "small"), first_kernel(32, "original")) == ((3, 3), (7, 7))
    with pytest.raises(UserError, match="stem: found 'tiny', expected auto, small or original"):
        weightless("resnet18", IMAGENET, stem="tiny")


@pytest.mark.parametrize(
    "name", ["resnet18", "alexnet", "efficientnet_b0", pytest.param("inception_v3", marks=pytest.mark.slow)]
)
def test_the_original_form_starts_from_torchvisions_weights_to_the_bit(name):
    extra = {"aux_logits": False, "init_weights": True} if name == "inception_v3" else {}
    torch.manual_seed(3)
    expected = models.get_model(name, weights=None, num_classes=10, **extra).state_dict()
    found = seeded(settings(name), (3, 128, 128)).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], value) for key, value in found.items())


@pytest.mark.parametrize(
    ("name", "first", "expected"),
    [
        ("resnet18", "conv1", math.sqrt(2 / (9 * 64))),  # He et al., fan out
        pytest.param("vgg13_bn", "features.0", math.sqrt(2 / (9 * 64)), marks=pytest.mark.slow),
        ("efficientnet_b0", "features.0.0", math.sqrt(2 / (9 * 32))),
        pytest.param("inception_v3", "Conv2d_1a_3x3.conv", 0.1, marks=pytest.mark.slow),
        ("alexnet", "features.0", math.sqrt(1 / (3 * 9 * 8))),  # torch's default: variance 1 / (3 fan in)
    ],
)
def test_a_new_first_convolution_draws_from_its_networks_distribution(name, first, expected):
    """8 channels, so that the spread of about 3,000 weights is known to a few percent."""
    weight = seeded(settings(name, **NARROW.get(name, {})), (8, 16, 16)).get_submodule(first).weight
    assert weight.shape[1] == 8
    assert weight.std().item() == pytest.approx(expected, rel=0.1)


LARGE = pytest.mark.slow  # seconds to draw the weights


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[LARGE] * (name in ("resnet50", "vgg13_bn", "inception_v3"))) for name in LEAST]
)
def test_weights_are_a_function_of_the_seed_and_survive_a_checkpoint(name, tmp_path):
    shape = (1, LEAST[name], LEAST[name])
    own = settings(name, **NARROW.get(name, {}))
    model, again = seeded(own, shape), seeded(own, shape).to(memory_format=torch.channels_last)
    for network, file in ((model, "a"), (again, "b")):
        save_checkpoint(tmp_path / file, network, NetworkSettings(own, shape, 10), {"step": 0})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_checkpoint(tmp_path / "a")
    inputs = torch.randn(2, *shape)
    assert torch.equal(loaded(inputs), model.eval()(inputs))
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("name", ["alexnet", "efficientnet_b0"])
def test_scaled_weights_and_a_subtracted_start_survive_a_checkpoint(name, tmp_path):
    without_noise = {"alexnet": {"hidden": 8}, "efficientnet_b0": {"stochastic_depth": 0}}[name] | {"dropout": 0}
    own = settings(name, **without_noise, init_scale=1.5, subtract_initial_output=True)
    model, inputs = seeded(own, (1, 8, 8)), torch.randn(4, 1, 8, 8)
    assert not model(inputs).any()
    with torch.no_grad():
        for p in model.network.parameters():
            p.mul_(1.1)
    save_checkpoint(tmp_path / "a", model, NetworkSettings(own, (1, 8, 8), 10), {"step": 0})
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded(inputs).any()
    assert torch.equal(loaded(inputs), model.eval()(inputs))
    assert not any(p.requires_grad for p in loaded.initial.parameters())
    save_checkpoint(tmp_path / "b", loaded, NetworkSettings(own, (1, 8, 8), 10), {"step": 0})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_seed_gives_other_weights():
    first = seeded(settings("alexnet", hidden=8), (1, 8, 8)).features[0].weight
    torch.manual_seed(4)
    assert not torch.equal(first, build_model(settings("alexnet", hidden=8), (1, 8, 8), 10).features[0].weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAST)
def test_gradient_statistics_of_the_small_form_equal_the_loop(name):
    torch.manual_seed(0)
    shape = (1, LEAST[name], LEAST[name])
    model = build_model(settings(name, **NARROW.get(name, {})), shape, 10).double()
    inputs, targets = torch.randn(3, *shape).double(), torch.tensor([1, 7, 1])
    model(inputs)  # running statistics move away from 0 and 1
    loss = nn.CrossEntropyLoss(reduction="none")
    statistics = gradient_statistics(model, loss, [(inputs, targets)], spot_check=0)
    totals, squared = statistics.sum_sq_norm(by="parameter"), statistics.sq_norm_of_sum(by="parameter")
    rows = per_example_gradients(model, loss, inputs, targets)
    assert totals.keys() == rows.keys()
    whole = sum(gradients.square().sum().item() for gradients in rows.values())
    assert whole > 0
    for parameter, gradients in rows.items():
        floor = 1e-22 * whole  # for gradients that vanish by cancellation
        assert totals[parameter] == pytest.approx(gradients.square().sum().item(), rel=1e-10, abs=floor), parameter
        summed = gradients.sum(dim=0).square().sum().item()
        assert squared[parameter] == pytest.approx(summed, rel=1e-10, abs=floor), parameter


def probabilities(model):
    return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]


def test_dropout_and_stochastic_depth_are_torchvisions_unless_set():
    assert probabilities(weightless("alexnet", IMAGENET)) == [0.5, 0.5]
    assert probabilities(weightless("vgg13_bn", IMAGENET, dropout=0.1)) == [0.1, 0.1]
    assert probabilities(weightless("inception_v3", IMAGENET, dropout=0)) == [0]
    assert probabilities(weightless("efficientnet_b0", IMAGENET)) == [0.2]
    assert probabilities(weightless("efficientnet_b3", IMAGENET)) == [0.3]
    assert probabilities(weightless("efficientnet_b3", IMAGENET, dropout=0.05)) == [0.05]
    depths = [
        [
            m.p
            for m in weightless("efficientnet_b0", IMAGENET, **own).modules()
            if hasattr(m, "mode") and hasattr(m, "p")
        ]
        for own in ({}, {"stochastic_depth": 0.0})
    ]
    assert max(depths[0]) == pytest.approx(0.2 * 15 / 16)  # 16 blocks, the first is never skipped
    assert set(depths[1]) == {0.0}


# The least square image of the networks that do not work at 32 pixels.
SMALLEST = {"maxvit_t": 224, "vit_h_14": 28}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_classifier_of_torchvision_works_on_grey_images(name):
    shape = (1, SMALLEST.get(name, 32), SMALLEST.get(name, 32))
    model = weightless(name, shape, 7)
    assert model(torch.empty(2, *shape, device="meta")).shape == (2, 7)
    has_batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    assert may_have_batch_norm({"architecture": name}) == has_batch_norm


def test_the_schema_names_every_classifier_of_torchvision_and_no_other():
    named = SCHEMA["$defs"]["named_architectures"]["enum"]
    assert named == ["mlp", "cnn", "cnn_group_norm", "deep_mlp", *models.list_models(module=models)]


def test_an_unknown_name_is_one_line_with_similar_ones():
    with pytest.raises(UserError, match=r"^architecture: found 'resnet19'.*similar names: resnet18") as caught:
        build_model(settings("resnet19"), IMAGENET, 10)
    assert "\n" not in str(caught.value)


def test_options_reach_torchvision_and_wrong_ones_are_one_line():
    model = weightless("densenet121", (3, 32, 32), options={"drop_rate": 0.25})
    assert {module.drop_rate for module in model.modules() if hasattr(module, "drop_rate")} == {0.25}
    with pytest.raises(
        UserError, match=r"^densenet121: found .*'drop_rat'.*expected arguments of torchvision"
    ) as caught:
        build_model(settings("densenet121", options={"drop_rat": 0.25}), (3, 32, 32), 10)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^vit_b_16: found images of 3x30x30.*images of a size that it takes"):
        build_model(settings("vit_b_16"), (3, 30, 30), 10)
    with pytest.raises(UserError, match=r"^maxvit_t: found images of 3x32x32"):
        build_model(settings("maxvit_t"), (3, 32, 32), 10)


def test_other_networks_do_without_torchvision():
    code = (
        "import sys; from mcoherence.models import build_model;"
        "build_model({'architecture': 'cnn', 'channels': [2], 'hidden': 3}, (1, 8, 8), 4);"
        "print([name for name in ('torchvision', 'torch._dynamo') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"
