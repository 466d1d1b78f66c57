"""Two label sets compared within a seed: beyond what labels redrawn give at the same weights, and at equal loss.

That m-coherence is higher with one kind of labels may be a matter of the weights alone, see `trajectory`. Labels that
are redrawn show it: whatever they give as well is not about the labels that were learned.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.claims import nulls
from mcoherence.claims.intervals import students_t
from mcoherence.claims.measured import Measured, Tables
from mcoherence.claims.rows import LabelSet, past_transient
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.sgd_curves import KEYS, Place, curves_by_place
from mcoherence.tables.curves import at_losses
from mcoherence.tables.rows import run_keys

NOT_MEASURED = "of the others labels redrawn were not measured"
NOT_LOWER = "less than with labels redrawn, but not below 0 by itself"


def beyond_redrawn(
    own: pd.Series,
    by_chance: pd.Series,
    one: LabelSet,
    other: LabelSet,
    settings: ClaimSettings,
    missing_because: str = "",
    resolution: float = 0.0,
) -> Measured:
    """How far `one` is above `other`: by itself, or beyond the same of labels redrawn, whichever is less, by seed.

    By itself where labels redrawn were not measured. Null: the same of different seeds of one label set. A claim is
    about the difference itself, so that it is refuted only where that is below 0 too.

    Args:
        own: a number of each run, by label set and seed.
        by_chance: the same of the same weights with labels redrawn; NaN where that was not measured.
        one: the label set that the claim says has more.
        other: that which has less.
        settings: of the study.
        missing_because: why a seed may have no number, in words.
        resolution: how far a difference can be off; that of labels redrawn can be as far.
    """
    both = [one.labels, other.labels]
    difference = own[one.labels] - own[other.labels]
    if by_chance[both].isna().all():
        null = nulls.equal_conditions([own[labels] for labels in both], settings.confidence)
        return Measured(difference, null=null, missing_because=missing_because, resolution=resolution)
    numbers = [pd.DataFrame({"own": own[labels], "excess": (own - by_chance)[labels]}) for labels in both]
    beyond = numbers[0]["excess"] - numbers[1]["excess"]
    per_seed = pd.concat([difference, beyond], axis=1).min(axis=1, skipna=False)
    only_redrawn_missing = any((one["own"].notna() & one["excess"].isna()).any() for one in numbers)
    found = Measured(
        per_seed,
        null=nulls.equal_conditions(numbers, settings.confidence, _least),
        missing_because=NOT_MEASURED if only_redrawn_missing else missing_because,
        resolution=2 * resolution,
    )
    if len(per_seed) < 2 or not np.isfinite(per_seed).all():
        return found
    is_lower = students_t(difference.to_numpy(np.float64), settings.confidence)[1] + resolution < 0
    return replace(
        found,
        note=f"by itself {difference.mean():+.3f}, beyond the same of labels redrawn {beyond.mean():+.3f}",
        open_because=NOT_LOWER if per_seed.mean() < 0 and not is_lower else "",
    )


def _least(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least of the differences of V numbers, [D, V] each -> [D]."""
    return np.asarray((a - b).min(axis=1))


def curves_at_losses(
    tables: Tables, settings: ClaimSettings, shares: Sequence[float]
) -> list[tuple[Place, tuple[pd.DataFrame, pd.DataFrame]]]:
    """log10 m-coherence at shares of the training loss before training, and the same of labels redrawn.

    Each a row per (labels, seed), a column per share. NaN at a loss that the run has not passed since the end of its
    transient. The loss before training is the mean over the runs of a place, so that all its runs are compared at the
    same losses.
    """
    loss = tables["accuracy"].query("part == 'train'")[[*run_keys(tables["accuracy"]), "step", "loss"]]
    found = []
    for place, curves in curves_by_place(tables, settings):
        keys = run_keys(curves)
        joined = curves.merge(loss, on=[*keys, "step"]).sort_values("step")
        first = past_transient(joined, settings).groupby(keys)["step"].min()
        levels = np.array(shares) * joined.loc[joined["step"] == joined["step"].min(), "loss"].mean()
        frames = []
        for name in ("m_coherence", "redrawn"):
            rows = {}
            for key, run in joined.groupby(keys):
                begin = int((run["step"] < first.get(key, np.inf)).sum())
                labels_and_seed = tuple(run[name_of_key].iloc[0] for name_of_key in KEYS)
                rows[labels_and_seed] = at_losses(run["loss"], run[name], levels, begin)
            index = pd.MultiIndex.from_tuples(list(rows), names=KEYS)
            frames.append(pd.DataFrame(list(rows.values()), index=index, columns=list(shares)).sort_index())
        found.append((place, (frames[0], frames[1])))
    return found


def at_equal_loss(
    at_loss: tuple[pd.DataFrame, pd.DataFrame], less: LabelSet, more: LabelSet, settings: ClaimSettings
) -> Measured:
    """Mean difference of log10 m-coherence of two label sets over the losses that all runs of both have passed."""
    own, by_chance = (one.loc[[less.labels, more.labels]] for one in at_loss)
    passed = own.dropna(axis=1).columns
    if passed.empty:
        no_loss = pd.Series(np.nan, index=own.xs(less.labels, level="labels").index)
        missing = "there is no loss that all runs have passed"
        return Measured(no_loss, null=nulls.unknown("losses that all runs have passed"), missing_because=missing)
    means, means_by_chance = (one[passed].mean(axis=1, skipna=False) for one in (own, by_chance))
    found = beyond_redrawn(means, means_by_chance, less, more, settings)
    note = f"at {', '.join(f'{share:g}' for share in passed)} of the loss before training"
    return replace(found, note=f"{note}; {found.note}" if found.note else note)
