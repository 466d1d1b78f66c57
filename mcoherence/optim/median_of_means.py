"""M3, the median of the mean gradients of groups of examples, in the paper's form and in that of the released code."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from mcoherence.optim.descent import Closure, PlainByDefault, gradient_or_zero, trained
from mcoherence.optim.median import median_of_lists


class MedianOfMeans(PlainByDefault):
    """SGD along the coordinate-wise median of an odd number of gradients taken at the same weights.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of gradients, at least 3; 3 in the paper.
        **settings: allow_momentum, momentum, nesterov and weight_decay, see `descent.PlainByDefault`.
    """

    def __init__(self, params: Iterable[Any], lr: float, groups: int = 3, **settings: Any) -> None:
        if groups < 3 or groups % 2 == 0:
            raise ValueError(f"{type(self).__name__}: found groups {groups}, expected an odd number of at least 3")
        self.groups = groups
        super().__init__(params, lr, **settings)


class M3(MedianOfMeans):
    """SGD along the coordinate-wise median of the mean gradients of the groups of one mini-batch.

    Protocol: split the mini-batch into `groups` parts and hand over one closure per part; each clears the gradients,
    computes the mean loss of its part, calls backward and returns that loss::

        def group_loss(part):
            def closure():
                optimizer.zero_grad()
                loss = loss_fn(model(inputs[part]), targets[part])
                loss.backward()
                return loss
            return closure

        mean_loss = optimizer.step([group_loss(part) for part in parts])

    Each part has a forward pass of its own, so batch norm normalises each group by its own statistics: the group
    means are then functions of disjoint examples, which the median of means asks for, and what the released code and
    one group per device do. Running statistics move `groups` times per update.

    A parameter without a gradient in some groups counts as zero there; without one in any it is left out, as in
    torch's SGD. After the step `.grad` holds the median. Momentum (where allowed) and weight decay enter after the
    median. Source: arXiv 2003.07422, M3; for the released code's form see SuccessiveM3.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of groups, at least 3; 3 in the paper.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    def step(self, closures: Sequence[Closure] | None = None) -> Tensor:  # type: ignore[override]
        """One update; returns the mean of the groups' losses, shape [].

        Raises:
            ValueError: the number of closures is not `groups`.
        """
        if closures is None or len(closures) != self.groups:
            raise ValueError(f"M3: found {len(closures or ())} closures, expected one for each of {self.groups} groups")
        parameters = [p for group in self.param_groups for p in trained(group)]
        losses, gradients = [], []
        for closure in closures:
            with torch.enable_grad():
                losses.append(closure().detach())
            # The next closure may clear gradients in place, so keep these tensors and let it make new ones.
            gradients.append([p.grad for p in parameters])
            for p in parameters:
                p.grad = None
        with torch.no_grad():
            self._set_median(parameters, gradients)
            for group in self.param_groups:
                reached = [p for p in trained(group) if p.grad is not None]
                self._descend(group, reached, [gradient_or_zero(p) for p in reached])
        return torch.stack(losses).mean()

    def _set_median(self, parameters: list[Tensor], gradients: list[list[Tensor | None]]) -> None:
        """Let `.grad` of every parameter that a group reached be the median over groups."""
        by_parameter = zip(parameters, zip(*gradients, strict=True), strict=True)
        reached = [(p, parts) for p, parts in by_parameter if any(part is not None for part in parts)]
        if not reached:
            return
        whole = [[torch.zeros_like(p) if part is None else part for part in parts] for p, parts in reached]
        medians = median_of_lists([list(group) for group in zip(*whole, strict=True)])
        for (p, _), median in zip(reached, medians, strict=True):
            p.grad = median


class SuccessiveM3(MedianOfMeans):
    """SGD along the median of the gradients of successive mini-batches at the same weights: M3 of the released code.

    Every call of step() after one backward pass hands in one mini-batch; every `groups`-th call makes an update, the
    others change nothing. An update thus takes `groups` times the examples of SGD's, and an epoch has that many times
    fewer updates. In all else as M3, but that a missing gradient counts as zero always, so that all parameters stay in
    phase. Source: google-research/coherent_gradients, m3.py, which the paper's text does not describe.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of successive mini-batches, at least 3; 3 in the released code.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """Take in one mini-batch's gradient; returns the closure's loss, or None without a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            complete = []
            for p in trained(group):
                gathered = self.state[p].setdefault("gathered", [])
                if len(gathered) == self.groups - 1:
                    complete.append(p)
                else:
                    gathered.append(gradient_or_zero(p).clone())
            if complete:
                earlier = ([self.state[p]["gathered"][age] for p in complete] for age in range(self.groups - 1))
                median = median_of_lists([*earlier, [gradient_or_zero(p) for p in complete]])
                self._descend(group, complete, median)
                for p in complete:
                    self.state[p]["gathered"] = []
        return loss
