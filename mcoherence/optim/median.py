"""The exact coordinate-wise median of gradients, by minima and maxima of whole tensors.

Only values that are there come out, so that gradients of very different magnitudes cost no digits and infinities are
outvoted; the released code's a + b + c - min - max gives 0 for (1e8, -1e8, 3) and NaN for infinities. A coordinate that
is NaN in any of the gradients is NaN in the median: divergence is not hidden.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def median_of_lists(lists: Sequence[list[Tensor]]) -> list[Tensor]:
    """The exact coordinate-wise median of an odd number of lists of tensors of equal shapes.

    Overwrites the tensors of the first list, and leaves the others as they are. Forgetful selection: of the first
    (k + 3) / 2 of k values the smallest and the largest cannot be the median; drop both, add the next value, and so on
    until one is left. For three lists it takes four operations and memory for one list.
    """
    size = len(lists) // 2 + 2
    kept, waiting = list(lists[:size]), list(lists[size:])
    while len(kept) > 1:
        kept = without(torch._foreach_minimum, torch._foreach_maximum_, kept)
        kept = without(torch._foreach_maximum, torch._foreach_minimum_, kept)
        kept, waiting = kept + waiting[:1], waiting[1:]
    return kept[0]


def without(
    extreme: Callable[..., Any], keep_other_: Callable[..., Any], lists: list[list[Tensor]]
) -> list[list[Tensor]]:
    """One list fewer: the lists without their coordinate-wise extreme, in no order; overwrites the first list.

    Args:
        extreme: of two lists, the values that move on towards being dropped.
        keep_other_: of two lists, the other values, written to the first of the two.
        lists: at least two lists of tensors of equal shapes.
    """
    carried, *others = lists
    kept = []
    for other in others[:-1]:
        moving = list(extreme(carried, other))
        keep_other_(carried, other)
        kept.append(carried)
        carried = moving
    keep_other_(carried, others[-1])
    return [*kept, carried]
