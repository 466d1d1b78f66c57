"""SGD's relatives that suppress weak gradient directions: M3 and RM3, and the control RA3 (arXiv 2003.07422).

M3 and RM3 take the coordinate-wise median of three gradients, a median of means: a direction that only a few examples
support shows up in one of the three and is outvoted. The median is max(min(a, b), min(max(a, b), c)), which is exact;
the released code's a + b + c - min - max loses digits ((1e8, -1e8, 3) gives 0) and turns infinities into NaN.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], Tensor]


def median_of_three(a: list[Tensor], b: list[Tensor], c: list[Tensor]) -> list[Tensor]:
    """The exact coordinate-wise median of three lists of tensors of equal shapes."""
    low, high = torch._foreach_minimum(a, b), torch._foreach_maximum(a, b)
    torch._foreach_minimum_(high, c)
    torch._foreach_maximum_(low, high)
    return list(low)


def mean_of_three(a: list[Tensor], b: list[Tensor], c: list[Tensor]) -> list[Tensor]:
    """The mean of three lists of tensors of equal shapes."""
    total = torch._foreach_add(a, b)
    torch._foreach_add_(total, c)
    torch._foreach_div_(total, 3.0)
    return list(total)


def median_of_lists(gradients: Sequence[list[Tensor]]) -> list[Tensor]:
    """The exact coordinate-wise median of an odd number of lists of tensors of equal shapes."""
    if len(gradients) == 3:
        return median_of_three(*gradients)
    return [torch.stack(tensors).median(dim=0).values for tensors in zip(*gradients, strict=True)]


class _EagerOptimizer(Optimizer):
    """An optimiser without torch's marks "do not compile", which import the compiler at first use.

    Nothing here is ever compiled, and the import costs a second of every training job. The methods are torch's own.
    """

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)


class SGD(_EagerOptimizer, torch.optim.SGD):
    """torch.optim.SGD, unchanged in what it computes: momentum, Nesterov and weight decay as documented there."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class M3(_EagerOptimizer):
    """SGD on the coordinate-wise median of the mean gradients of the groups of one mini-batch.

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

    The update is w <- w - lr * median. No momentum and no weight decay. Source: arXiv 2003.07422, M3; the released
    code differs (three successive mini-batches, one update).

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of groups, at least 3; 3 in the paper.
    """

    def __init__(self, params: Iterable[Any], lr: float, groups: int = 3) -> None:
        if lr <= 0:
            raise ValueError(f"M3: found lr {lr}, expected a positive number")
        if groups < 3 or groups % 2 == 0:
            raise ValueError(f"M3: found groups {groups}, expected an odd number of at least 3")
        self.groups = groups
        super().__init__(params, {"lr": lr})

    def step(self, closures: Sequence[Closure] | None = None) -> Tensor:  # type: ignore[override]
        """One update; returns the mean of the groups' losses, shape [].

        Raises:
            ValueError: the number of closures is not `groups`.
        """
        if closures is None or len(closures) != self.groups:
            raise ValueError(f"M3: found {len(closures or ())} closures, expected one for each of {self.groups} groups")
        parameters = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        losses, gradients = [], []
        for closure in closures:
            with torch.enable_grad():
                losses.append(closure().detach())
            # The next closure may clear gradients in place, so keep these tensors and let it make new ones.
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
            for p in parameters:
                p.grad = None
        with torch.no_grad():
            for p, median in zip(parameters, median_of_lists(gradients), strict=True):
                p.grad = median
            for group in self.param_groups:
                _descend(group)
        return torch.stack(losses).mean()


class _LastThree(_EagerOptimizer):
    """SGD on what `_combined` makes of the current and the previous two mini-batch gradients.

    The first two steps make no update: there are no three gradients yet (as in the released code of the paper). A
    parameter whose gradient is missing counts as zero gradient, so that all parameters stay in phase.
    """

    # The direction of the update from three lists of gradients of equal shapes, none of them changed.
    _combined: Callable[[list[Tensor], list[Tensor], list[Tensor]], list[Tensor]]

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        if lr <= 0:
            raise ValueError(f"{type(self).__name__}: found lr {lr}, expected a positive number")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """One step after one backward; returns the closure's loss, or None without a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.requires_grad]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            previous = [self.state[p].get("previous", []) for p in parameters]
            if all(len(pair) == 2 for pair in previous):
                oldest, older = (list(tensors) for tensors in zip(*previous, strict=True))
                torch._foreach_add_(parameters, self._combined(oldest, older, gradients), alpha=-group["lr"])
            for p, gradient, pair in zip(parameters, gradients, previous, strict=True):
                # Two buffers in rotation: the oldest is overwritten, so that no step allocates memory.
                newest = pair[0] if len(pair) == 2 else torch.empty_like(gradient)
                self.state[p]["previous"] = [*pair[-1:], newest.copy_(gradient)]
        return loss


class RM3(_LastThree):
    """SGD on the coordinate-wise median of the current and the previous two mini-batch gradients.

    The first two steps make no update. No momentum, no weight decay. Source: arXiv 2003.07422, RM3.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
    """

    _combined = staticmethod(median_of_three)


class RA3(_LastThree):
    """SGD on the mean of the current and the previous two mini-batch gradients: the control of RM3.

    It uses gradients as old as RM3's without a median, and so separates the two. The first two steps make no update. No
    momentum, no weight decay. Source: released code of arXiv 2003.07422, RA3.

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
    """

    _combined = staticmethod(mean_of_three)


def _descend(group: dict[str, Any]) -> None:
    """Step along the gradients of one group: w <- w - lr * grad."""
    parameters = [p for p in group["params"] if p.grad is not None]
    torch._foreach_add_(parameters, [p.grad for p in parameters], alpha=-group["lr"])
