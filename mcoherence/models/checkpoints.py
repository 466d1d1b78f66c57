"""Checkpoints that know which network they hold: safetensors whose metadata say how to build it.

Equal weights and metadata give equal bytes, and nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.models.build import is_own, outline


@dataclass(frozen=True)
class NetworkSettings:
    """What `build_model` makes a network from: its settings, (C, H, W) of one image, number of logits.

    A checkpoint holds them, so that `load_checkpoint` needs nothing else.
    """

    settings: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    num_classes: int


def save_checkpoint(path: str | Path, model: nn.Module, network: NetworkSettings, metadata: Mapping[str, Any]) -> None:
    """Write the state_dict atomically to safetensors; equal weights and metadata give equal bytes.

    Tensors are written in the standard memory layout, whatever theirs is, and tied ones under each of their names.

    Args:
        path: where to.
        model: the network that `build_model` made from `network`.
        network: what to build it from again.
        metadata: step, epoch, run and provenance; values are stored as JSON.
    """
    described = {"format": "mcoherence/checkpoint/1", "model": canonical_json(asdict(network))}
    described |= {key: canonical_json(value) for key, value in metadata.items()}
    header, tensors = _with_sorted_metadata(save(_separate_tensors(model), metadata=described))
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(header)
        file.write(tensors)


def _separate_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict on the CPU, contiguous, no two tensors in the same memory, which safetensors would refuse."""
    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in model.state_dict().items():
        tensor = value.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    return tensors


def _with_sorted_metadata(content: bytes) -> tuple[bytes, memoryview]:
    """The same safetensors file with its metadata in alphabetical order: its header, and its tensors.

    The library writes metadata in the order of a hash map that is seeded anew each time, so that equal checkpoints
    would differ in their bytes. The format is a length (8 bytes), a JSON header padded with spaces, and the tensors at
    offsets counted from the header's end.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded, memoryview(content)[end:]


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

    A user's own network is built by its module as it is now, which has to be where Python finds it.

    Raises:
        UserError: the file is missing, damaged or not a checkpoint of this project, or its weights are of a network
            other than the one that its settings build now.
    """
    described = read_checkpoint_metadata(Path(path))["model"]
    network = NetworkSettings(**described | {"input_shape": tuple(described["input_shape"])})
    model = outline(network.settings, network.input_shape, network.num_classes)
    with safe_open(path, framework="pt") as file:
        # Copied out of the mapped file, where their alignment, and with it rounding, would hang on the header's length.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    try:
        # A user's module may tie parameters, which stay tied only where values are copied into them.
        model.load_state_dict(tensors, assign=not is_own(network.settings))
    except RuntimeError as error:
        raise UserError(
            f"{path}: found weights that do not fit the network that {network.settings['architecture']} builds now "
            f"({str(error).splitlines()[-1].strip()}); expected the network that was trained; train it again"
        ) from error
    return model.eval()
