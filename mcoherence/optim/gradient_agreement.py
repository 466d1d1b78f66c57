"""Gradient agreement filtering: groups whose gradients point elsewhere are left out (arXiv 2412.18052)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mcoherence.optim.descent import OptimizerError, number, whole
from mcoherence.optim.groups import Gradients, OverGroups


class GradientAgreement(OverGroups):
    """SGD along a mean of those groups' gradients that agree, filtered in the order in which the groups are visited.

    With g_1, ..., g_k the mean gradients of the groups of one mini-batch, each over the whole network as one vector::

        f = g_1
        for g in g_2, ..., g_k:
            if 1 - cos(f, g) <= threshold:
                f = (f + g) / 2
        step along f if any g joined it; else no step: weights and momentum stay as they are

    So the order counts: g_1 is always in, what is compared is the mean so far and not every pair, and of several that
    join the last one has half of the weight (for two groups it is their mean). The distance 1 - cos is in [0, 2]: 1 for
    orthogonal gradients, above it for opposed ones. A gradient of zeros has distance 1 from every other.

    Where this comes from: the rule is that of the released code, step_GAF of
    github.com/Fchaubard/gradient_agreement_filtering (read at commit 555fa43); of the paper the abstract was read and
    its algorithm was not. That code advises a threshold of 0.9 to 1, takes 0.97 and two micro-batches in its commands,
    draws micro-batches with equally many examples of each class, and hands f to any optimiser. Our choices: SGD takes
    f; the parts are the random groups of one mini-batch, as for M3, so that methods compare on equal mini-batches; a
    part that reaches no parameter at all, such as one without examples, is left out; a parameter that some part does
    not reach counts as zero there; a distance that is NaN counts as agreement (as a comparison in that code comes out),
    so that divergence is not hidden. An update without a step counts as an update, for the schedule of the rate too.

    Protocol: as for M3, one closure per group; momentum and weight decay enter after the mean, in torch's SGD. After a
    step `.grad` holds f; without one it is None.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = GradientAgreement([weight], lr=1.0, groups=3)
        >>> def loss_of(slope):
        ...     def closure():
        ...         optimizer.zero_grad()
        ...         loss = (slope * weight).sum()
        ...         loss.backward()
        ...         return loss
        ...     return closure
        >>> _ = optimizer.step([loss_of(slope) for slope in (1.0, 3.0, -5.0)])
        >>> weight.item()  # 3 joins 1, -5 points the other way
        -2.0

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        threshold: greatest distance of a gradient that joins the mean so far, in [0, 2].
        groups: number of groups, at least 2.
        **settings: momentum, nesterov and weight_decay, see `descent.RobustSGD`.

    Attributes:
        agreed: how many gradients joined the first one in the last step.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, threshold: float = 0.97, groups: int = 2, **settings: Any
    ) -> None:
        if not 0 <= number(threshold) <= 2:
            raise OptimizerError(
                f"GradientAgreement: found threshold {threshold}, expected a cosine distance in [0, 2]"
            )
        if not whole(groups, least=2):
            raise OptimizerError(f"GradientAgreement: found groups {groups}, expected at least 2")
        super().__init__(params, lr, **settings)
        self.threshold, self.groups, self.agreed = threshold, int(groups), 0

    def _combine(self, parameters: list[Tensor], gradients: Iterable[Gradients]) -> None:
        mean: Gradients | None = None
        self.agreed = 0
        for gradient in gradients:
            if all(part is None for part in gradient):
                continue
            if mean is None:
                mean = gradient
            elif not bool(cosine_distance(mean, gradient) > self.threshold):  # NaN is not greater
                mean = [_half_of_sum(a, b) for a, b in zip(mean, gradient, strict=True)]
                self.agreed += 1
        if mean is not None and self.agreed:
            for p, direction in zip(parameters, mean, strict=True):
                p.grad = direction


def cosine_distance(a: Gradients, b: Gradients) -> Tensor:
    """1 - cos of two gradients as vectors over all parameters, in [0, 2], shape []; 1 where one of them is zero."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    norms = _norm(a) * _norm(b)
    if not both:
        return torch.ones_like(norms)
    product = torch.stack([torch.dot(x.flatten(), y.flatten()) for x, y in both]).sum()
    return 1 - torch.where(norms == 0, torch.zeros_like(norms), product / norms)


def _norm(gradient: Gradients) -> Tensor:
    norms = torch.stack([torch.linalg.vector_norm(part) for part in gradient if part is not None])
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm


def _half_of_sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """(a + b) / 2, a missing one counted as zero; overwrites what it can."""
    if a is None or b is None:
        one = b if a is None else a
        return None if one is None else one.div_(2)
    return a.add_(b).div_(2)
