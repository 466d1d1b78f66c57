"""torchvision's classifiers without pretrained weights, for any number of channels and classes, and for small images.

Every ImageNet network halves its images five times (Inception: a little more), which leaves nothing of 32 x 32 pixels.
Where the shorter side is below 96 pixels, `stem: auto` takes a small form of the families below. 96 lies between the
64 pixels of Tiny ImageNet and the 96 of STL-10, and every original form works from 75 on. In short: ResNet, Inception
and EfficientNet go without their first two halvings, as ResNets for CIFAR do; AlexNet begins with 3x3 at stride 2; VGG
and AlexNet go without poolings that would leave no pixel, and their classifiers read the last map as it is, where the
original would repeat its pixels to fill 7 x 7 or 6 x 6.

Whatever is as in torchvision keeps torchvision's initial weights; a layer of another shape draws its own from the
distribution that torchvision uses for its kind of layer in that network.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from torch import nn

from mcoherence.errors import UserError

Shape = tuple[int, int, int]
Builder = Callable[..., nn.Module]
# A function that draws the weights of a new layer in place.
Draw = Callable[[Any], object]

# Arguments of torchvision's functions that are no options: they would download weights, or are the data's.
NOT_OPTIONS = frozenset(("weights", "weights_backbone", "pretrained", "pretrained_backbone", "progress", "num_classes"))
SMALL = 96  # pixels of the shorter side, below which a stem: auto is the small one


def classifier_names() -> list[str]:
    """The names of torchvision's classifiers, in alphabetical order."""
    models = _torchvision_models()
    return list(models.list_models(module=models))


def torchvision_network(name: str, input_shape: Shape, num_classes: int, **settings: Any) -> nn.Module:
    """The classifier `name` of torchvision for images [n, C, H, W], with random weights.

    Args:
        name: one of `classifier_names()`.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        settings: of its family: `resnet`, `vgg`, `alexnet`, `inception_v3`, `efficientnet`, else `other`.

    Raises:
        UserError: a setting that torchvision does not take.
    """
    family: Callable[..., nn.Module] = next((f for mark, f in FAMILIES.items() if mark in name), other)
    builder: Builder = _torchvision_models().get_model_builder(name)
    return family(builder, input_shape, num_classes, **settings)


def resnet(builder: Builder, input_shape: Shape, num_classes: int, stem: str = "auto") -> nn.Module:
    """ResNet, ResNeXt and wide ResNet.

    Small: the first convolution is 3x3 at stride 1 (original: 7x7 at stride 2) and there is no max pooling, as in the
    ResNets for CIFAR (He et al., arXiv 1512.03385, section 4.2). 32 x 32 pixels end in a map of 4 x 4.
    """
    model: Any = builder(weights=None, num_classes=num_classes)
    if is_small(stem, input_shape):
        _replace_convolution(model, "conv1", input_shape, _kaiming, kernel_size=3, stride=1, padding=1)
        model.maxpool = nn.Identity()
    else:
        _replace_convolution(model, "conv1", input_shape, _kaiming)
    return model  # type: ignore[no-any-return]


