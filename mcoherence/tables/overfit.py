"""How far the training accuracy on noisy labels goes beyond what a network that does not memorise would reach.

Labels are uniform or permuted at random: a label that is selected for randomisation is any of the C classes with the
same chance, the true one among them. Source: arXiv 2002.10657, winsorised SGD and its overfit measure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mcoherence.study.runs import Run
from mcoherence.tables.accuracy import accuracy_of_run
from mcoherence.tables.columns import Column
from mcoherence.tables.inputs import classes_of, labels_of, scheme_of
from mcoherence.tables.runs import rows_of_runs

Float64Array = NDArray[np.float64]
RANDOM_SCHEMES = ("uniform", "permute")  # a selected label is any class with the same chance
COLUMNS = {
    "c": Column("percent", "percentile that winsorised SGD clips at each end; 0 for SGD that is alike but for that"),
    "alike": Column("", "number of the family of optimisers that differ in c alone; -1 for none"),
    "classes": Column("classes", "C, how many the data set has"),
    "pristine_share": Column("share", "training labels that the corruption left as they were"),
    "proper_accuracy": Column("share", "1 - ε + ε/C, training accuracy of a network that predicts every true label"),
    "overfit": Column("share", "train_accuracy - [ε/C + (1 - ε) test_accuracy] (arXiv 2002.10657)"),
}


def overfit(train_accuracy: ArrayLike, test_accuracy: ArrayLike, noise: ArrayLike, classes: ArrayLike) -> Float64Array:
    """Ta - [eps / C + (1 - eps) va]: training accuracy beyond what the test accuracy accounts for.

    A network that is right on a clean training label as often as on a test label, and on a randomised one by chance,
    has 0.

    Args:
        train_accuracy: ta, with the labels trained on, any shape [...].
        test_accuracy: va, with clean labels, a shape that broadcasts with it.
        noise: eps, the fraction of labels selected for randomisation.
        classes: C, their number.
    """
    ta, va, eps, count = (
        np.asarray(value, dtype=np.float64) for value in (train_accuracy, test_accuracy, noise, classes)
    )
    return np.asarray(ta - (eps / count + (1.0 - eps) * va))


def proper_accuracy(noise: ArrayLike, classes: ArrayLike) -> Float64Array:
    """1 - eps + eps / C: what a network that predicts every true label scores on the noisy ones, in expectation.

    Args:
        noise: eps, the fraction of labels selected for randomisation.
        classes: C, their number.
    """
    eps, count = np.asarray(noise, dtype=np.float64), np.asarray(classes, dtype=np.float64)
    return np.asarray(1.0 - eps + eps / count)


def table(
    results: str, runs: Sequence[Run], noise: Mapping[str, float], *, winsorization: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """How far each run's training accuracy goes beyond what the test accuracy accounts for, per checkpoint.

    An optimiser of no family has NaN as its c; a scheme of corruption other than uniform and permute has NaN as
    proper_accuracy and overfit. What the columns mean is in `COLUMNS` and in `mcoherence.tables.dictionary`.

    Args:
        results: the study's folder.
        runs: those of the label-noise experiment.
        noise: label set -> eps.
        winsorization: optimiser -> {"c": ..., "alike": ...}, of those that belong to a family.
    """

    def rows_of(run: Run) -> pd.DataFrame:
        family = winsorization.get(run.optimizer, {"c": np.nan, "alike": -1})
        rows = _rows_of_run(results, run, noise[run.labels]).assign(c=float(family["c"]), alike=family["alike"])
        return rows[["c", "alike", *rows.columns.drop(["c", "alike"])]]

    return rows_of_runs(runs, noise, rows_of)


def _rows_of_run(results: str, run: Run, eps: float) -> pd.DataFrame:
    classes = classes_of(results, run)
    rows = accuracy_of_run(results, run)
    train, test = (rows[rows["part"] == part].reset_index(drop=True) for part in ("train", "test"))
    at_random = eps == 0 or scheme_of(results, run) in RANDOM_SCHEMES
    ta, va = train["accuracy"], test["accuracy"]
    return pd.DataFrame(
        {
            "step": train["step"],
            "epoch": train["epoch"],
            "classes": classes,
            "train_accuracy": ta,
            "test_accuracy": va,
            "pristine_share": float(1 - labels_of(results, run).changed.mean()),
            "proper_accuracy": float(proper_accuracy(eps, classes)) if at_random else np.nan,
            "overfit": overfit(ta, va, eps, classes) if at_random else np.nan,
            "diverged": train["diverged"],
        }
    )
