"""Evaluate every checkpoint of a run on the whole training and test part: checkpoints -> evaluation.h5."""

import numpy as np
import torch

from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels, read_targets
from mcoherence.device import describe_device, prepare_device
from mcoherence.evaluation import BATCH_SIZE, evaluate, of_diverged
from mcoherence.models import load_checkpoint, read_checkpoint_metadata
from mcoherence.progress import progress
from mcoherence.provenance import provenance
from mcoherence.run_files import EVALUATION_SCHEMA
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run

OPTIONS = {"workers": 2, "images_memory_mb": 2000}


def main() -> None:
    """Loss and prediction per example and checkpoint; the training part with the labels that the run trains on."""
    arguments = parse(__doc__, paths=["images", "labels", "evaluation"], path_lists=["checkpoints"], options=OPTIONS)
    device = prepare_device(arguments.device, arguments.threads)
    labels = {
        "train": read_labels(arguments.labels).labels,
        "test": read_targets(arguments.images, "test"),
    }
    memory = {"memory_bytes": arguments.images_memory_mb * 10**6, "workers": arguments.workers}
    parts = {
        name: (
            examples(arguments.images, np.arange(len(values)), device, part=name, **memory),
            torch.from_numpy(values).to(device),
        )
        for name, values in labels.items()
    }
    collected: dict[str, list[np.ndarray]] = {f"{name}/{what}": [] for name in parts for what in ("loss", "prediction")}
    metadata = [read_checkpoint_metadata(path) for path in arguments.checkpoints]
    diverged = np.array(["diverged_at" in one for one in metadata], dtype=np.bool_)
    for path, lost in progress(zip(arguments.checkpoints, diverged, strict=True), len(metadata), "evaluate"):
        model = load_checkpoint(path).to(device)
        for name, (images, targets) in parts.items():
            in_order = enumerate(np.split(np.arange(len(images)), range(BATCH_SIZE, len(images), BATCH_SIZE)))
            evaluation = of_diverged(len(images)) if lost else evaluate(model, images.batches(in_order), targets)
            collected[f"{name}/loss"].append(evaluation.loss)
            collected[f"{name}/prediction"].append(evaluation.prediction)

    datasets = {name: np.stack(values) for name, values in collected.items()}
    datasets["step"] = np.array([one["step"] for one in metadata], dtype=np.int64)
    datasets["epoch"] = np.array([one["epoch"] for one in metadata], dtype=np.float64)
    datasets["diverged"] = diverged
    inputs_read = [arguments.images, arguments.labels, *arguments.checkpoints]
    attributes = provenance(arguments.settings, inputs_read, describe_device(device)) | {"run": metadata[0]["run"]}
    write_hdf5(arguments.evaluation, EVALUATION_SCHEMA, datasets, attributes)


if __name__ == "__main__":
    run(main)
