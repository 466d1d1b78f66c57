"""What M3 has in common in the paper's form and in that of the released code: an odd number of gradients."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from mcoherence.optim.descent import OptimizerError, PlainByDefault, whole


class MedianOfMeans(PlainByDefault):
    """SGD along the coordinate-wise median of an odd number of gradients taken at the same weights.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of gradients, at least 3; 3 in the paper.
        **settings: allow_momentum, momentum, nesterov and weight_decay, see `descent.PlainByDefault`.
    """

    def __init__(self, params: Iterable[Any], lr: float, groups: int = 3, **settings: Any) -> None:
        if not whole(groups, least=3) or groups % 2 == 0:
            raise OptimizerError(f"{type(self).__name__}: found groups {groups}, expected an odd number of at least 3")
        self.groups = int(groups)
        super().__init__(params, lr, **settings)


def __getattr__(name: str) -> Any:
    """M3 and SuccessiveM3 by the path that they had when both stood here."""
    if name in ("M3", "SuccessiveM3"):
        return getattr(import_module("mcoherence.optim"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
