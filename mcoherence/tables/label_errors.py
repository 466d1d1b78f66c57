"""How well each score of single examples finds the labels that were changed.

Index letter: N examples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.files.tables import read_table
from mcoherence.study.result_names import NO_BATCH_NORM
from mcoherence.study.runs import Run, table_file
from mcoherence.tables.columns import RUN_COLUMNS, Column
from mcoherence.tables.examples import AT_CHECKPOINTS, LAST, MEAN, OF_PREDICTIONS, OVER_TRAINING
from mcoherence.tables.rank_statistics import probability_of_more

TRAINING = "training"  # of a score that is of the whole course of training
# (score, over) -> its column in the table examples
SCORES = {(name, over): f"{name}_{over}" for name in AT_CHECKPOINTS for over in (LAST, MEAN)} | {
    (name, TRAINING): name for name in OVER_TRAINING
}
COLUMNS = {
    "scheme": Column("", "how the selected labels were changed"),
    "ranked_by": Column("", "what examples are ranked by, as the table examples has it"),
    "over": Column(
        "", "the last checkpoint, the mean over checkpoints from the first epoch on, or the course of training"
    ),
    "wrong": Column("examples", "training examples whose label was changed, and the budget of false_negatives"),
    "auroc": Column("share", "chance that a wrong label is trusted less than a right one; ties count half"),
    "false_negatives": Column("share", "wrong labels that are not among the so many least trusted; ties as by chance"),
}


def table(
    results: str, _runs: Sequence[Run], _noise: Mapping[str, float], *, schemes: Mapping[str, str]
) -> pd.DataFrame:
    """The rows of `detections`, from the study's table examples.

    Args:
        results: the study's folder.
        schemes: label set -> how its labels were changed.
    """
    return detections(read_table(Path(table_file(results, "examples"))), schemes)


def detections(examples: pd.DataFrame, schemes: Mapping[str, str]) -> pd.DataFrame:
    """A row per run and score: how well the score tells changed labels from the others.

    Columns: run, scheme, ranked_by, over, n (examples), wrong, auroc, false_negatives, batch_norm (for the score),
    diverged. No numbers where an example has no score, or where no label was changed.

    Args:
        examples: the tidy table examples.
        schemes: label set -> how its labels were changed.
    """
    rows = []
    for keys, of_run in examples.groupby(list(RUN_COLUMNS), sort=False, observed=True):
        run = dict(zip(RUN_COLUMNS, keys, strict=True))
        changed = of_run["changed"].to_numpy(np.bool_)
        measured = str(of_run["batch_norm"].iloc[0])
        evaluated = NO_BATCH_NORM if measured == NO_BATCH_NORM else "running"
        for (score, over), column in SCORES.items():
            values = of_run[column].to_numpy(np.float64)
            found = {
                "scheme": schemes[str(run["labels"])],
                "ranked_by": score,
                "over": over,
                "n": len(changed),
                "wrong": int(changed.sum()),
                "auroc": auroc(values, changed),
                "false_negatives": false_negatives(values, changed),
                "batch_norm": evaluated if score in OF_PREDICTIONS else measured,
                "diverged": bool(of_run["diverged"].any()),
            }
            rows.append(run | found)
    return pd.DataFrame(rows)


def auroc(trust: NDArray[np.float64], changed: NDArray[np.bool_]) -> float:
    """Chance that a changed example is trusted less than one that is not, ties counting half.

    The area under the ROC curve, by the Mann-Whitney statistic; NaN where an example has no score, or where all labels
    or none were changed.

    Args:
        trust: float64 [N], higher = more trusted.
        changed: bool [N].

        >>> auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, True, False, False]))
        0.875
    """
    if np.isnan(trust).any():
        return float("nan")
    return probability_of_more(-trust[changed], -trust[~changed])


def false_negatives(trust: NDArray[np.float64], changed: NDArray[np.bool_]) -> float:
    """Share of the changed examples that are not among the least trusted, when as many are looked at as were changed.

    Where several at the cut are trusted alike, the mean over all choices among them. NaN as of `auroc`.

    Args:
        trust: float64 [N], higher = more trusted.
        changed: bool [N].

        >>> false_negatives(np.array([1.0, 2.0, 2.0, 3.0]), np.array([True, True, False, False]))
        0.25
    """
    budget = int(changed.sum())
    if not budget or budget == len(changed) or np.isnan(trust).any():
        return float("nan")
    cut = np.sort(trust)[budget - 1]
    below, at = trust < cut, trust == cut
    chance = (budget - int(below.sum())) / int(at.sum())
    return 1 - (int(changed[below].sum()) + chance * int(changed[at].sum())) / budget
