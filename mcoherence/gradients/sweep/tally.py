"""What is counted while the batches of one call are measured, and the evidence that it adds up to.

Index letters: G groups, P parameters.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.batch.evidence import Evidence, bound_ratio
from mcoherence.gradients.batch.group_sums import sq_norms_of_sums
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.checks.checks import AlreadyChecked, Checks
from mcoherence.gradients.given.trees import length, require_parts

NOTHING_CHECKED = AlreadyChecked()


class Tally:
    """What is counted while the batches of one call are measured.

    checks: of the batches, against examples alone.
    """

    def __init__(self, passes: Passes, spot_check: int, parts: int, before: AlreadyChecked = NOTHING_CHECKED) -> None:
        """Nothing counted yet.

        Args:
            passes: those through the model.
            spot_check: number of examples of a batch to measure once more; 0 for none.
            parts: of a batch, 2 or with group ids 3.
            before: what checks of an earlier call have looked at.
        """
        self.checks = Checks(passes, spot_check, before)
        self._passes = passes
        self._parts = parts
        self._asked = 0
        self._uncovered: set[str] = set()

    def counted(self, batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """The batches as they are, their examples counted as they are handed on."""
        if not isinstance(batches, Iterable):
            raise ValueError(
                f"batches: found {type(batches).__name__}, expected a list or a loader of (inputs, targets); the "
                "arguments are a model, a loss function and the batches, in this order"
            )
        for batch in batches:
            require_parts(batch, self._parts)
            self._asked += length(batch[0])
            yield batch

    def take(self, measured: BatchSums) -> None:
        """Note which parameters of a batch are in its sums without a squared norm."""
        self._uncovered.update(measured.sums.keys() - measured.squared_norms.keys())

    def evidence(
        self, counts: NDArray[np.int64], sum_sq_norms: NDArray[np.float64], group_sums: Sequence[Tensor]
    ) -> Evidence:
        """What the tally and the finished statistics, of which it was kept, are evidence of.

        Args:
            counts: number of examples per group, int64 [G].
            sum_sq_norms: Q per group and parameter, float64 [G, P].
            group_sums: S per parameter, one tensor [G, *parameter shape] each.

        Raises:
            IdentityError: |S|^2 / (n Q) of a group and layer is above 1.
        """
        parameters = self._passes.parameters
        return Evidence(
            examples_asked=self._asked,
            examples_measured=int(counts.sum()),
            parameters_trainable=sum(p.numel() for p in parameters.values()),
            parameters_covered=sum(p.numel() for name, p in parameters.items() if name not in self._uncovered),
            bound_ratio=bound_ratio(
                sq_norms_of_sums(group_sums, len(counts)),
                sum_sq_norms,
                counts,
                tuple(parameters),
                torch.float64 if {s.dtype.to_real() for s in group_sums} == {torch.float64} else torch.float32,
            ),
            spot_examples=self.checks.spot_examples,
            spot_relative_error=self.checks.spot_error,
            spot_at_kink=self.checks.at_kink,
            by_whole_model=tuple(name for name in parameters if name in self._passes.capture.routed),
        )
