"""The step of an optimiser of torch's own, with what all optimisers here ask at every step."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mcoherence.optim.descent import Closure, EagerOptimizer, OptimizerError, loss_of, parameter_in_words


def checked_step(step: Callable[..., Any], takes_sparse: Callable[[Mapping[str, Any]], bool]) -> Any:
    """Torch's `step` of one of its optimisers as the method of a class here.

    Args:
        step: torch's method.
        takes_sparse: whether it takes sparse gradients with the settings of a group.
    """
    of_torch = torch.no_grad()(inspect.unwrap(step))

    def checked(self: EagerOptimizer, closure: Closure | None = None) -> Tensor | None:
        """One update; returns the closure's loss, or None without a closure.

        Raises:
            OptimizerError: what `EagerOptimizer` asks at every step, or a sparse gradient that the rule does not take.
        """
        self._require_steppable()
        loss = loss_of(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.layout != torch.strided and not takes_sparse(group):
                    raise OptimizerError(
                        f"{type(self).__name__}: found a sparse gradient of {parameter_in_words(group, p)}, "
                        "expected a dense one; make its layer with sparse=False"
                    )
        of_torch(self)
        return loss

    return checked
