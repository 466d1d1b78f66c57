"""The state of an optimiser as plain tensors by name, to be stored without pickle."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of all parameters by name: "PARAMETER.KEY", or "PARAMETER.KEY.POSITION" in a list.

    PARAMETER is the number of the parameter, counted over the groups in order; numbers become tensors of shape []. Not
    in it: what the settings say, such as the rate. The tensors are the optimiser's own, not copies.
    """
    return dict(_flattened("", optimizer.state_dict()["state"]))


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser that was made from the same settings the state that `optimizer_tensors` told; copies.

    Raises:
        ValueError: a tensor that is not of a parameter's shape, or of no parameter.
    """
    shapes = dict(enumerate(p.shape for group in optimizer.param_groups for p in group["params"]))
    state: dict[int, dict[str, Any]] = {}
    # In a list the tensors come in the order of their positions, of which "10" is after "9".
    for name in sorted(tensors, key=lambda name: [int(part) if part.isdigit() else 0 for part in name.split(".")]):
        number, key, *position = name.split(".")
        tensor = tensors[name].detach().clone()
        if int(number) not in shapes or (tensor.ndim and tensor.shape != shapes[int(number)]):
            raise ValueError(
                f"optimiser state {name}: found shape {list(tensor.shape)}, expected that of parameter {number} of "
                f"{len(shapes)}; was it made from the same settings?"
            )
        own = state.setdefault(int(number), {})
        if position:
            own.setdefault(key, []).append(tensor)
        else:
            own[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flattened(prefix: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flattened(f"{prefix}{key}.", inner)
    elif isinstance(value, list | tuple):
        yield from _flattened(prefix, dict(enumerate(value)))
    elif value is not None:
        yield prefix.removesuffix("."), torch.as_tensor(value).detach()