def vgg(
    builder: Builder,
    input_shape: Shape,
    num_classes: int,
    stem: str = "auto",
    dropout: float = 0.5,
    hidden: int = 4096,
) -> nn.Module:
    """VGG with and without batch norm; `hidden` is the width of the classifier's two hidden layers.

    Small: max poolings that would leave no pixel are left out, and the classifier reads the map as it is; 32 x 32
    pixels end in 1 x 1, so that its first layer has 512 inputs (original: 25,088).
    """
    model: Any = builder(weights=None, num_classes=num_classes, dropout=dropout)
    _replace_convolution(model, "features.0", input_shape, _kaiming)
    features = 512 * 7 * 7
    if is_small(stem, input_shape):
        height, width = _keep_a_pixel(model.features, *input_shape[1:])
        model.avgpool = nn.Identity()
        features = 512 * height * width
    elif all(side // 32 == 7 for side in input_shape[1:]):
        model.avgpool = nn.Identity()  # 7 x 7 pixels to 7 x 7 is no pooling, but one that GPUs cannot repeat to the bit
    _resize_classifier(model.classifier, (features, hidden, hidden, num_classes), _normal)
    return model  # type: ignore[no-any-return]


def alexnet(
    builder: Builder,
    input_shape: Shape,
    num_classes: int,
    stem: str = "auto",
    dropout: float = 0.5,
    hidden: int = 4096,
) -> nn.Module:
    """AlexNet, which has no batch norm; `hidden` is the width of the classifier's two hidden layers.

    Small: the first convolution is 3x3 at stride 2 (original: 11x11 at stride 4), max poolings are 2x2 (original: 3x3
    at stride 2) and left out where no pixel would be left, and the classifier reads the map as it is. 32 x 32 pixels
    end in 2 x 2, so that its first layer has 1,024 inputs (original: 9,216). Widths and depth are the original's.
    """
    model: Any = builder(weights=None, num_classes=num_classes, dropout=dropout)
    features = 256 * 6 * 6
    if is_small(stem, input_shape):
        _replace_convolution(model, "features.0", input_shape, _as_drawn, kernel_size=3, stride=2, padding=1)
        height, width = ((side + 1) // 2 for side in input_shape[1:])
        height, width = _keep_a_pixel(model.features, height, width)
        model.avgpool = nn.Identity()
        features = 256 * height * width
    else:
        _replace_convolution(model, "features.0", input_shape, _as_drawn)
        if all(_alexnet_side(side) == 6 for side in input_shape[1:]):
            model.avgpool = nn.Identity()  # as in VGG
    _resize_classifier(model.classifier, (features, hidden, hidden, num_classes), _as_drawn)
    return model  # type: ignore[no-any-return]


def _alexnet_side(side: int) -> int:
    """Pixels along one side of AlexNet's last map: a convolution (11, stride 4, padding 2), three poolings (3, 2)."""
    side = (side + 4 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side


def inception_v3(
    builder: Builder, input_shape: Shape, num_classes: int, stem: str = "auto", dropout: float = 0.5
) -> nn.Module:
    """Inception-v3 without auxiliary logits; weights from a truncated normal distribution, as in the original.

    Small: the stem's convolutions keep the size of the map (original: 1a has stride 2; 1a, 2a and 4a no padding), and
    the first of its two max poolings is left out. 32 x 32 pixels enter the first Inception block as 15 x 15 and end in
    a map of 3 x 3; 15 pixels are the least.
    """
    model: Any = builder(weights=None, num_classes=num_classes, aux_logits=False, init_weights=True, dropout=dropout)
    _replace_convolution(model, "Conv2d_1a_3x3.conv", input_shape, _truncated_normal)
    if is_small(stem, input_shape):
        model.Conv2d_1a_3x3.conv.stride = (1, 1)
        for block in (model.Conv2d_1a_3x3, model.Conv2d_2a_3x3, model.Conv2d_4a_3x3):
            block.conv.padding = (1, 1)
        model.maxpool1 = nn.Identity()
    return model  # type: ignore[no-any-return]


def efficientnet(
    builder: Builder,
    input_shape: Shape,
    num_classes: int,
    stem: str = "auto",
    dropout: float | None = None,
    stochastic_depth: float = 0.2,
) -> nn.Module:
    """EfficientNet, first and second version.

    `dropout` is before the last layer (None: torchvision's, 0.2 for B0); `stochastic_depth` is the probability to skip
    the last block, from which those of earlier blocks fall linearly to 0 (Tan and Le, arXiv 1905.11946, section 5.2).

    Small: the first two convolutions of stride 2 have stride 1. 32 x 32 pixels end in a map of 4 x 4.
    """
    options = {} if dropout is None else {"dropout": dropout}
    model = builder(weights=None, num_classes=num_classes, stochastic_depth_prob=stochastic_depth, **options)
    _replace_convolution(model, "features.0.0", input_shape, _kaiming)
    if is_small(stem, input_shape):
        strided = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
        for convolution in strided[:2]:
            convolution.stride = (1, 1)
    return model


def other(
    builder: Builder, input_shape: Shape, num_classes: int, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Any other classifier in its original form; the smallest image is what its author made it for.

    Vision transformers and MaxViT, whose weights depend on the size of the images, are built for the size at hand.
    Where images do not have three channels, the first convolution is replaced, with torch's default initial weights.

    Args:
        builder: torchvision's function of the network's name.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        options: further arguments of the builder, such as {"dropout": 0.1}.

    Raises:
        UserError: torchvision takes no such argument, or it is none of a network with random weights.
    """
    name = builder.__name__
    if taken := sorted(NOT_OPTIONS & set(options or {})):
        raise UserError(
            f"{name}: found the option {taken[0]}, expected none of {', '.join(sorted(NOT_OPTIONS))}: weights are "
            "random, nothing is downloaded, and the number of classes is that of the data; remove it"
        )
    size: dict[str, Any] = {}
    if name.startswith("vit_"):
        size = {"image_size": input_shape[1]}
    elif name.startswith("maxvit"):
        size = {"input_size": input_shape[1:]}
    elif name == "googlenet":
        size = {"aux_logits": False, "init_weights": True}
    try:
        model = builder(**{"weights": None, "num_classes": num_classes} | size | dict(options or {}))
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(
            f"{name}: found images of {'x'.join(map(str, input_shape))} and options {dict(options or {})}, which "
            f"torchvision refuses ({str(error).splitlines()[0].rstrip('.')}); expected arguments of "
            f"torchvision.models.{name}, and images of a size that it takes"
        ) from error
    first = next(key for key, module in model.named_modules() if isinstance(module, nn.Conv2d))
    _replace_convolution(model, first, input_shape, _as_drawn)
    return model


# By what the names of a family, and of no other network, contain.
FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "resnext": resnet,
    "vgg": vgg,
    "alexnet": alexnet,
    "inception_v3": inception_v3,
    "efficientnet": efficientnet,
}


def is_small(stem: str, input_shape: Shape) -> bool:
    """Whether images of this shape get the small form: `stem` says so, or is "auto" and a side is below 96 pixels."""
    if stem not in ("auto", "small", "original"):
        raise UserError(f"stem: found {stem!r}, expected auto, small or original")
    return stem == "small" or (stem == "auto" and min(input_shape[1:]) < SMALL)


def _replace_convolution(model: nn.Module, name: str, input_shape: Shape, draw: Draw, **changes: Any) -> None:
    """Adapt a network's first convolution to the images' channels and to `changes`; untouched where nothing changes."""
    old = model.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    if old.in_channels == input_shape[0] and not changes:
        return
    keys = ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode")
    arguments: dict[str, Any] = {key: getattr(old, key) for key in keys} | changes
    new = nn.Conv2d(input_shape[0], **arguments, bias=old.bias is not None)
    draw(new)
    model.set_submodule(name, new)


def _keep_a_pixel(features: nn.Sequential, height: int, width: int) -> tuple[int, int]:
    """Make max poolings 2x2, or leave them out where the map is one pixel high or wide; returns the size at the end.

    Args:
        features: layers of which only max poolings change the size of the map.
        height: of the map that the first pooling gets.
        width: likewise.
    """
    for index, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            fits = min(height, width) > 1
            features[index] = nn.MaxPool2d(2) if fits else nn.Identity()
            height, width = (height // 2, width // 2) if fits else (height, width)
    return height, width


def _resize_classifier(classifier: nn.Sequential, widths: tuple[int, ...], draw: Draw) -> None:
    """Give the linear layers of a classifier these widths, inputs first; those that have them already stay."""
    positions = [index for index, layer in enumerate(classifier) if isinstance(layer, nn.Linear)]
    for position, (inputs, outputs) in zip(positions, pairwise(widths), strict=True):
        old: Any = classifier[position]
        if (old.in_features, old.out_features) != (inputs, outputs):
            classifier[position] = nn.Linear(inputs, outputs)
            draw(classifier[position])


def _as_drawn(_layer: nn.Module) -> None:
    """Keep the weights that torch draws by default."""


def _kaiming(layer: nn.Conv2d) -> None:
    """As torchvision draws the convolutions of ResNet, VGG and EfficientNet."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _normal(layer: nn.Linear) -> None:
    """As torchvision draws the linear layers of VGG."""
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)


def _truncated_normal(layer: nn.Conv2d) -> None:
    """As torchvision draws the convolutions of Inception-v3."""
    nn.init.trunc_normal_(layer.weight, mean=0.0, std=0.1, a=-2, b=2)


def _torchvision_models() -> Any:
    """The module torchvision.models, imported at use: a second that jobs on other networks do without."""
    from torchvision import models

    return models
