"""Evaluate every checkpoint of a run on the whole training and test part: checkpoints -> evaluation.h5.

With --parts, the whole that was put together from evaluated parts becomes evaluation.h5. With --shards, one shard of
the examples of either part is evaluated, in whole batches, so that no bit depends on it.
"""

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels, read_targets
from mcoherence.device import describe_device, prepare_device
from mcoherence.files.atomic import copy_file
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.progress import progress
from mcoherence.files.provenance import provenance
from mcoherence.measuring.evaluation import evaluate, of_diverged
from mcoherence.models.checkpoints import load_checkpoint, read_checkpoint_metadata
from mcoherence.study.result_names import EVALUATION_SCHEMA, EVALUATION_SHARD_SCHEMA
from mcoherence.study.shards import EVALUATED_BATCH, shard
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import parse_measuring


def main() -> None:
    """Loss and prediction per example and checkpoint; the training part with the labels that the run trains on."""
    arguments = parse_measuring(__doc__)
    for whole in arguments.parts:
        copy_file(whole, arguments.result)
        return
    device = prepare_device(arguments.device, arguments.threads)
    labels = {
        "train": read_labels(arguments.labels).labels,
        "test": read_targets(arguments.images, "test"),
    }
    memory = {"memory_bytes": arguments.images_memory_mb * 10**6, "workers": arguments.workers}
    chosen = {name: shard_of_batches(len(values), arguments.shard, arguments.shards) for name, values in labels.items()}
    parts = {
        name: (
            examples(arguments.images, chosen[name], device, part=name, **memory),
            torch.from_numpy(values[chosen[name]]).to(device),
        )
        for name, values in labels.items()
    }
    collected: dict[str, list[np.ndarray]] = {f"{name}/{what}": [] for name in parts for what in ("loss", "prediction")}
    metadata = [read_checkpoint_metadata(path) for path in arguments.checkpoints]
    diverged = np.array(["diverged_at" in one for one in metadata], dtype=np.bool_)
    for path, lost in progress(zip(arguments.checkpoints, diverged, strict=True), len(metadata), "evaluate"):
        model = load_checkpoint(path).to(device)
        for name, (images, targets) in parts.items():
            in_order = enumerate(np.split(np.arange(len(images)), range(EVALUATED_BATCH, len(images), EVALUATED_BATCH)))
            none = lost or not len(images)
            evaluation = of_diverged(len(images)) if none else evaluate(model, images.batches(in_order), targets)
            collected[f"{name}/loss"].append(evaluation.loss)
            collected[f"{name}/prediction"].append(evaluation.prediction)

    datasets = {name: np.stack(values) for name, values in collected.items()}
    datasets["step"] = np.array([one["step"] for one in metadata], dtype=np.int64)
    datasets["epoch"] = np.array([one["epoch"] for one in metadata], dtype=np.float64)
    datasets["diverged"] = diverged
    inputs_read = [arguments.images, arguments.labels, *arguments.checkpoints]
    attributes = provenance(arguments.settings, inputs_read, describe_device(device)) | {"run": metadata[0]["run"]}
    schema = EVALUATION_SCHEMA if arguments.shards == 1 else EVALUATION_SHARD_SCHEMA
    write_hdf5(arguments.result, schema, datasets, attributes)


def shard_of_batches(size: int, number: int, shards: int) -> NDArray[np.int64]:
    """Positions of the examples of one shard of a part of `size`; shards begin where a batch begins."""
    batches = shard(ceil(size / EVALUATED_BATCH), number, shards)
    return np.arange(batches.start * EVALUATED_BATCH, min(batches.stop * EVALUATED_BATCH, size))


if __name__ == "__main__":
    run(main)
