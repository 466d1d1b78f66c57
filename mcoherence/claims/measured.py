"""What the statistic of a claim hands over: a number per seed, or an exact one, and what is to be known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mcoherence.claims.nulls import Null, equal_conditions
from mcoherence.claims.settings import ClaimSettings

Tables = Mapping[str, pd.DataFrame]
PerSeed = pd.Series  # one number per seed, indexed by seed
Unit = Literal["factor", "doublings", "points", "number"]
"""What a statistic is to a person: log10 or log2 of how many times, a difference of accuracies or shares, a number."""
SATURATED = "saturated"  # why a part is open whose values lie at the ceiling or at the floor, all of them
DIVERGED = "diverged"  # key of the table of the rows that are left out


@dataclass(frozen=True)
class LearningRate:
    """A learning rate of SGD that a study has for a data set and network.

    lr: of the optimiser entry, the first of a schedule; stable: whether no run fell back, see
    `mcoherence.claims.learning_rates`; here: whether the part is of runs at this rate, and not tested at it elsewhere
    in its claim.
    """

    lr: float
    stable: bool
    here: bool = True

    def __str__(self) -> str:
        return f"{self.lr:g} ({'stable' if self.stable else 'not stable'})"


Rates = Mapping[str, LearningRate]  # optimiser entry -> its rate


def rates_in_words(rates: Rates) -> str:
    """The rate of a part, and those at which its claim is tested too, as text.

    >>> rates_in_words({"sgd": LearningRate(0.3, False), "slow": LearningRate(0.1, True, here=False)})
    '0.3 (not stable); elsewhere 0.1 (stable)'
    >>> rates_in_words({"sgd": LearningRate(0.1, True)})
    'one rate, 0.1 (stable)'
    """
    here, elsewhere = (", ".join(str(one) for one in rates.values() if one.here == here) for here in (True, False))
    return f"{here}; elsewhere {elsewhere}" if elsewhere else f"one rate, {here}"


@dataclass(frozen=True)
class Measured:
    """One statistic: a number per seed, with what its verdict depends on besides.

    null: what the mean gives where there is nothing to find, see `mcoherence.claims.nulls`.
    resolution: how far each number can be off because times are known to a checkpoint only.
    margin: differences up to this one, in the statistic's unit, count as equality.
    states_level: whether 0 is a level that the claim states of one condition, such as "near 1", and no tie of two.
        Below it the claim is wrong even where nothing to find gives no more; a tie is refuted by its opposite alone.
    open_because: why the part stays inconclusive whatever its numbers are, in words; empty where they decide.
    missing_because: why a seed may have no number, in words.
    trained: data set, network and optimiser entry of SGD, where the place does not begin with these.
    rates: the rates that the study has for this network under SGD, which `mcoherence.claims.learning_rates` fills in.
    note: what a reader should see beside the number, in words.
    decides: whether the claim's verdict hangs on it too; if not it is reported only.
    unit: of the number, where it is not that of the claim.
    """

    per_seed: PerSeed
    null: Null
    resolution: float = 0.0
    margin: float = 0.0
    states_level: bool = False
    open_because: str = ""
    missing_because: str = ""
    trained: tuple[str, str, str] | None = None
    rates: Rates | None = None
    note: str = ""
    decides: bool = True
    unit: Unit | None = None


@dataclass(frozen=True)
class Exact:
    """One statistic of an experiment without chance: its value, and how far rounding can have moved it."""

    value: float
    rounding: float
    unit: Unit | None = None


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
        open_because=SATURATED if is_saturated(more, less) else "",
    )
