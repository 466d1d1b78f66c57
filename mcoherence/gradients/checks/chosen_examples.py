"""Which examples of a batch are looked at once more, and what they show.

Index letters: n examples of a batch, k of them that are chosen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcoherence.device import sent
from mcoherence.gradients.batch.passes import BatchSums

MOST_ADDED = 4


def telling(measured: BatchSums, unseen: Sequence[str], k: int) -> list[int]:
    """Which examples of a batch are looked at: k at random, and some that show the parameters which these do not.

    An example whose gradient of a parameter is zero shows nothing of it. So for parameters out of `unseen`, which no
    example that was looked at has shown so far, that with the largest gradient is added, MOST_ADDED of them at most.
    """
    chosen = drawn(measured.n, k)
    if unseen:
        for norms in torch.stack([measured.squared_norms[name] for name in unseen]).cpu():
            if len(chosen) < k + MOST_ADDED and not bool((norms[chosen] > 0).any()):
                chosen.append(int(norms.argmax()))
    return chosen


def shown(measured: BatchSums, examples: Sequence[int]) -> set[str]:
    """Names of the parameters of which one of these examples of the batch has a gradient."""
    norms = chosen_norms(measured, examples)
    if not norms:
        return set()
    any_shown = (torch.stack([*norms.values()]) > 0).any(dim=1)
    return {name for name, it_is in zip(norms, any_shown.tolist(), strict=True) if it_is}


def chosen_norms(measured: BatchSums, examples: Sequence[int]) -> dict[str, Tensor]:
    """|g_i|^2 {parameter name: float64 [k]} of some examples of the batch."""
    index = sent(torch.tensor(examples), measured.losses.device)
    return {name: value.index_select(0, index) for name, value in measured.squared_norms.items()}


def drawn(n: int, k: int) -> list[int]:
    """Which k of n examples are drawn; decided by these numbers alone, so that the same call draws the same."""
    order = torch.randperm(n, generator=torch.Generator("cpu").manual_seed(n), device="cpu")
    return [int(i) for i in order[:k]]
