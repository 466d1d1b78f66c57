"""The losses of a run's updates, and divergence: what shows it, and what it leaves of the weights."""

import math

import torch
from torch import Tensor, nn

from mcoherence.training.ranks import Ranks
from mcoherence.training.state import TrainingState


class Losses:
    """The losses of a segment's updates. They stay on the device until they are read, so that no update waits for one.

    diverged_at: the update whose loss was not finite, once it was read; None before.
    """

    def __init__(self, start: int, begin: TrainingState | None, ranks: Ranks) -> None:
        self.diverged_at = None if begin is None else begin.diverged_at
        self._start, self._ranks = start, ranks
        self._read = torch.zeros(0, dtype=torch.float64)
        self._unread: list[Tensor] = []
        if begin is not None:
            self._add(begin.losses)

    def append(self, loss: Tensor) -> None:
        """Add the loss of the next update, shape []; on several ranks that of this rank's share, times their number."""
        self._unread.append(loss)

    def read(self) -> Tensor:
        """All losses of the segment so far, float64 [updates] on the CPU; those after a divergence are left out."""
        if self._unread:
            self._add((self._ranks.total(torch.stack(self._unread)) / self._ranks.world).cpu().double())
            self._unread.clear()
        return self._read

    def known(self) -> Tensor:
        """The losses that were read so far, as `read` returns them; nothing is waited for."""
        return self._read

    def _add(self, losses: Tensor) -> None:
        if self.diverged_at is not None:
            return
        self._read = torch.cat([self._read, losses])
        not_finite = torch.nonzero(~torch.isfinite(self._read))
        if len(not_finite):
            self._read = self._read[: int(not_finite[0]) + 1]
            self.diverged_at = self._start + int(not_finite[0])


def is_finite(model: nn.Module) -> bool:
    """Whether all weights and buffers are finite numbers."""
    return bool(torch.stack([torch.isfinite(value).all() for value in model.state_dict().values()]).all())


@torch.no_grad()
def fill_with_nan(model: nn.Module) -> None:
    """Make the weights of a diverged run NaN, so that nothing computed from them can pass for a result."""
    for value in model.state_dict().values():
        value.fill_(math.nan if value.is_floating_point() else 0)
