"""Every training example of the runs that look for wrong labels, with what training showed of it.

Every score is turned so that more of it means more trust in the label: a gradient norm, a loss, an EL2N, a variability
and a number of forgetting events stand with a minus.

Index letters: K checkpoints, N examples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.files.hdf5 import open_hdf5
from mcoherence.measuring.difficulty import forgetting_events
from mcoherence.study.result_names import EXAMPLE_SCORES_SCHEMA, GRADIENT_SCORES, LOGIT_SCORES
from mcoherence.study.runs import Run
from mcoherence.tables.columns import Column
from mcoherence.tables.confusion import FIRST_EPOCH
from mcoherence.tables.difficulty import second_split_times
from mcoherence.tables.inputs import labels_of, training_answers
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import batch_norm_statistics

FloatArray = NDArray[np.float64]

# Scores that every checkpoint has: they are taken at the last one, and as a mean over training, that is over the
# checkpoints from the end of the first epoch on.
AT_CHECKPOINTS = {
    "class_cosine": Column("share", "cosine of its gradient and the sum of those of the others of its label"),
    "class_product": Column("(loss/weight)²", "product of its gradient and that sum"),
    "all_cosine": Column("share", "cosine of its gradient and the sum of all others'"),
    "all_product": Column("(loss/weight)²", "product of its gradient and the sum of all others'"),
    "gradient_norm": Column("loss/weight", "minus the norm of its gradient (GraNd, arXiv 2107.07075)"),
    "loss": Column("nats", "minus its cross-entropy"),
    "el2n": Column("share", "minus the norm of softmax less one-hot label (EL2N, arXiv 2107.07075)"),
    "margin": Column("logits", "logit of its label less the largest other; the mean is the AUM of arXiv 2001.10528"),
    "confidence": Column("share", "softmax of its label; the mean is the confidence of arXiv 2009.10795"),
}
OVER_TRAINING = {
    "variability": Column("share", "minus the standard deviation of its confidence over training (arXiv 2009.10795)"),
    "forgetting": Column("events", "minus its forgetting events; where never right, minus the number of checkpoints"),
    "second_split": Column("updates", "step of training on the other half from which it stays wrong; else one more"),
}
# Scores of predictions as evaluated, for which batch norm has the running statistics, whatever it has in measuring.
OF_PREDICTIONS = ("forgetting", "second_split")
LAST, MEAN = "last", "mean"
TRUSTED = "higher = more trusted"
COLUMNS = {
    "index": Column("", "position of the example in the training part"),
    **{
        f"{name}_{over}": Column(one.unit, f"{one.meaning}, {where}; {TRUSTED}")
        for name, one in AT_CHECKPOINTS.items()
        for over, where in ((LAST, "at the last checkpoint"), (MEAN, "mean over training"))
    },
    **{name: Column(one.unit, f"{one.meaning}; {TRUSTED}") for name, one in OVER_TRAINING.items()},
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """Every training example: one row per run and example.

    Columns: run, index, label, original, changed, the scores of AT_CHECKPOINTS as NAME_last and NAME_mean, those of
    OVER_TRAINING, batch_norm (of all scores but those OF_PREDICTIONS), diverged. A run that diverged by its end has no
    scores (NaN); an example whose half was trained by a run that did has no second_split.

    Args:
        results: the study's folder.
        runs: those on everything; the runs on halves are found by their names.
        noise: label set -> fraction of random labels.
    """
    return rows_of_runs(runs, noise, lambda run: _rows_of_run(results, run))


def trust(measured: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The scores of AT_CHECKPOINTS, float64 [K, N] each, higher where a label is more to be trusted.

    Args:
        measured: what example_scores.h5 holds, float64 [K, N] each.
    """
    return {
        "class_cosine": measured["class_cosine"],
        "class_product": measured["class_dot"],
        "all_cosine": measured["all_cosine"],
        "all_product": measured["all_dot"],
        "gradient_norm": -np.sqrt(measured["sq_norm"]),
        "loss": -measured["loss"],
        "el2n": -measured["el2n"],
        "margin": measured["margin"],
        "confidence": measured["confidence"],
    }


def _rows_of_run(results: str, run: Run) -> pd.DataFrame:
    """The rows of one run, without the columns that name it."""
    labels = labels_of(results, run)
    with open_hdf5(Path(run.file(results, "example_scores")), EXAMPLE_SCORES_SCHEMA) as file:
        epoch, diverged, batch_norm = file["epoch"][:], file["diverged"][:], batch_norm_statistics(file)
        measured = {name: file[name][:] for name in (*GRADIENT_SCORES, *LOGIT_SCORES)}
    last_step, correct, _ = training_answers(results, run, labels)
    trained = epoch >= min(FIRST_EPOCH, epoch[-1])
    scores: dict[str, FloatArray] = {}
    for name, values in trust(measured).items():
        scores[f"{name}_{LAST}"] = values[-1]
        scores[f"{name}_{MEAN}"] = values[trained].mean(axis=0)
    scores["variability"] = -measured["confidence"][trained].std(axis=0)
    scores["forgetting"] = -np.minimum(forgetting_events(correct), len(correct))
    _, forgotten = second_split_times(results, run, labels)
    scores["second_split"] = np.where(np.isinf(forgotten), last_step[-1] + 1, forgotten)
    lost = bool(diverged[-1])
    return pd.DataFrame(
        {
            "index": np.arange(len(labels.labels)),
            "label": labels.labels,
            "original": labels.original,
            "changed": labels.changed,
            **{name: np.where(lost, np.nan, values) for name, values in scores.items()},
            "batch_norm": batch_norm,
            "diverged": lost,
        }
    )
