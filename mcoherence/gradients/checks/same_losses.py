"""Losses of a batch's examples held against those of the examples alone, or among fewer: they show examples that mix.

Index letters: n examples of a batch, k of them that are chosen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcoherence.device import is_of_device, sent
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.checks.batch_again import batch_again, found_in_float64
from mcoherence.gradients.checks.chosen_examples import drawn
from mcoherence.gradients.given.refusal import MIXED, UnsupportedModelError
from mcoherence.gradients.given.trees import Tree
from mcoherence.gradients.graph.watching import Value, typed

MOST_IN_A_CHECK = 16
MOST_SUSPECTS = 4


def require_same_losses(
    passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree, chosen: Sequence[int]
) -> None:
    """Hold the losses of chosen examples of a batch against those of the examples alone: forward passes without graph.

    Raises:
        UnsupportedModelError: they disagree, and by more than rounding; float64 decides where it can be had.
    """
    if not chosen:
        return
    dtype = measured.losses.dtype
    alone = passes.losses_alone(inputs, targets, chosen)
    suspects = _others(measured, chosen, alone)
    if not suspects:
        return
    if dtype != torch.float64:
        again = batch_again(passes, inputs, targets)
        double = found_in_float64(passes.model, again, lambda batch: batch.losses(suspects))
        if double is not None and not differ(*double, torch.float64).any():
            return
    raise UnsupportedModelError(
        f"the loss of example {suspects[0]} of a batch of {measured.n} is another when the example is passed through "
        f"the model alone; {MIXED}"
    )


def require_same_of_each(passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree) -> None:
    """Hold the losses of all examples of a batch against those of the examples alone, in one pass where vmap can.

    Where it cannot, some are held against those in a smaller batch. What disagrees by vmap is looked at alone.

    Raises:
        UnsupportedModelError: they disagree, and the examples alone say so too.
    """
    alone = passes.losses_of_each(inputs, targets)
    if alone is None:
        require_same_in_a_smaller_batch(passes, measured, inputs, targets)
        return
    others = _others(measured, range(measured.n), alone)
    off = (measured.losses - alone).abs().tolist() if others else []
    require_same_losses(passes, measured, inputs, targets, sorted(others, key=lambda i: -off[i])[:MOST_SUSPECTS])


def require_same_in_a_smaller_batch(passes: Passes, measured: BatchSums, inputs: Tree, targets: Tree) -> None:
    """Hold losses of half of a batch, MOST_IN_A_CHECK at most, against those of these examples as a batch of their own.

    One forward pass shows losses that come back in another order than the examples, and those that mix examples in a
    way that leaves the gradient of a single one as it is. It does not where the half is in the same order, such as the
    two outer examples of three that are reversed; so the first example is looked at alone besides. Of two or three
    examples the last one is the half, lest what it takes over from those before it go unseen.

    Raises:
        UnsupportedModelError: they disagree, and the examples alone say so too.
    """
    n = measured.n
    chosen = sorted(drawn(n, min(n // 2, MOST_IN_A_CHECK))) if n > 3 else [n - 1]
    suspects = _others_together(passes, measured, inputs, targets, chosen)
    require_same_losses(passes, measured, inputs, targets, sorted({0, *suspects}))


def require_same_in_a_batch_of(
    passes: Passes,
    measured: BatchSums,
    inputs: Tree,
    targets: Tree,
    chosen: Sequence[int],
    reads: Sequence[Value],
) -> None:
    """Hold losses of examples that each would read some values alone against those in a batch of these examples.

    Where that batch reads something else, the examples alone are taken in its place.

    Raises:
        UnsupportedModelError: they disagree, and the examples alone say so too.
    """
    suspects = _others_together(passes, measured, inputs, targets, chosen, reads)
    require_same_losses(passes, measured, inputs, targets, suspects)


def _others_together(
    passes: Passes,
    measured: BatchSums,
    inputs: Tree,
    targets: Tree,
    chosen: Sequence[int],
    reads: Sequence[Value] | None = None,
) -> list[int]:
    """Which of the chosen examples have other losses in a batch of their own; all where it reads others than `reads`.

    All too where it fails, as models do that take batches of some sizes only.
    """
    try:
        together, found = passes.losses_together(inputs, targets, chosen)
    except Exception as error:
        of_device = is_of_device(error)
        if of_device:
            raise
        return list(chosen)
    if reads is not None and (found is None or typed(found) != typed(reads)):
        return list(chosen)
    return _others(measured, chosen, together)


def _others(measured: BatchSums, chosen: Sequence[int], losses: Tensor) -> list[int]:
    """Which of the chosen examples have other losses [k] than in the batch."""
    off = differ(_chosen_losses(measured, chosen), losses, measured.losses.dtype).tolist()
    return [i for i, wrong in zip(chosen, off, strict=True) if wrong]


def _chosen_losses(measured: BatchSums, chosen: Sequence[int]) -> Tensor:
    return measured.losses.index_select(0, sent(torch.tensor(chosen), measured.losses.device))


def differ(within: Tensor, alone: Tensor, dtype: torch.dtype) -> Tensor:
    """Which losses [k] differ by more than rounding, bool [k]; a small loss is known no better than a larger one.

    Two that are infinite are the same, such as those of a class whose logit is masked by -inf, and two that are NaN.
    """
    allowed = {torch.float64: 1e-7, torch.float32: 1e-4}.get(dtype, 1e-1)
    one, other = within.to(torch.float64), alone.to(torch.float64)
    scale = torch.maximum(one.abs(), other.abs())
    same = (one == other) | (one.isnan() & other.isnan())
    return ~(same | ((one - other).abs() <= allowed * (scale + 1e-2)))
