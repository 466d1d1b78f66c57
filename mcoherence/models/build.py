"""From model settings to a network: its architecture by name, then what its settings say of the initial weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mcoherence.errors import UserError, first_line, in_own_code
from mcoherence.files.tensors import TYPES
from mcoherence.models.initial_weights import OutputChange, scale_initial_weights

Shape = tuple[int, int, int]


def build_model(settings: Mapping[str, Any], input_shape: Shape, num_classes: int) -> nn.Module:
    """A freshly initialised network for images [n, C, H, W] that returns logits [n, num_classes], in train mode.

    The weights are drawn from torch's generator of the CPU: who wants the same ones again seeds it first.

    Args:
        settings: {"architecture": name, ...}. The name is "mlp", "deep_mlp" or "cnn", a classifier of
            torchvision ("resnet18", ...; `torchvision_networks`), or "module:function" (`own_network`); the further
            keys are the arguments of the function of that architecture. For all of them: "init_scale", a factor on the
            initial weights, and "subtract_initial_output", to train f(x; w) - f(x; w0) (`initial_weights`). The key
            "code", by which a study tells versions of a user's own network apart, is passed over.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.

    Raises:
        UserError: there is no such architecture, or it does not return logits for images of this shape.
    """
    trial = outline(settings, input_shape, num_classes)
    require_logits(trial, settings["architecture"], input_shape, num_classes)
    model = construct(settings, input_shape, num_classes)
    if isinstance(model, OutputChange):
        model.require_zero(input_shape)
    return model


def construct(settings: Mapping[str, Any], input_shape: Shape, num_classes: int) -> nn.Module:
    """The network of `build_model`, not checked; arguments as there."""
    common = ("architecture", "init_scale", "subtract_initial_output", "code")
    own = {key: value for key, value in settings.items() if key not in common}
    model = _function_of(settings["architecture"])(input_shape, num_classes, **own)
    _separate_buffers(model)
    scale_initial_weights(model, settings.get("init_scale", 1))
    return OutputChange(model) if settings.get("subtract_initial_output", False) else model


def outline(settings: Mapping[str, Any], input_shape: Shape, num_classes: int) -> nn.Module:
    """The network of `build_model` for whoever needs none of its weights; torch's generator is as before.

    torchvision's networks are on the meta device, which draws and stores nothing. Plain ones and a user's own have
    weights: the former are small, and nobody knows what the constructor of the latter computes.
    """
    if is_of_torchvision(settings):
        return skeleton(settings, input_shape, num_classes)
    with torch.random.fork_rng(devices=[]):
        return construct(settings, input_shape, num_classes)


def skeleton(settings: Mapping[str, Any], input_shape: Shape, num_classes: int) -> nn.Module:
    """The network of `build_model` for whoever overwrites its weights; torch's generator is as before.

    It is on the meta device, and takes no memory whatever sizes the settings name. Only a user's own network has
    weights, as in `outline`. (A plain network cannot be called there without loading torch's compiler, for seconds.)
    """
    if is_own(settings):
        return outline(settings, input_shape, num_classes)
    with torch.random.fork_rng(devices=[]), EmptyOnMeta():
        return construct(settings, input_shape, num_classes).to("meta")


class EmptyOnMeta(TorchFunctionMode):
    """Sends `torch.empty`, `zeros` and `ones`, by which torch's layers make weights and statistics, to the meta device.

    Not everything, as `torch.device("meta")` would: RegNet's constructor computes its widths with tensors.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        own = dict(kwargs or {})
        if func in (torch.empty, torch.zeros, torch.ones) and own.get("device") is None:
            own["device"] = "meta"
        return func(*args, **own)


def _separate_buffers(model: nn.Module) -> None:
    """Give buffers that are one value seen many times (`expand`) memory of their own, to copy values into."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.layout is torch.strided and 0 in [
                stride for stride, size in zip(buffer.stride(), buffer.shape, strict=True) if size > 1
            ]:
                setattr(module, name, buffer.clone(memory_format=torch.contiguous_format))


def is_of_torchvision(settings: Mapping[str, Any]) -> bool:
    """Whether the network is one of torchvision's."""
    return bool(_architectures().module_of(settings["architecture"]) == _architectures().TORCHVISION)


def is_own(settings: Mapping[str, Any]) -> bool:
    """Whether the settings name a user's own network, "module:function"."""
    return ":" in settings["architecture"]


def _architectures() -> ModuleType:
    """The table of networks. Imported by name, like the networks, so that one more of them re-runs nothing."""
    return import_module("mcoherence.models.architectures")


def _function_of(architecture: str) -> Callable[..., nn.Module]:
    """The function (input_shape, num_classes, **settings) -> network of an architecture's name.

    Raises:
        UserError: there is no such architecture.
    """
    module = import_module(_architectures().module_of(architecture))
    if ":" in architecture:
        return partial(module.own_network, architecture)
    named = _architectures().NAMED
    if architecture in named:
        function: Callable[..., nn.Module] = getattr(module, architecture)
        return function
    names = module.classifier_names()
    if architecture not in names:
        near = get_close_matches(architecture, [*named, *names], n=5, cutoff=0.4) or [*named, *names]
        raise UserError(
            f"architecture: found {architecture!r}, expected {', '.join(named)}, a classifier of torchvision or "
            f"module:function; similar names: {', '.join(near)}"
        )
    return partial(module.torchvision_network, architecture)


@contextmanager
def _fitting_images(name: str, images: str) -> Iterator[None]:
    """Turns what torch says of images that are too small into one line; a user's own may fail for any reason."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        if ":" in name:
            raise
        raise UserError(
            f"{name}: found images of {images}, which it does not take ({first_line(error)}); expected larger ones, "
            "or another architecture or stem"
        ) from error


def require_logits(model: nn.Module, name: str, input_shape: Shape, num_classes: int | None) -> None:
    """Raise UserError unless the model, in eval mode, maps two black images to two rows of logits.

    Args:
        model: the network.
        name: its architecture's, for the message.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits; None where any is right.
    """
    images = "x".join(map(str, input_shape))
    for key, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor) or isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise UserError(
                f"{name}: found {key} of type {type(value).__name__} in its state_dict, expected tensors of known "
                "shape, which a checkpoint can hold; give every layer its sizes"
            )
        if value.layout is not torch.strided or value.dtype not in TYPES.values():
            raise UserError(
                f"{name}: found {key} to be a tensor of layout {value.layout} and type {value.dtype}, expected a dense "
                f"one of a type that a checkpoint can hold ({', '.join(map(str, TYPES.values()))}); store it so, and "
                "turn it into what the network needs in forward"
            )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad(), _fitting_images(name, images):
            logits = model.eval()(torch.zeros(2, *input_shape, device=device))
    except UserError:
        raise
    except Exception as error:
        if ":" not in name:
            raise
        raise UserError(
            f"{name}: found images of {images}, on which it fails ({in_own_code(error)}); expected logits "
            f"[2, {num_classes or 'classes'}] for two of them; mend the network"
        ) from error
    found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    expected = [2, num_classes]
    if num_classes is None and isinstance(logits, torch.Tensor) and logits.dim() == 2:
        expected = [2, logits.shape[1]]
    if found != expected:
        raise UserError(
            f"{name}: found an output of {found} for two images of {images}, expected logits "
            f"[2, {num_classes or 'classes'}]; let "
            "the network return one row of num_classes logits per image"
        )
