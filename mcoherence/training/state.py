"""The full state of a training run between two updates, as a safetensors file: nothing is ever unpickled.

Example order, learning rate and the randomness of layers are functions of the update number (see `training`), so that
weights, buffers and the optimiser's own state are all that it takes to go on to the bit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path

FORMAT = "mcoherence/training-state/1"


@dataclass(frozen=True)
class TrainingState:
    """A run after `update` updates.

    model: the state_dict of the network; optimizer: the state_dict of the optimiser, empty where it starts afresh;
    losses: of the updates of this segment so far, float64; diverged_at: the update whose loss was not finite, or None.
    """

    update: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any] = field(default_factory=dict)
    losses: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    diverged_at: int | None = None


def write_state(path: Path, state: TrainingState, provenance: Mapping[str, Any] | None = None) -> None:
    """Write the state atomically; equal states of equal provenance give equal bytes.

    Args:
        path: where to.
        state: what is written.
        provenance: what made it, the attributes of a `Provenance`; None for what only the job itself goes on from.
    """
    tensors: dict[str, Tensor] = {}
    described = {
        "format": FORMAT,
        "update": state.update,
        "diverged_at": state.diverged_at,
        "model": _without_tensors(state.model, "model", tensors),
        "optimizer": _without_tensors(state.optimizer, "optimizer", tensors),
        "losses": _without_tensors(state.losses, "losses", tensors),
        "provenance": provenance,
    }
    # One entry only: the library writes several in an order that changes from process to process.
    content = save(tensors, metadata={"state": json.dumps(described)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_state(path: Path) -> TrainingState:
    """The state that `write_state` wrote, on the CPU.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get("state", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: unreadable ({error}); expected a training state; run the rule train again") from error
    if described.get("format") != FORMAT:
        raise UserError(f"{path}: not a training state of this project; expected one that the rule train wrote")
    parts = {name: _with_tensors(described[name], tensors) for name in ("model", "optimizer", "losses")}
    return TrainingState(update=described["update"], diverged_at=described["diverged_at"], **parts)


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON: its tensors moved to `tensors` under their place, kinds of containers and of keys kept."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _without_tensors(inner, f"{name}/{key}", tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_without_tensors(inner, f"{name}/{i}", tensors) for i, inner in enumerate(value)]}
    return {"value": value}


def _with_tensors(described: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_without_tensors`."""
    ((kind, content),) = described.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _with_tensors(inner, tensors) for key, inner in content}
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(_with_tensors(inner, tensors) for inner in content)
    return content
