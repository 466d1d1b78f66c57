"""What the statistic of a claim hands over: a number per seed, or an exact one, and what is to be known of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mcoherence.claims.nulls import Null, equal_conditions
from mcoherence.claims.settings import ClaimSettings

Tables = Mapping[str, pd.DataFrame]
PerSeed = pd.Series  # one number per seed, indexed by seed
DIVERGED = "diverged"  # key of the table of the rows that are left out


@dataclass(frozen=True)
class Rates:
    """The learning rates at which a part was tested, and those of them that are stable."""

    tested: tuple[float, ...]
    stable: tuple[float, ...]

    def __str__(self) -> str:
        texts = [f"{rate:g}{' (stable)' if rate in self.stable else ''}" for rate in self.tested]
        return ", ".join(texts) if len(texts) > 1 else f"one rate, {texts[0]}"


@dataclass(frozen=True)
class Measured:
    """One statistic: a number per seed, with what its verdict depends on besides.

    resolution: how far each number can be off because times are known to a checkpoint only.
    null: what the mean gives where there is nothing to find, see `mcoherence.claims.nulls`.
    margin: differences up to this one, in the statistic's unit, count as equality.
    saturated: whether all that is compared lies at the ceiling or at the floor, so that a difference could not show.
    rates: the learning rates that it was tested at; None where the statistic is not about training at a rate.
    note: what a reader should see beside the number, in words.
    decides: whether the claim's verdict hangs on it too; if not it is reported only.
    """

    per_seed: PerSeed
    resolution: float = 0.0
    null: Null | None = None
    margin: float = 0.0
    saturated: bool = False
    rates: Rates | None = None
    note: str = ""
    decides: bool = True


@dataclass(frozen=True)
class Exact:
    """One statistic of an experiment without chance: its value, and how far rounding can have moved it."""

    value: float
    rounding: float


Parts = Mapping[str, Measured | Exact]  # by the place where each was taken


def is_saturated(*accuracies: PerSeed) -> bool:
    """Whether all accuracies, of all seeds, are 1, or all are 0: what is compared has no room to differ."""
    numbers = np.concatenate([one.to_numpy(np.float64) for one in accuracies])
    return len(numbers) > 0 and bool((numbers == 1).all() or (numbers == 0).all())


def difference_of_accuracies(more: PerSeed, less: PerSeed, settings: ClaimSettings) -> Measured:
    """`more` minus `less` within a seed, two accuracies or measures in their unit.

    With the null of two equal conditions and the equivalence margin of the settings; saturated where all of both are 1,
    or 0.
    """
    return Measured(
        more - less,
        null=equal_conditions([more, less], settings.confidence),
        margin=settings.equivalence_margin,
        saturated=is_saturated(more, less),
    )
