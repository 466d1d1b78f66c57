"""Every classification family of torchvision against the loop over single examples, in float64, at small inputs."""

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.reference import per_example_gradients

models = pytest.importorskip("torchvision.models")

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
FEW = {"num_classes": 5}


def swin(version):
    block = models.swin_transformer
    return models.SwinTransformer(
        patch_size=[4, 4], embed_dim=12, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=5,
        block=block.SwinTransformerBlock if version == 1 else block.SwinTransformerBlockV2,
        downsample_layer=block.PatchMerging if version == 1 else block.PatchMergingV2,
    )  # fmt: skip


def narrow_classifier(model, features):
    """AlexNet and VGG hold nearly all of their 10^8 weights in two layers of the same kind; 32 wide serve the same."""
    model.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(features, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 32),
        nn.ReLU(inplace=True), nn.Linear(32, 5),
    )  # fmt: skip
    return model


def bottlenecks(**kwargs):
    """The ResNeXt and wide ResNet of 50 layers, with one block per stage."""
    return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=5, **kwargs)


# name: (model, height and width of its input); "small" where the constructor allows for a narrower one
FAMILIES = {
    "alexnet-narrow-classifier": (lambda: narrow_classifier(models.alexnet(**FEW), 9216), 64),
    "vgg11_bn-narrow-classifier": (lambda: narrow_classifier(models.vgg11_bn(**FEW), 25088), 32),
    "resnet18": (lambda: models.resnet18(**FEW), 32),
    "resnext14_32x4d": (lambda: bottlenecks(groups=32, width_per_group=4), 32),
    "wide_resnet14_2": (lambda: bottlenecks(width_per_group=128), 32),
    "inception_v3": (lambda: models.inception_v3(**FEW, init_weights=False), 75),
    "googlenet": (lambda: models.googlenet(**FEW, init_weights=False), 32),
    "densenet121": (lambda: models.densenet121(**FEW), 32),
    "squeezenet1_0": (lambda: models.squeezenet1_0(**FEW), 48),
    "mobilenet_v2": (lambda: models.mobilenet_v2(**FEW), 32),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(**FEW), 32),
    "mnasnet0_5": (lambda: models.mnasnet0_5(**FEW), 32),
    "shufflenet_v2_x0_5": (lambda: models.shufflenet_v2_x0_5(**FEW), 32),
    "efficientnet_b0": (lambda: models.efficientnet_b0(**FEW), 32),
    "efficientnet_v2_s": (lambda: models.efficientnet_v2_s(**FEW), 32),
    "regnet_y_400mf": (lambda: models.regnet_y_400mf(**FEW), 32),
    "convnext-small": (
        lambda: models.ConvNeXt(
            [models.convnext.CNBlockConfig(16, 24, 2), models.convnext.CNBlockConfig(24, None, 2)],
            layer_scale=0.5,
            num_classes=5,
        ),
        32,
    ),
    "vit-small": (lambda: models.VisionTransformer(32, 8, 2, 4, 24, 48, num_classes=5), 32),
    "vit_b_16-two-layers": (lambda: models.VisionTransformer(32, 16, 2, 12, 768, 3072, num_classes=5), 32),
    "swin-small": (lambda: swin(1), 32),
    "swin_v2-small": (lambda: swin(2), 32),
    "maxvit-small": (
        lambda: models.MaxVit(
            input_size=(32, 32), stem_channels=8, partition_size=4, block_channels=[8, 16], block_layers=[1, 1],
            head_dim=4, stochastic_depth_prob=0.2, num_classes=5,
        ),
        32,
    ),
}  # fmt: skip


def randomised(model):
    """The model with weights and running statistics away from what any constructor sets, and alive signals."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.detach().uniform_(0.5, 1.5)
            module.bias.detach().normal_(std=0.1)
    for name, p in model.named_parameters():
        if (p.dim() > 0 and not p.any()) or name.endswith(("class_token", "pos_embedding", "bias_table")):
            p.detach().normal_(std=0.1)
    return model.double()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_family_equals_the_loop(name):
    torch.manual_seed(0)
    build, size = FAMILIES[name]
    model = randomised(build())
    inputs, targets = torch.randn(2, 3, size, size).double(), torch.tensor([0, 3])
    statistics = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)
    totals, squared = statistics.sum_sq_norm(by="parameter"), statistics.sq_norm_of_sum(by="parameter")
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    assert totals.keys() == rows.keys()
    whole = sum(gradients.square().sum().item() for gradients in rows.values())
    assert whole > 0
    for parameter, gradients in rows.items():
        # The floor is for gradients that vanish by cancellation, such as those of attention's key bias.
        floor = 1e-22 * whole
        assert totals[parameter] == pytest.approx(gradients.square().sum().item(), rel=1e-10, abs=floor), parameter
        summed = gradients.sum(dim=0).square().sum().item()
        assert squared[parameter] == pytest.approx(summed, rel=1e-10, abs=floor), parameter
    assert statistics.evidence.by_whole_model == ()
