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
from torch import Tensor

from mcoherence.errors import UserError, first_line
from mcoherence.files.faults import REMEDY
from mcoherence.files.seals import LOG
from mcoherence.files.tensors import read_header, read_tensors, write_tensors

FORMAT = "mcoherence/training-state/2"
EXPECTED = "training state"


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


def write_state(
    path: Path, state: TrainingState, log_sha256: str | None = None, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write the state atomically; equal states of equal provenance give equal bytes.

    Args:
        path: where to.
        state: what to write.
        log_sha256: of the training log of the segment that ends here; the CSV itself can carry no digest.
        provenance: what made it, the attributes of a `Provenance`; None for what only the job itself goes on from.
    """
    tensors: dict[str, Tensor] = {}
    described = {
        "update": state.update,
        "diverged_at": state.diverged_at,
        "model": _without_tensors(state.model, "model", tensors),
        "optimizer": _without_tensors(state.optimizer, "optimizer", tensors),
        "losses": _without_tensors(state.losses, "losses", tensors),
        "provenance": provenance,
    }
    metadata = {"format": FORMAT, "state": json.dumps(described)}
    write_tensors(path, tensors, metadata | ({} if log_sha256 is None else {LOG: log_sha256}))


def read_state(path: Path) -> TrainingState:
    """The state that `write_state` wrote, on the CPU, checked by its digests.

    Raises:
        UserError: the file is missing, damaged, changed or something else.
    """
    header = read_header(path, EXPECTED)
    if header.metadata.get("format") != FORMAT:
        raise UserError(
            f"{path}: not a training state of this project (format {header.metadata.get('format')!r}, expected "
            f"{FORMAT!r}); expected one that the rule train wrote; {REMEDY}"
        )
    tensors = read_tensors(path, header, EXPECTED)
    try:
        described = json.loads(header.metadata["state"])
        parts = {name: _with_tensors(described[name], tensors) for name in ("model", "optimizer", "losses")}
        state = TrainingState(update=described["update"], diverged_at=described["diverged_at"], **parts)
        _require_types(state)
        return state
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: unreadable ({first_line(error)}); expected a {EXPECTED}; {REMEDY}") from error


def _require_types(state: TrainingState) -> None:
    """TypeError unless a state that was read is one that could have been written."""
    counts = [state.update] if state.diverged_at is None else [state.update, state.diverged_at]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise TypeError("its numbers of updates are none")
    if not isinstance(state.model, dict) or not all(isinstance(value, Tensor) for value in state.model.values()):
        raise TypeError("its weights are no tensors by name")
    if not isinstance(state.optimizer, dict):
        raise TypeError("the optimiser's state is none")
    if not isinstance(state.losses, Tensor) or state.losses.ndim != 1 or not state.losses.is_floating_point():
        raise TypeError("its losses are no numbers")


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
