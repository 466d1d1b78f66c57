"""Optimisers that combine the gradients of the groups of one mini-batch, all taken at the same weights."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from mcoherence.optim.descent import Closure, RobustSGD, gradient_or_zero, trained

Gradients = list[Tensor | None]  # of one group, per parameter; None where its loss does not reach the parameter


class OverGroups(RobustSGD):
    """SGD along what `_combine` makes of the mean gradients of the groups of one mini-batch.

    Attributes:
        groups: how many there are; a subclass sets it.
    """

    groups: int

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
            ValueError: the number of closures is not `groups`.
        """
        if closures is None or len(closures) != self.groups:
            raise ValueError(
                f"{type(self).__name__}: found {len(closures or ())} closures, expected one for each of {self.groups} "
                "groups"
            )
        parameters = [p for group in self.param_groups for p in trained(group)]
        losses: list[Tensor] = []
        with torch.no_grad():
            self._combine(parameters, _gradients(closures, parameters, losses))
            for group in self.param_groups:
                reached = [p for p in trained(group) if p.grad is not None]
                self._descend(group, reached, [gradient_or_zero(p) for p in reached])
        return torch.stack(losses).mean()

    def _step_by(self, closures: Sequence[Closure]) -> None:
        self.step(closures)


def _gradients(closures: Iterable[Closure], parameters: list[Tensor], losses: list[Tensor]) -> Iterator[Gradients]:
    """The gradients that each closure leaves, taken from the parameters; appends the closures' losses to `losses`."""
    for closure in closures:
        with torch.enable_grad():
            losses.append(closure().detach())
        # The next closure may clear gradients in place, so take these tensors away and let it make new ones.
        gradients: Gradients = [p.grad for p in parameters]
        for p in parameters:
            p.grad = None
        yield gradients
