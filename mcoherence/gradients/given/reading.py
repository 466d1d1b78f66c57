"""Values asked of the device that computes: all at once, since on a GPU every question waits for all that was begun."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


def read(scalars: Mapping[Key, Tensor]) -> dict[Key, float]:
    """The values of tensors [], truth values as 0 and 1; each device that they are on is waited for once.

    Example:
        >>> read({"largest": torch.tensor(2.0), "finite": torch.tensor(True)})
        {'largest': 2.0, 'finite': 1.0}
    """
    devices = {value.device for value in scalars.values()}
    if len(devices) > 1:
        found: dict[Key, float] = {}
        for device in devices:
            found |= read({key: value for key, value in scalars.items() if value.device == device})
        return {key: found[key] for key in scalars}
    if not scalars:
        return {}
    together = [value if value.dtype == torch.float64 else value.to(torch.float64) for value in scalars.values()]
    return dict(zip(scalars, torch.stack(together).tolist(), strict=True))


def are_equal(pairs: Mapping[Key, tuple[Tensor | None, Tensor]]) -> dict[Key, bool]:
    """Whether the tensors of each pair hold the same, NaN being NaN; no tensor is the same as none."""
    found: dict[Key, bool] = {}
    asked: dict[Key, Tensor] = {}
    for key, (one, other) in pairs.items():
        if one is None or (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
            found[key] = False
        elif one.layout != torch.strided or one.is_quantized or one.device.type == "meta":
            found[key] = True  # nothing to compare
        elif one.device.type == "cpu" and torch.equal(one, other):
            found[key] = True
        else:
            asked[key] = ((one == other) | ((one != one) & (other != other))).all()
    return found | {key: bool(value) for key, value in read(asked).items()}
