"""What RM3 and RA3 share: the current and the previous two mini-batch gradients combined (arXiv 2003.07422)."""

from abc import abstractmethod

import torch
from torch import Tensor

from mcoherence.optim.descent import Closure, PlainByDefault, gradient_or_zero, loss_of, trained


class LastThree(PlainByDefault):
    """SGD along what `_combined` makes of the current and the previous two mini-batch gradients.

    The first two steps change no weight and no momentum: there are no three gradients yet (as in the released code). A
    parameter without a gradient counts as having a zero gradient, so that all parameters stay in phase; in torch's SGD
    it would be left out, which differs only where momentum or weight decay would move it.
    """

    @abstractmethod
    def _combined(self, oldest: list[Tensor], older: list[Tensor], newest: list[Tensor]) -> list[Tensor]:
        """The direction from three lists of gradients of equal shapes; may overwrite the oldest."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """One step after one backward pass; returns the closure's loss, or None without a closure.

        Raises:
            OptimizerError: what `EagerOptimizer` asks at every step.
        """
        self._require_steppable()
        loss = loss_of(closure)
        for group in self.param_groups:
            parameters = trained(group)
            ready = [p for p in parameters if len(self.state[p].get("previous", ())) == 2]
            if ready:
                oldest, older = ([self.state[p]["previous"][age] for p in ready] for age in range(2))
                direction = self._combined(oldest, older, [gradient_or_zero(p) for p in ready])
                self._descend(group, ready, direction)
            if parameters:
                self._remember(parameters)
        return loss

    def _remember(self, parameters: list[Tensor]) -> None:
        """Append copies of the gradients; two buffers in rotation, so that no step allocates any to keep."""
        gradients, buffers = [gradient_or_zero(p) for p in parameters], []
        for p, gradient in zip(parameters, gradients, strict=True):
            previous = self.state[p].setdefault("previous", [])
            buffers.append(previous.pop(0) if len(previous) == 2 else torch.empty_like(gradient))
            previous.append(buffers[-1])
        torch._foreach_copy_(buffers, gradients)
