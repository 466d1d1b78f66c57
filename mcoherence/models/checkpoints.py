"""Checkpoints that know which network they hold: safetensors whose metadata say how to build it.

Equal weights and metadata give equal bytes, and nothing is ever unpickled. Nor is anything imported that a file names:
a network of a user's own is built where the caller names it, and every other by this project or torchvision.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mcoherence.errors import UserError, first_line
from mcoherence.files.canonical import canonical_json
from mcoherence.files.faults import REMEDY
from mcoherence.files.seals import SEAL, TENSORS
from mcoherence.files.tensors import (
    FLOATING,
    TYPES,
    Header,
    read_header,
    read_tensors,
    write_tensors,
)
from mcoherence.models.build import is_own, skeleton

FORMAT = "mcoherence/checkpoint/2"
# No network for images is larger; what a file says beyond this is not even built in outline.
MOST_PIXELS, MOST_CLASSES, MOST_SETTINGS = 2**26, 10**6, 1000


@dataclass(frozen=True)
class NetworkSettings:
    """What `build_model` makes a network from: its settings, (C, H, W) of one image, number of logits.

    A checkpoint holds them, so that `load_checkpoint` needs nothing else but the name of a network of the user's own.
    """

    settings: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    num_classes: int


def save_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, network: NetworkSettings, metadata: Mapping[str, Any]
) -> None:
    """Write the state_dict atomically to safetensors; equal weights and metadata give equal bytes.

    Tensors are written in the standard memory layout, whatever theirs is, and tied ones under each of their names.

    Args:
        path: where to.
        model: the network that `build_model` made from `network`.
        network: what to build it from again.
        metadata: step, epoch, run and provenance; values are stored as JSON.
    """
    described = {"format": FORMAT, "model": canonical_json(asdict(network))}
    described |= {key: canonical_json(value) for key, value in metadata.items()}
    write_tensors(Path(path), model.state_dict(), described)


def read_checkpoint_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Metadata of a checkpoint: model, step, epoch, run and provenance, parsed and checked by their seal.

    The tensors are not read; `load_checkpoint` checks them.

    Raises:
        UserError: the file is missing, damaged, changed or not a checkpoint of this project.
    """
    path = Path(path)
    return _parsed(path, read_header(path, "checkpoint"))


def network_of_checkpoint(path: Path) -> NetworkSettings:
    """The settings of a checkpoint's network, none of which is run or built here.

    Raises:
        UserError: those of `read_checkpoint_metadata`, or they are not in the form that `save_checkpoint` gives them.
    """
    return _network_of(path, read_checkpoint_metadata(path).get("model"))


def load_checkpoint(path: str | os.PathLike[str], own_network: str | None = None) -> nn.Module:
    """The network of a checkpoint, weights loaded, on the CPU, in eval mode.

    Args:
        path: of the checkpoint.
        own_network: "module:function" of a user's own network. Its module, as it is now, is imported and called: which
            one may be is for the caller to say, never for the file.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of this project; it says that it holds a network of
            a user's own, which the caller does not name; or its weights are of a network other than the one that its
            settings build now.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> from mcoherence.models.build import build_model
        >>> settings = {"architecture": "mlp", "hidden": [3]}
        >>> model = build_model(settings, input_shape=(1, 2, 2), num_classes=2)
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "step0.safetensors"
        ...     save_checkpoint(path, model, NetworkSettings(settings, (1, 2, 2), 2), {"step": 0})
        ...     again = load_checkpoint(path)
        >>> again.training, all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
        (False, True)

        A network of one's own is named: `load_checkpoint("step9.safetensors", own_network="my_networks:residual_mlp")`.
    """
    path = Path(path)
    header = read_header(path, "checkpoint")
    network = _network_of(path, _parsed(path, header).get("model"))
    own = is_own(network.settings)
    if own and network.settings["architecture"] != own_network:
        found, named = _shortly(network.settings["architecture"]), _shortly(own_network)
        raise UserError(
            f"{path}: found {found}, code that would have to be run for this network, expected what the caller names "
            f"(own_network is {named}); if you trust that code, say load_checkpoint(path, own_network={found}), or let "
            "the model's architecture in the config be this one"
        )
    model = _fitting(path, _built(path, network), header, network.settings)
    tensors = read_tensors(path, header, "checkpoint")
    try:
        # A user's module may tie parameters, which stay tied only where values are copied into them.
        model.load_state_dict(tensors, assign=not own)
    except RuntimeError as error:
        raise _other_network(path, network.settings, str(error).splitlines()[-1].strip()) from error
    return model.eval()


