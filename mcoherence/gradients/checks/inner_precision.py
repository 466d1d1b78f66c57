"""The precision that a model computes in, which may be another one inside than that of its parameters.

Language models take their norms in float32 whatever they are: their gradients are known no better then.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mcoherence.gradients.checks.batch_again import Batch
from mcoherence.gradients.given.trees import fresh, outputs_of


def coarsest_dtype(batch: Batch) -> torch.dtype:
    """The floating dtype with the largest rounding among results of a forward pass of the batch."""
    seen = _Dtypes()
    with torch.no_grad(), seen:
        batch.loss_fn(outputs_of(batch.model, fresh(batch.inputs)), fresh(batch.targets))
    floating = {dtype for dtype in seen.found if dtype.is_floating_point or dtype.is_complex}
    return max(floating, key=lambda dtype: torch.finfo(dtype).eps)


class _Dtypes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.found.update(one.dtype for one in tree_leaves(result) if isinstance(one, Tensor))
        return result
