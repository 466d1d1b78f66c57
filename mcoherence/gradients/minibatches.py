"""Coherence estimated from gradients of mini-batches, which batch norm normalises by their own statistics.

The gradient of a mini-batch of k examples is a mean of k gradients, whose coherence is that of the examples inflated
in a known way (arXiv 2008.01217, Theorem 3, for k independent draws). So alpha of mini-batches tells alpha of examples,
and examples need no gradients of their own: batch norm may stay in training mode, as it is when the network trains.

What this cannot give: Q of single examples and what groups of examples that share mini-batches do for each other. What
it gives is an estimate, from as many numbers as there are mini-batches; for orthogonal gradients of m examples it is
m / (m - k + 1) in place of 1, because mini-batches share no example and so are not independent draws.

Index letters: k examples of a mini-batch, G groups, P parameters, L layers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mcoherence.coherence import Float64Array, alpha, alpha_from_minibatches
from mcoherence.gradients.batch.evidence import IdentityError
from mcoherence.gradients.batch.group_sums import GroupSums, products_of_sums
from mcoherence.gradients.batch_norm import with_batch_statistics
from mcoherence.gradients.given.alone import dense
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.reading import read
from mcoherence.gradients.given.trees import Tree, length, on_device, outputs_of
from mcoherence.precision import float32_products


@dataclass(frozen=True)
class MinibatchStatistics:
    """Sums over the mini-batches of each group of W, the mean gradient of one, and of |W|^2, at one set of weights.

    size: k, examples of a mini-batch.
    groups: names of the G groups; every mini-batch is of one.
    parameters: qualified names of the P trainable parameters, in the model's order.
    counts: number of mini-batches per group, int64 [G].
    sum_sq_norms: sum of |W|^2, float64 [G, P].
    group_sums: sum of W per parameter, one tensor [G, *parameter shape] each, where the model is.
    """

    size: int
    groups: tuple[str, ...]
    parameters: tuple[str, ...]
    counts: NDArray[np.int64]
    sum_sq_norms: NDArray[np.float64]
    group_sums: tuple[Tensor, ...]

    @property
    def gram(self) -> NDArray[np.float64]:
        """Inner products of the groups' sums of W, float64 [G, G, P]."""
        return products_of_sums(self.group_sums, len(self.groups))

    def alpha(self, group: str | None = None) -> float:
        """Alpha of the examples of a group, by the whole network; None for the first group.

        Raises:
            ValueError: there is no such group.
        """
        if group is not None and group not in self.groups:
            raise ValueError(f"group: found {group!r}, expected one of {list(self.groups)}")
        place = 0 if group is None else self.groups.index(group)
        squared = self.gram[place, place].sum()
        return float(alpha_of_examples(squared, self.sum_sq_norms[place].sum(), self.counts[place], self.size))

    def m_coherence(self, group: str | None = None) -> float:
        """Alpha times the number of examples in the mini-batches of a group: the estimate of their m-coherence."""
        place = 0 if group is None else self.groups.index(group)
        return self.alpha(group) * self.size * int(self.counts[place])


def alpha_of_examples(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike, count: ArrayLike, size: int) -> Float64Array:
    """Alpha of examples, from sums over mini-batches; NaN for fewer than two mini-batches, or where all W are zero.

    Args:
        sq_norm_of_sum: |sum of W|^2, any shape [...].
        sum_sq_norm: sum of |W|^2, a shape that broadcasts with it.
        count: number of mini-batches, likewise.
        size: k, examples of each.
    """
    number = np.asarray(count, dtype=np.float64)
    inverted = alpha_from_minibatches(alpha(sq_norm_of_sum, sum_sq_norm, number), size)
    return np.asarray(np.where(number > 1, inverted, np.nan), dtype=np.float64)


def minibatch_statistics(
    model: nn.Module,
    loss_fn: LossFunction,
    minibatches: Iterable[tuple[Tree, Tree, int]],
    groups: Sequence[str],
    *,
    tf32: bool = False,
) -> MinibatchStatistics:
    """Sums over mini-batches of their mean gradient and of its squared norm, with batch norm in training mode.

    All else is in eval mode, dropout among it. It happens in a copy: statistics, mode and `.grad` of the model stay.

    Args:
        model: any torch model.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [k].
        minibatches: (inputs [k, ...], targets [k, ...], position of the group), all of one size k.
        groups: names of the groups.
        tf32: whether float32 products may be TF32's on a GPU that has it; see `mcoherence.precision`.

    Raises:
        UnsupportedModelError: the model cannot be copied, or holds a batch norm that is none of torch's.
        IdentityError: gradients are not finite.
        ValueError: there are no mini-batches, or they are of several sizes.

    Example:
        With the output as its loss, a linear unit's gradient is the input: here (1, 0) and (0, 1), twice each.

        >>> model = nn.Linear(2, 1, bias=False)
        >>> pair = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> batches = [(pair, torch.zeros(2), 0), (pair, torch.zeros(2), 0)]
        >>> found = minibatch_statistics(model, lambda outputs, _: outputs[:, 0], batches, ["all"])
        >>> round(found.alpha(), 9)  # both means are (1/2, 1/2): they agree wholly, and so would their examples
        1.0
    """
    copy = with_batch_statistics(model)
    parameters = {name: p for name, p in copy.named_parameters() if p.requires_grad}
    device = next(iter(parameters.values())).device
    counts = np.zeros(len(groups), dtype=np.int64)
    sum_sq_norms = np.zeros((len(groups), len(parameters)))
    norms: dict[tuple[int, int, int], Tensor] = {}  # |W| of a mini-batch, its group and a parameter, by their places
    sums, sizes = GroupSums(len(groups), parameters), set()
    with float32_products(tf32), torch.inference_mode(False), torch.enable_grad():
        for number, (inputs, targets, group) in enumerate(minibatches):
            sizes.add(length(inputs))
            outputs = outputs_of(copy, on_device(inputs, device))
            loss = loss_fn(outputs, on_device(targets, device)).mean()
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            means = {name: dense(one) for name, one in zip(parameters, found, strict=True) if one is not None}
            for place, name in enumerate(parameters):
                if name in means:
                    wide = torch.promote_types(means[name].dtype, torch.float64)
                    norms[number, group, place] = torch.linalg.vector_norm(means[name], dtype=wide)
            sums.add(group, means)
            counts[group] += 1
    if len(sizes) != 1:
        found_sizes = f"mini-batches of {sorted(sizes)} examples" if sizes else "none"
        raise ValueError(f"minibatches: found {found_sizes}, expected mini-batches of one size")
    for (_, group, place), norm in read(norms).items():
        sum_sq_norms[group, place] += norm**2
    if not np.isfinite(sum_sq_norms).all():
        raise IdentityError("gradients of mini-batches are not finite")
    return MinibatchStatistics(sizes.pop(), tuple(groups), tuple(parameters), counts, sum_sq_norms, sums.stacked())