def _parsed(path: Path, header: Header) -> dict[str, Any]:
    """The metadata without their digests, every value parsed."""
    metadata = dict(header.metadata)
    found = metadata.pop("format", None)
    if found != FORMAT:
        raise UserError(
            f"{path}: not a checkpoint of this project (format {found!r}, expected {FORMAT!r}); expected one that the "
            f"rule train wrote; {REMEDY}"
        )
    try:
        return {key: json.loads(value) for key, value in metadata.items() if key not in (SEAL, TENSORS)}
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: found metadata that are no JSON ({first_line(error)}), expected a checkpoint; {REMEDY}"
        ) from error


def _network_of(path: Path, described: Any) -> NetworkSettings:
    """What the metadata say of the network, taken for true only in the form that `save_checkpoint` gives it."""
    wrong = None
    if not isinstance(described, dict) or described.keys() != {"settings", "input_shape", "num_classes"}:
        wrong = "model: expected settings, input_shape and num_classes"
    elif not _are_sizes(described["input_shape"], 3) or math.prod(described["input_shape"]) > MOST_PIXELS:
        wrong = f"input_shape {_shortly(described['input_shape'])}: expected (C, H, W), {MOST_PIXELS:,} pixels at most"
    elif not _are_sizes([described["num_classes"]], 1) or described["num_classes"] > MOST_CLASSES:
        wrong = f"num_classes {_shortly(described['num_classes'])}: expected a number from 1 to {MOST_CLASSES:,}"
    elif not isinstance(settings := described["settings"], dict) or not isinstance(settings.get("architecture"), str):
        wrong = "settings: expected them to name an architecture"
    elif _values_in(settings) > MOST_SETTINGS:
        wrong = f"settings: expected at most {MOST_SETTINGS} values"
    if wrong is not None:
        raise UserError(f"{path}: found {wrong}, as a checkpoint of this project has; do not use this file")
    return NetworkSettings(described["settings"], tuple(described["input_shape"]), described["num_classes"])


def _are_sizes(values: Any, count: int) -> bool:
    """Whether these are so many positive integers."""
    return isinstance(values, list) and len(values) == count and all(type(one) is int and one > 0 for one in values)


def _values_in(settings: Any) -> int:
    """How many values there are in nested settings."""
    if isinstance(settings, dict | list):
        return sum(_values_in(one) for one in (settings.values() if isinstance(settings, dict) else settings)) + 1
    return 1


def _built(path: Path, network: NetworkSettings) -> nn.Module:
    """The network in outline: one of this project or of torchvision takes no memory, whatever sizes a file names."""
    if is_own(network.settings):
        return skeleton(network.settings, network.input_shape, network.num_classes)
    try:
        return skeleton(network.settings, network.input_shape, network.num_classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # whatever the constructors make of settings that nobody has checked
        raise UserError(
            f"{path}: found settings {_shortly(dict(network.settings))}, of which no network can be built "
            f"({first_line(error)}); expected those of a checkpoint of this project; do not use this file"
        ) from error


def _fitting(path: Path, model: nn.Module, header: Header, settings: Mapping[str, Any]) -> nn.Module:
    """The network, once the names, types and shapes in the file are its own; before anything of that size is read.

    A run in float64 has the network in float64. The weights of a user's own are turned to that, because theirs are
    copied.
    """
    expected = model.state_dict()
    stored = header.tensors
    if stored.keys() != expected.keys():
        name = min(stored.keys() ^ expected.keys())
        where = "its own in the file" if name in stored else "none in the file"
        raise _other_network(path, settings, f"{_shortly(name)}: {where}")
    for name, tensor in stored.items():
        dtype = TYPES.get(tensor.dtype)
        other = dtype != expected[name].dtype
        if tensor.shape != tuple(expected[name].shape):
            raise _other_network(
                path,
                settings,
                f"{_shortly(name)}: {list(tensor.shape)} in the file, {list(expected[name].shape)} in the network",
            )
        if dtype is None or (other and not (tensor.dtype in FLOATING and expected[name].is_floating_point())):
            raise _other_network(
                path, settings, f"{_shortly(name)}: {tensor.dtype} in the file, {expected[name].dtype} in the network"
            )
    if is_own(settings) and any(tensor.dtype == "F64" for tensor in stored.values()):
        return model.double()
    return model


def _other_network(path: Path, settings: Mapping[str, Any], how: str) -> UserError:
    return UserError(
        f"{path}: found weights that do not fit the network that {settings['architecture']} builds now ({how}); "
        "expected the network that was trained; bring its code back, or delete the file and run again, which trains it"
    )


def _shortly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"
