"""The clipped mean of outer products, which the gradients of single examples of a linear layer's weights are.

Index letters: n examples, O outputs and K inputs of the layer.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Products at a time, 1 MiB in float32: more leave the processor's cache, fewer take more calls. The last digits of the
# result depend on it, so it is no setting.
BLOCK_ENTRIES = 2**18
BLOCK_ENTRIES_ON_GPU = 2**25
COMPARED_RANKS = (1, 2)  # found by comparing whole rows; others by sorting, which takes as long for any rank

Comparison = Callable[..., Any]  # the larger or the smaller of two values, of tensors or arrays, into `out` where given


def mean_of_products(left: Tensor, right: Tensor, rank: int) -> Tensor:
    """Mean over i of left[i, o] * right[i, k], whose `rank` smallest and largest are clipped to the next, [O, K].

    On the processor most products are not made. An output takes those examples whose left is not 0, half of them behind
    a ReLU, and rank + 1 others: more zeros are clipped to themselves. An input that is the same for all examples, such
    as a pixel of the margin, takes the clipped mean of left alone.

    Args:
        left: [n, O], gradients of the layer's outputs.
        right: [n, K], the layer's inputs.
        rank: how many are clipped at either end, less than n / 2.

    Example:
        >>> left, right = torch.tensor([[1.0], [2.0], [-3.0]]), torch.tensor([[5.0, 1.0], [1.0, 1.0], [4.0, 1.0]])
        >>> mean_of_products(left, right, 1)  # of 5, 2, -12 and of 1, 2, -3: the medians
        tensor([[2., 1.]])
    """
    n = len(left)
    if rank == 0:
        return left.T @ right / n
    if left.device.type != "cpu":
        return _mean_of_all_products(left, right, rank)
    order = left.abs().argsort(dim=0, descending=True, stable=True)
    ordered = left.gather(0, order)
    needed = (ordered != 0).sum(dim=0).add_(rank + 1).clamp_(max=n)
    varies = (right != right[0]).any(dim=0)
    if not torch.isfinite(right).all():  # 0 times infinity is no zero
        needed.fill_(n)
        varies.fill_(True)
    columns, alike = varies.nonzero()[:, 0], (~varies).nonzero()[:, 0]
    means = left.new_empty(left.shape[1], right.shape[1])
    if len(alike) > 0:
        means[:, alike] = clipped_mean(left, rank)[:, None] * right[0, alike]
    if len(columns) > 0:
        varying = right[:, columns]
        for outputs, examples in blocks_of_outputs(needed, len(columns)):
            products = varying.index_select(0, order[:examples, outputs].reshape(-1))
            products = products.view(examples, len(outputs), -1).mul_(ordered[:examples, outputs, None])
            means[outputs[:, None], columns] = clipped_mean(products, rank, n)
    return means


def _mean_of_all_products(left: Tensor, right: Tensor, rank: int) -> Tensor:
    """`mean_of_products` that makes them all: on a GPU to ask which are needed takes longer."""
    size = max(1, BLOCK_ENTRIES_ON_GPU // right.numel())
    blocks = torch.split(left, size, dim=1)
    return torch.cat([clipped_mean(block.unsqueeze(2) * right.unsqueeze(1), rank) for block in blocks])


def clipped_mean(values: Tensor, rank: int, n: int | None = None) -> Tensor:
    """Mean over m of values [m, ...], `rank` at either end clipped to the next; their sum over n where given, [...]."""
    low, high = extremes(values, rank)
    return values.clamp(low, high).sum(dim=0).div_(len(values) if n is None else n)


def blocks_of_outputs(needed: Tensor, inputs: int) -> Iterator[tuple[Tensor, int]]:
    """Outputs in blocks, int64 [outputs of the block], with the number of examples that one of them needs at most."""
    order = needed.argsort(descending=True, stable=True)
    counts = needed[order].tolist()
    start = 0
    while start < len(counts):
        stop = start + max(1, BLOCK_ENTRIES // (counts[start] * inputs))
        yield order[start:stop], counts[start]
        start = stop


def extremes(values: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The values of a rank from below and from above, 0 for minimum and maximum, of values [m, ...], each [...].

    Of no use where a value is NaN, which makes NaN of the mean of what is clipped, whatever the extremes.
    """
    in_numpy = values.device.type == "cpu" and values.dtype != torch.bfloat16  # half the time of torch's calls
    if rank in COMPARED_RANKS and len(values) >= 4:
        if not in_numpy:
            return _compared(values, rank, torch.minimum, torch.maximum)
        low, high = _compared(values.numpy(), rank, np.minimum, np.maximum)
        return torch.from_numpy(low), torch.from_numpy(high)
    ordered = torch.from_numpy(np.sort(values.numpy(), axis=0)) if in_numpy else values.sort(dim=0).values
    return ordered[rank], ordered[-1 - rank]


def _compared(values: Any, rank: int, smaller: Comparison, larger: Comparison) -> tuple[Any, Any]:
    """The extremes of ranks 1 and 2, of a tensor or an array of at least four rows.

    The rows are sorted by fours, whose smallest and largest are merged in pairs: about six comparisons a value.
    """
    quarter = len(values) // 4
    a, b, c, d = (values[i * quarter : (i + 1) * quarter] for i in range(4))
    least, low, high, most = smaller(a, b), smaller(c, d), larger(a, b), larger(c, d)
    least, low = smaller(least, low), larger(least, low)
    high, most = smaller(high, most), larger(high, most)
    low, high = smaller(low, high), larger(low, high)
    shared = [0 + low, 0 + high] if rank == 2 else [low, high]  # a copy where both ends overwrite them
    rest = values[4 * quarter :]
    return (
        _last_of_best([least, low, high][: rank + 1], rest, smaller, larger),
        _last_of_best([most, *shared[::-1]][: rank + 1], rest, larger, smaller),
    )


def _last_of_best(lists: list[Any], singles: Any, better: Comparison, worse: Comparison) -> Any:
    """The last of the two or three best values that many short lists and single values have together, [...].

    Args:
        lists: the best of each list, the second, maybe the third, each [lists, ...]; overwritten.
        singles: more values, [values, ...].
        better: of two values the one that comes first.
        worse: the other one.
    """
    left_over = []
    while len(lists[0]) > 1:
        half = len(lists[0]) // 2
        if len(lists[0]) % 2:
            left_over.append([part[2 * half :] for part in lists])
        one, other = ([part[start : start + half] for part in lists] for start in (0, half))
        _merge(one, other, better, worse)
        lists = one
    for more in left_over:
        _merge(lists, more, better, worse)
    for single in singles:
        value = single
        for part in lists:
            beaten = worse(part[0], value)
            better(part[0], value, out=part[0])
            value = beaten
    return lists[-1][0]


def _merge(one: list[Any], other: list[Any], better: Comparison, worse: Comparison) -> None:
    """Let `one` hold the two or three best values of both, in their order; both are sorted, and overwritten."""
    beaten = worse(one[0], other[0])
    better(one[0], other[0], out=one[0])
    seconds = better(one[1], other[1], out=other[1])
    better(beaten, seconds, out=one[1])
    if len(one) == 3:
        thirds = better(one[2], other[2], out=one[2])
        better(thirds, worse(beaten, seconds), out=one[2])
