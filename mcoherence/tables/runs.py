"""Result files of many runs -> tidy tables, one row per observation.

Every table begins with the columns that name a run: dataset, model, labels, noise (the fraction of labels that was
selected for randomisation), optimizer, subset, seed. A run that diverged has `diverged` True from the first checkpoint
after the divergence on, and NaN for all that is measured there.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcoherence.coherence import alpha, m_coherence, pairwise_alignment
from mcoherence.data.store import Labels, read_labels, read_targets
from mcoherence.data.subsets import SPLIT_SCHEMA, SUBSETS
from mcoherence.files.hdf5 import open_hdf5, read_names
from mcoherence.measuring.difficulty import learned_at
from mcoherence.study.result_names import COHERENCE_SCHEMA, CORRUPT, EVALUATION_SCHEMA, GROUPS, PRISTINE
from mcoherence.study.runs import Run, adversarial_start_runs, easy_hard_runs, label_noise_runs, sample_size_runs

WHOLE_NETWORK = "model"
TRAIN_GROUP = "train"  # pristine and corrupt examples together


def accuracy_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """Accuracy and mean loss per run, checkpoint and part (train, pristine, corrupt, test).

    Columns: run, step, epoch, part, n, accuracy, loss, diverged. Train, pristine and corrupt are scored on the labels
    that the run trains on; test labels are clean. A part without examples has NaN.
    """
    frames = []
    for run in label_noise_runs(experiment):
        labels = read_labels(Path(run.labels_path(results)))
        targets = read_targets(_images_path(results, run), "test")
        frames.append(of_run(run, noise, accuracy_of_run(_evaluation_path(results, run), labels, targets)))
    return pd.concat(frames, ignore_index=True)


def accuracy_of_run(evaluation: Path, labels: Labels, test_targets: NDArray[np.int64]) -> pd.DataFrame:
    """The rows of one run of `accuracy_table`, without the columns that name the run."""
    with open_hdf5(evaluation, EVALUATION_SCHEMA) as file:
        step, epoch, diverged = file["step"][:], file["epoch"][:], file["diverged"][:]
        correct = {
            "train": file["train/prediction"][:] == labels.labels,
            "test": file["test/prediction"][:] == test_targets,
        }
        loss = {part: file[f"{part}/loss"][:].astype(np.float64) for part in correct}
    everything = np.ones(len(labels.labels), dtype=np.bool_)
    parts = {
        "train": ("train", everything),
        "pristine": ("train", ~labels.changed),
        "corrupt": ("train", labels.changed),
        "test": ("test", np.ones(len(test_targets), dtype=np.bool_)),
    }
    frames = [
        pd.DataFrame(
            {
                "step": step,
                "epoch": epoch,
                "part": name,
                "n": int(mask.sum()),
                "accuracy": np.where(diverged, np.nan, _mean_over(correct[source], mask)),
                "loss": _mean_over(loss[source], mask),
                "diverged": diverged,
            }
        )
        for name, (source, mask) in parts.items()
    ]
    return pd.concat(frames, ignore_index=True)


def learning_time_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """When the examples of a run are learned for good: one row per run and group (all, pristine, corrupt).

    Columns: run, group, n, learned (share that is right at the last checkpoint), median_step (the median of
    `difficulty.learned_at`, inf where at most half are learned, NaN without examples), diverged (NaN in both then).
    """
    rows = []
    for run in label_noise_runs(experiment):
        labels = read_labels(Path(run.labels_path(results)))
        with open_hdf5(_evaluation_path(results, run), EVALUATION_SCHEMA) as file:
            learned = learned_at(file["train/prediction"][:] == labels.labels, file["step"][:])
            diverged = bool(file["diverged"][-1])
        masks = {"all": np.ones_like(labels.changed), "pristine": ~labels.changed, "corrupt": labels.changed}
        for group, mask in masks.items():
            chosen = np.sort(learned[mask])
            measured = len(chosen) > 0 and not diverged
            rows.append(
                {
                    **run_columns(run, noise),
                    "group": group,
                    "n": len(chosen),
                    "learned": float(np.isfinite(chosen).mean()) if measured else np.nan,
                    # The upper median: an average with inf would be inf all the same.
                    "median_step": float(chosen[len(chosen) // 2]) if measured else np.nan,
                    "diverged": diverged,
                }
            )
    return pd.DataFrame(rows)


def coherence_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """Gradient coherence per run, checkpoint, group and layer.

    Columns: run, step, epoch, group (train, pristine, corrupt, heldout), layer ("model" or a layer's name), layer_type
    (class of the layer's module, such as Conv2d, Linear or BatchNorm2d; "" for the model), n, sum_sq_norm (Q),
    sq_norm_of_sum (|S|^2), m_coherence, alpha, pairwise_alignment, diverged.
    """
    frames = [
        of_run(run, noise, coherence_of_run(Path(f"{run.path(results)}/coherence.h5")))
        for run in label_noise_runs(experiment)
    ]
    return pd.concat(frames, ignore_index=True)


def coherence_of_run(path: Path) -> pd.DataFrame:
    """The rows of one run of `coherence_table`, without the columns that name the run."""
    with open_hdf5(path, COHERENCE_SCHEMA) as file:
        step, epoch, n, diverged = (file[name][:] for name in ("step", "epoch", "n", "diverged"))
        total, gram = file["sum_sq_norm"][:], file["gram"][:]
        layers, parameter_layer = read_names(file, "layer"), file["parameter_layer"][:]
        types = {WHOLE_NETWORK: ""} | dict(zip(layers, read_names(file, "layer_type"), strict=True))
    groups = {TRAIN_GROUP: [PRISTINE, CORRUPT]} | {name: [index] for index, name in enumerate(GROUPS)}
    scopes = {WHOLE_NETWORK: np.ones(len(parameter_layer), dtype=np.bool_)}
    scopes |= {name: parameter_layer == index for index, name in enumerate(layers)}
    frames = []
    for group, members in groups.items():
        count = n[:, members].sum(axis=1)
        for layer, parameters in scopes.items():
            sum_sq_norm = total[:, members][..., parameters].sum(axis=(1, 2))
            squared = gram[:, members][:, :, members][..., parameters].sum(axis=(1, 2, 3))
            frames.append(
                pd.DataFrame(
                    {
                        "step": step,
                        "epoch": epoch,
                        "group": group,
                        "layer": layer,
                        "layer_type": types[layer],
                        "n": count,
                        "sum_sq_norm": sum_sq_norm,
                        "sq_norm_of_sum": squared,
                        "m_coherence": m_coherence(squared, sum_sq_norm),
                        "alpha": alpha(squared, sum_sq_norm, count),
                        "pairwise_alignment": pairwise_alignment(squared, sum_sq_norm, count),
                        "diverged": diverged,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def easy_hard_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """Train on easy, hard or random, test on easy, hard, random or the original test part, at the last checkpoint.

    Columns: run (its subset as train_subset), test_subset, n, accuracy, loss, diverged.
    """
    rows = []
    for run in easy_hard_runs(experiment):
        labels = read_labels(Path(run.labels_path(results))).labels
        targets = read_targets(_images_path(results, run), "test")
        with open_hdf5(_evaluation_path(results, run), EVALUATION_SCHEMA) as file:
            train_correct, train_loss = file["train/prediction"][-1] == labels, file["train/loss"][-1]
            test_correct, test_loss = file["test/prediction"][-1] == targets, file["test/loss"][-1]
            diverged = bool(file["diverged"][-1])
        with open_hdf5(Path(f"{results}/splits/{run.dataset}/{run.model}/split.h5"), SPLIT_SCHEMA) as file:
            scored = {
                subset: (train_correct[file[f"{subset}_test"][:]], train_loss[file[f"{subset}_test"][:]])
                for subset in SUBSETS
            }
        scored["original"] = (test_correct, test_loss)
        for subset, (correct, loss) in scored.items():
            rows.append(
                {
                    **run_columns(run, noise),
                    "test_subset": subset,
                    "n": len(correct),
                    "accuracy": np.nan if diverged else float(correct.mean()),
                    "loss": float(loss.mean(dtype=np.float64)),
                    "diverged": diverged,
                }
            )
    return pd.DataFrame(rows).rename(columns={"subset": "train_subset"})


def sample_size_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """The whole network's coherence on training samples of several sizes: a row per run, size and checkpoint.

    Columns: run, step, epoch, m (examples in the sample), m_coherence, alpha, diverged.
    """
    columns = ["step", "epoch", "n", "m_coherence", "alpha", "diverged"]
    frames = []
    for run in sample_size_runs(experiment):
        names = ["coherence.h5", *(f"coherence_m{size}.h5" for size in experiment["sizes"])]
        for name in names:
            rows = coherence_of_run(Path(f"{run.path(results)}/{name}"))
            whole = rows[(rows["group"] == TRAIN_GROUP) & (rows["layer"] == WHOLE_NETWORK)]
            frames.append(of_run(run, noise, whole[columns].reset_index(drop=True)))
    return pd.concat(frames, ignore_index=True).rename(columns={"n": "m"})


def adversarial_start_table(results: str, experiment: Mapping[str, Any], noise: Mapping[str, float]) -> pd.DataFrame:
    """Accuracy while training from fresh weights and from weights that had fitted other labels.

    Columns: run, start (fresh or adversarial), step, epoch, part (train, test; easy and hard: the training examples
    that reference runs from fresh weights learn early or late), n, accuracy, diverged.
    """
    frames = []
    for run in adversarial_start_runs(experiment):
        labels = read_labels(Path(run.labels_path(results))).labels
        targets = read_targets(_images_path(results, run), "test")
        with open_hdf5(Path(f"{results}/splits/{run.dataset}/{run.model}/split.h5"), SPLIT_SCHEMA) as file:
            chosen = {
                name: np.concatenate([file[f"{name}_{part}"][:] for part in ("train", "test")])
                for name in ("easy", "hard")
            }
        with open_hdf5(_evaluation_path(results, run), EVALUATION_SCHEMA) as file:
            step, epoch, diverged = (file[name][:] for name in ("step", "epoch", "diverged"))
            train, test = file["train/prediction"][:] == labels, file["test/prediction"][:] == targets
        parts = {"train": train, "test": test, "easy": train[:, chosen["easy"]], "hard": train[:, chosen["hard"]]}
        start = "fresh" if run.optimizer == experiment["optimizer"] else "adversarial"
        for part, correct in parts.items():
            columns = {
                "start": start,
                "step": step,
                "epoch": epoch,
                "part": part,
                "n": correct.shape[1],
                "accuracy": np.where(diverged, np.nan, correct.mean(axis=1)),
                "diverged": diverged,
            }
            frames.append(of_run(run, noise, pd.DataFrame(columns)))
    return pd.concat(frames, ignore_index=True)


TABLES = {
    "accuracy": accuracy_table,
    "adversarial_start": adversarial_start_table,
    "coherence": coherence_table,
    "easy_hard": easy_hard_table,
    "learning_time": learning_time_table,
    "sample_size": sample_size_table,
}


def run_columns(run: Run, noise: Mapping[str, float]) -> dict[str, Any]:
    """The columns that name a run, by name, in their order."""
    named = asdict(run)
    columns: dict[str, Any] = {}
    for key, value in named.items():
        columns[key] = value
        if key == "labels":
            columns["noise"] = float(noise[run.labels])
    return columns


def of_run(run: Run, noise: Mapping[str, float], frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one run with the columns that name it put first."""
    named = pd.DataFrame([run_columns(run, noise)] * len(frame))
    return pd.concat([named, frame], axis=1)


def _mean_over(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of values [K, N] over the examples in mask [N], NaN for an empty mask; [K]."""
    if not mask.any():
        return np.full(len(values), np.nan)
    return np.asarray(values[:, mask].mean(axis=1, dtype=np.float64))


def _images_path(results: str, run: Run) -> Path:
    return Path(f"{results}/data/{run.dataset}/images.h5")


def _evaluation_path(results: str, run: Run) -> Path:
    return Path(f"{run.path(results)}/evaluation.h5")
