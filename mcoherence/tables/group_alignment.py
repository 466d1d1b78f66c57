"""How the gradient sums of two groups of examples lie to each other."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mcoherence.coherence import cosine_of_sums, cross_alignment, cross_m_coherence
from mcoherence.study.result_names import CORRUPT, GROUPS, HELDOUT, PRISTINE
from mcoherence.study.runs import Run
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK, Column
from mcoherence.tables.inputs import coherence_of
from mcoherence.tables.rows import rows_of_blocks
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import Sums

COLUMNS = {
    "group_a": Column("", "the one group of a pair: pristine, corrupt or heldout"),
    "group_b": Column("", "the other group of the pair: corrupt, heldout, or train (pristine and corrupt together)"),
    "n_a": Column("examples", "how many group_a has"),
    "n_b": Column("examples", "how many group_b has"),
    "inner": Column("(loss/weight)²", "S_a · S_b, the inner product of the two groups' summed gradients"),
    "cross_m_coherence": Column("examples", "S_a · S_b / √(Q_a Q_b); m-coherence where a and b are the same group"),
    "cross_alignment": Column("share", "mean inner product of one example of a and one of b over rms norms"),
}
# Disjoint groups only: train holds pristine and corrupt examples.
PAIRS = (
    (GROUPS[PRISTINE], GROUPS[CORRUPT]),
    (GROUPS[PRISTINE], GROUPS[HELDOUT]),
    (GROUPS[CORRUPT], GROUPS[HELDOUT]),
    (GROUPS[HELDOUT], TRAIN_GROUP),
)


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """How the gradient sums of two groups of examples lie to each other, per run, checkpoint and pair of groups.

    A pair with an empty group has NaN. Where mini-batches were measured there are no pristine and corrupt examples, and
    measures with Q are NaN. What the columns mean is in `COLUMNS` and in `mcoherence.tables.dictionary`.
    """
    return rows_of_runs(runs, noise, lambda run: alignment_of_pairs(coherence_of(results, run).over_parameters()))


def alignment_of_pairs(sums: Sums) -> pd.DataFrame:
    """The rows of one run, without the columns that name it."""
    blocks = []
    for a, b in (pair for pair in PAIRS if all(map(sums.has, pair))):
        inner, totals, counts = sums.inner(a, b), (sums.total(a), sums.total(b)), (sums.count(a), sums.count(b))
        blocks.append(
            {
                "step": sums.step,
                "epoch": sums.epoch,
                "group_a": a,
                "group_b": b,
                "layer": WHOLE_NETWORK,
                "n_a": counts[0],
                "n_b": counts[1],
                "inner": inner,
                "cosine": cosine_of_sums(inner, sums.inner(a, a), sums.inner(b, b)),
                "cross_m_coherence": cross_m_coherence(inner, *totals),
                "cross_alignment": cross_alignment(inner, *totals, *counts),
                "batch_norm": sums.batch_norm,
                "diverged": sums.diverged,
            }
        )
    return rows_of_blocks(blocks)
