"""How the gradients of easy, hard and random examples agree."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd

from mcoherence.coherence import cosine_of_sums, cross_alignment
from mcoherence.study.result_names import DIFFICULTY_COHERENCE_SCHEMA
from mcoherence.study.runs import Run
from mcoherence.tables.columns import Column
from mcoherence.tables.rows import rows_of_blocks
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import Sums

COLUMNS = {
    "n_other": Column("examples", "how many the other group has"),
    "alignment": Column("share", "mean inner product of two examples' gradients over their root mean square norms"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """How the gradients of easy, hard and random examples agree: one row per run, checkpoint and pair of groups.

    Columns: run, step, epoch, group and other (easy_train, easy_test, hard_train, ...; a group with itself too), n,
    n_other, m_coherence, alpha and pairwise_alignment (of the group; NaN between two groups), alignment (mean inner
    product of an example of one and another example of the other over their root mean square norms; does not depend on
    n; of a group with itself it is its pairwise_alignment), cosine (of the two groups' mean gradients; positive: a
    small step along either lowers the loss of both), batch_norm, diverged.
    """
    return rows_of_runs(runs, noise, lambda run: agreement_of_file(Path(run.file(results, "difficulty_coherence"))))


def agreement_of_file(path: Path) -> pd.DataFrame:
    """The rows of one run, without the columns that name it, from its difficulty_coherence.h5."""
    sums = Sums.read(path, DIFFICULTY_COHERENCE_SCHEMA).over_parameters()
    blocks = []
    for a, b in combinations_with_replacement(sums.groups, 2):
        inner, totals, counts = sums.inner(a, b), (sums.total(a), sums.total(b)), (sums.count(a), sums.count(b))
        measures = sums.measures(a)
        if a == b:
            measured = measures | {"alignment": measures["pairwise_alignment"], "cosine": 1.0}
        else:
            measured = dict.fromkeys(measures, np.nan) | {
                "alignment": cross_alignment(inner, *totals, *counts),
                "cosine": cosine_of_sums(inner, sums.inner(a, a), sums.inner(b, b)),
            }
        names = {"step": sums.step, "epoch": sums.epoch, "group": a, "other": b, "n": counts[0], "n_other": counts[1]}
        blocks.append(names | measured | {"batch_norm": sums.batch_norm, "diverged": sums.diverged})
    return rows_of_blocks(blocks)
