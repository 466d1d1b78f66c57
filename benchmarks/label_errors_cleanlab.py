"""cleanlab's label quality scores beside ours, on the labels of a study that looks for wrong ones.

    python benchmarks/label_errors_cleanlab.py --config studies/label_errors.yaml [...] [--seeds 0 1] [--json FILE]

Needs cleanlab (`pip install cleanlab`, in an environment of its own beside the study's requirements) and the study's
results: its images, labels and tables/label_errors.csv. The network of each run is trained five times, as the study
trains it, on four fifths of the training examples with the labels that were given, stratified by these. So every
example has the softmax of a network that never saw it, at every checkpoint. Those of the last one, and their mean over
the checkpoints from the end of the first epoch on, are handed to `cleanlab.rank.get_label_quality_scores`, by its three
methods.

Printed are AUROCs as means over the seeds, of cleanlab's scores and then of ours, which are taken along one training on
all examples. AUROC is that of the table label_errors: the chance that a wrong label is trusted less than a right one.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from snakemake.utils import validate
from torch import nn

from mcoherence.data.loading import LabelledExamples, image_loader
from mcoherence.data.store import read_labels
from mcoherence.study.config_files import study_config
from mcoherence.study.experiments.label_errors import grids
from mcoherence.study.runs import Config, Run, images_of, results_folder, runs_of_grids
from mcoherence.study.segments import checkpoint_steps
from mcoherence.study.settings import training_of_run, training_settings
from mcoherence.tables.confusion import FIRST_EPOCH
from mcoherence.tables.label_errors import auroc, false_negatives
from mcoherence.training.loop import train
from mcoherence.training.settings import Execution, TrainingSettings

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
FOLDS = 5
METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
OURS = (("loss", "last"), ("loss", "mean"), ("margin", "mean"), ("class_cosine", "last"), ("class_cosine", "mean"))
KEYS = ["dataset", "model", "labels"]


def main() -> None:
    """Train the folds of every run, score, and print beside the study's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="of the study, on top of config.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", help="those of the study by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = dict(study_config(ROOT / "config.yaml", arguments.config, {}).config)
    validate(config, str(ROOT / "schemas/config.schema.json"))
    results = results_folder(config)
    runs = [run for run in runs_of_grids(grids(config)) if arguments.seeds is None or run.seed in arguments.seeds]
    ours = pd.read_csv(f"{results}/tables/label_errors.csv")
    ours = ours[ours["seed"].isin({run.seed for run in runs})]
    rows = []
    for number, run in enumerate(runs, start=1):
        rows += scored(config, results, run)
        print(f"{number} of {len(runs)} runs", file=sys.stderr)
    theirs = pd.DataFrame(rows)
    print_means(theirs, ours)
    if arguments.json:
        means = theirs.groupby([*KEYS, "ranked_by", "over"], sort=False)[["auroc", "false_negatives"]].mean().round(4)
        arguments.json.write_text(json.dumps(means.reset_index().to_dict("records"), indent=1) + "\n")


def scored(config: Config, results: str, run: Run) -> list[dict[str, object]]:
    """A row for each of cleanlab's methods, at the last checkpoint and for the mean over training."""
    given = read_labels(Path(run.file(results, "labels")))
    along_training = out_of_sample(config, Path(run.file(results, images_of(config, run))), run, given.labels)
    rows: list[dict[str, object]] = []
    for over, chances in (("last", along_training[-1]), ("mean", along_training.mean(axis=0))):
        for method in METHODS:
            quality = np.asarray(get_label_quality_scores(given.labels, chances, method=method))
            found = {
                "auroc": auroc(quality, given.changed),
                "false_negatives": false_negatives(quality, given.changed),
            }
            of_run = {key: getattr(run, key) for key in (*KEYS, "seed")}
            rows.append({**of_run, "ranked_by": method, "over": over, **found})
    return rows


def out_of_sample(config: Config, images: Path, run: Run, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The softmax of every training example by a network that was not trained on it, float64 [K, N, classes].

    K counts the checkpoints from the end of the first epoch on.
    """
    training = training_of_run(config, run)
    asked = training_settings(config, run, 0, training["updates"])
    settings = TrainingSettings(**{name: asked[name] for name in TrainingSettings.__dataclass_fields__})
    settings = replace(settings, checkpoint_steps=tuple(checkpoint_steps(training)))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=run.seed)
    by_fold = [
        (other, fold_chances(settings, images, labels, trained, other))
        for trained, other in folds.split(labels, labels)
    ]
    checkpoints, classes = by_fold[0][1].shape[0], by_fold[0][1].shape[2]
    chances = np.empty((checkpoints, len(labels), classes))
    for other, of_fold in by_fold:
        chances[:, other] = of_fold
    return chances


def fold_chances(
    settings: TrainingSettings,
    images: Path,
    labels: NDArray[np.int64],
    trained: Sequence[int],
    other: Sequence[int],
) -> NDArray[np.float64]:
    """Train on some examples, and the softmax of the others along training, float64 [K, n, classes]."""
    positions = np.asarray(trained, dtype=np.int64)
    examples = LabelledExamples(image_loader(images, positions, CPU), torch.from_numpy(labels[positions]))
    left = np.asarray(other, dtype=np.int64)
    (inputs,) = image_loader(images, left, CPU).batches([(0, np.arange(len(left)))])
    found: list[NDArray[np.float64]] = []

    def save(_step: int, epoch: float, model: nn.Module, _diverged_at: int | None) -> None:
        if epoch >= FIRST_EPOCH:
            mode = model.training
            with torch.no_grad():
                found.append(model.eval()(inputs).double().softmax(dim=1).numpy())
            model.train(mode)

    train(settings, examples, Execution(CPU), save)
    return np.stack(found)


def print_means(theirs: pd.DataFrame, ours: pd.DataFrame) -> None:
    """AUROCs as means over the seeds, a line per score, a column per label set."""
    chosen = ours[[pair in OURS for pair in zip(ours["ranked_by"], ours["over"], strict=True)]]
    both = pd.concat([theirs.assign(whose="cleanlab"), chosen.assign(whose="ours")])
    for (dataset, model), rows in both.groupby(["dataset", "model"], sort=False):
        table = rows.pivot_table(index=["whose", "ranked_by", "over"], columns="labels", values="auroc", sort=False)
        print(f"{dataset}, {model}, AUROC, means of {rows['seed'].nunique()} seeds\n{table.round(3).to_string()}\n")


if __name__ == "__main__":
    main()
