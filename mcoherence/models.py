"""Architectures by name, and checkpoints that know which network they hold.

Layers carry names that a figure can show ("hidden1", "conv2", "output"). Initial weights are torch's defaults for each
layer; the generator that draws them is the caller's business.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from mcoherence.errors import UserError
from mcoherence.storage import atomic_path, canonical_json


def build_model(settings: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """A freshly initialised network for images [n, C, H, W] that returns logits [n, num_classes].

    Args:
        settings: {"architecture": "mlp", "hidden": [widths]} or
            {"architecture": "cnn", "channels": [per block], "hidden": width, "batch_norm": bool}.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
    """
    architectures: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "cnn": cnn}
    own = {key: value for key, value in settings.items() if key != "architecture"}
    return architectures[settings["architecture"]](input_shape, num_classes, **own)


def mlp(input_shape: tuple[int, int, int], num_classes: int, hidden: list[int]) -> nn.Sequential:
    """A multilayer perceptron with ReLU; layers "hidden1", ..., "output"."""
    width = input_shape[0] * input_shape[1] * input_shape[2]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, next_width in enumerate(hidden, start=1):
        layers[f"hidden{number}"] = nn.Linear(width, next_width)
        layers[f"relu{number}"] = nn.ReLU()
        width = next_width
    layers["output"] = nn.Linear(width, num_classes)
    return nn.Sequential(layers)


def cnn(
    input_shape: tuple[int, int, int], num_classes: int, channels: list[int], hidden: int, batch_norm: bool
) -> nn.Sequential:
    """Blocks of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then one hidden layer.

    Layers "conv1", "bn1", ..., "hidden", "output". A convolution that batch norm follows has no bias.
    """
    in_channels, height, width = input_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out_channels in enumerate(channels, start=1):
        layers[f"conv{number}"] = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batch_norm)
        if batch_norm:
            layers[f"bn{number}"] = nn.BatchNorm2d(out_channels)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        in_channels, height, width = out_channels, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(in_channels * height * width, hidden)
    layers["relu_hidden"] = nn.ReLU()
    layers["output"] = nn.Linear(hidden, num_classes)
    return nn.Sequential(layers)


def save_checkpoint(
    path: Path,
    model: nn.Module,
    settings: Mapping[str, Any],
    input_shape: tuple[int, int, int],
    num_classes: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the state_dict atomically to safetensors; equal weights and metadata give equal bytes.

    Args:
        path: where to.
        model: network that `build_model(settings, input_shape, num_classes)` made.
        settings: the model settings, kept in the file so that `load_checkpoint` needs nothing else.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        metadata: step, epoch, run and provenance; values are stored as JSON.
    """
    network = {"settings": settings, "input_shape": list(input_shape), "num_classes": num_classes}
    described = {"format": "mcoherence/checkpoint/1", "model": canonical_json(network)}
    described |= {key: canonical_json(value) for key, value in metadata.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(_with_sorted_metadata(save(tensors, metadata=described)))


def _with_sorted_metadata(content: bytes) -> bytes:
    """The same safetensors file with its metadata in alphabetical order.

    The library writes metadata in the order of a hash map that is seeded anew each time, so that equal checkpoints
    would differ in their bytes. The format is a length (8 bytes), a JSON header padded with spaces, and the tensors at
    offsets counted from the header's end.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + content[end:]


def read_checkpoint_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a checkpoint: model, step, epoch, run and provenance, parsed; UserError if it is no checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: unreadable ({error}); expected a checkpoint; run the rule train again") from error
    if metadata.pop("format", None) != "mcoherence/checkpoint/1":
        raise UserError(f"{path}: not a checkpoint of this project; expected one that the rule train wrote")
    return {key: json.loads(value) for key, value in metadata.items()}


def load_checkpoint(path: str | Path) -> nn.Module:
    """The network of a checkpoint, weights loaded, on the CPU, in eval mode.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of this project.
    """
    network = read_checkpoint_metadata(Path(path))["model"]
    # The weights that the constructor draws are overwritten at once; the caller's generator must not notice them.
    with torch.random.fork_rng(devices=[]):
        model = build_model(network["settings"], tuple(network["input_shape"]), network["num_classes"])
    with safe_open(path, framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return model.eval()
