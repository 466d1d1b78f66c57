"""What a network trained on easy, hard or random examples is right on."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mcoherence.data.subsets import SUBSETS
from mcoherence.study.runs import Run
from mcoherence.tables.columns import Column
from mcoherence.tables.inputs import evaluation_of, labels_of, split_of, targets_of
from mcoherence.tables.rows import TRAIN_SUBSET
from mcoherence.tables.runs import rows_of_runs

COLUMNS = {
    "train_subset": Column("", "part of the training images that the run trained on: easy, hard, random"),
    "test_subset": Column("", "what the run is tested on: held-out examples of a part, or original, the test images"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """Train on easy, hard or random, test on easy, hard, random or the original test part, at the last checkpoint.

    Columns: run (its subset as train_subset), test_subset, n, accuracy, loss, diverged.
    """
    rows = rows_of_runs(runs, noise, lambda run: _rows_of_run(results, run))
    return rows.rename(columns={"subset": TRAIN_SUBSET})


def _rows_of_run(results: str, run: Run) -> pd.DataFrame:
    labels, targets = labels_of(results, run).labels, targets_of(results, run)
    with evaluation_of(results, run) as file:
        train_correct, train_loss = file["train/prediction"][-1] == labels, file["train/loss"][-1]
        test_correct, test_loss = file["test/prediction"][-1] == targets, file["test/loss"][-1]
        diverged = bool(file["diverged"][-1])
    with split_of(results, run) as file:
        held_out = {subset: file[f"{subset}_test"][:] for subset in SUBSETS}
    scored = {subset: (train_correct[members], train_loss[members]) for subset, members in held_out.items()}
    scored["original"] = (test_correct, test_loss)
    return pd.DataFrame(
        [
            {
                "test_subset": subset,
                "n": len(correct),
                "accuracy": np.nan if diverged else float(correct.mean()),
                "loss": float(loss.mean(dtype=np.float64)),
                "diverged": diverged,
            }
            for subset, (correct, loss) in scored.items()
        ]
    )
