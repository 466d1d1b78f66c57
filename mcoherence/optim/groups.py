"""Optimisers that combine the gradients of the groups of one mini-batch, all taken at the same weights."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from mcoherence.optim.descent import Closure, OptimizerError, RobustSGD, dense_gradient, gradient_or_zero, trained

Gradients = list[Tensor | None]  # of one group, per parameter; None where its loss does not reach the parameter


class OverGroups(RobustSGD):
    """SGD along what `_combine` makes of the mean gradients of the groups of one mini-batch.

    Attributes:
        groups: how many there are; a subclass sets it.
    """

    groups: int
    takes_complex = False

    @abstractmethod
    def _combine(self, parameters: list[Tensor], gradients: Iterable[Gradients]) -> None:
        """Let `.grad` of the parameters that are to move, and of no other, be the direction.

        Args:
            parameters: all that are trained; their `.grad` is None.
            gradients: of each group, computed as they are asked for; to be used up, and free to be overwritten.
        """

    def step(self, closures: Sequence[Closure] | None = None) -> Tensor:  # type: ignore[override]
        """One update from one closure per group; returns the mean of the groups' losses, shape [].

        Raises:
            OptimizerError: there is not one closure for each group, or what `EagerOptimizer` asks at every step.
        """
        self._require_closures(closures)
        assert closures is not None
        self._require_steppable()
        parameters = [p for group in self.param_groups for p in trained(group)]
        losses: list[Tensor] = []
        with torch.no_grad():
            self._combine(parameters, _gradients(closures, parameters, losses))
            for group in self.param_groups:
                reached = [p for p in trained(group) if p.grad is not None]
                self._descend(group, reached, [gradient_or_zero(p) for p in reached])
        return torch.stack(losses).mean()

    def _require_closures(self, closures: object) -> None:
        expected = f"a list of closures, one for each of {self.groups} groups of the mini-batch"
        if callable(closures):
            raise OptimizerError(f"{type(self).__name__}: found one closure, expected {expected}")
        if closures is not None and not isinstance(closures, Sequence):
            raise OptimizerError(f"{type(self).__name__}: found a {type(closures).__name__}, expected {expected}")
        found = closures or ()
        if len(found) != self.groups:
            raise OptimizerError(
                f"{type(self).__name__}: found {len(found)} closures, expected one for each of {self.groups} groups"
            )
        other = next((one for one in found if not callable(one)), None)
        if other is not None:
            raise OptimizerError(f"{type(self).__name__}: found a {type(other).__name__} in it, expected {expected}")

    def _step_by(self, closures: Sequence[Closure]) -> None:
        self.step(closures)


def _gradients(closures: Iterable[Closure], parameters: list[Tensor], losses: list[Tensor]) -> Iterator[Gradients]:
    """The gradients that each closure leaves, taken from the parameters; appends the closures' losses to `losses`."""
    for closure in closures:
        with torch.enable_grad():
            loss = closure()
        if not isinstance(loss, Tensor):
            raise OptimizerError(f"step: found a closure that returns {loss!r}, expected the loss that it computed")
        losses.append(loss.detach())
        # The next closure may clear gradients in place, so take these tensors away and let it make new ones.
        gradients: Gradients = [dense_gradient(p) for p in parameters]
        for p in parameters:
            p.grad = None
        yield gradients
