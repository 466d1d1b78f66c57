"""Measure what pristine and corrupt examples contribute to the gradient, and null worlds: -> contributions.h5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.contributions import CONTRIBUTIONS_SCHEMA, cell_names, cell_of, corrupt_cells, world_tags
from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels
from mcoherence.device import describe_device, prepare_device
from mcoherence.gradients.evidence import merged
from mcoherence.measurement import PRECISIONS, group_batches, measure, of_diverged, training_sample
from mcoherence.models import load_checkpoint, read_checkpoint_metadata
from mcoherence.progress import progress
from mcoherence.provenance import provenance
from mcoherence.run_files import CORRUPT
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Draw the sample of measure_coherence, tag it in every world, and write the Gram matrices of the cells' sums."""
    arguments = parse(__doc__, paths=["images", "labels", "contributions"], path_lists=["checkpoints"])
    settings = arguments.settings
    device = prepare_device(arguments.device, arguments.threads)
    dtype, labels = PRECISIONS[settings["precision"]], read_labels(arguments.labels)
    everything = np.arange(len(labels.labels), dtype=np.int64)
    sample = training_sample(everything, labels.changed, settings["sample_size"], settings["seed"])
    tags = world_tags(sample.group == CORRUPT, settings["null_worlds"], settings["seed"])
    cells, names = cell_of(tags), cell_names(len(tags))

    images = examples(arguments.images, sample.index, device, dtype=dtype)
    targets = torch.from_numpy(labels.labels[sample.index]).to(device)
    metadata = [read_checkpoint_metadata(path) for path in arguments.checkpoints]
    diverged = ["diverged_at" in one for one in metadata]
    statistics = [
        of_diverged(load_checkpoint(path), cells, names)
        if lost
        else measure(load_checkpoint(path).to(device, dtype), group_batches(images, targets, cells), names)
        for path, lost in progress(zip(arguments.checkpoints, diverged, strict=True), len(metadata), "measure")
    ]

    datasets: dict[str, NDArray[Any] | Sequence[str]] = {
        "step": np.array([one["step"] for one in metadata], dtype=np.int64),
        "epoch": np.array([one["epoch"] for one in metadata], dtype=np.float64),
        "diverged": np.array(diverged, dtype=np.bool_),
        "cell": names,
        "corrupt_cells": corrupt_cells(len(tags)),
        "sample/index": sample.index,
        "sample/cell": cells,
        "n": np.bincount(cells, minlength=len(names)).astype(np.int64),
        "gram": np.stack([one.gram.sum(axis=-1) for one in statistics]),
    }
    evidence = merged([one.evidence for one, lost in zip(statistics, diverged, strict=True) if not lost])
    inputs_read = [arguments.images, arguments.labels, *arguments.checkpoints]
    attributes = provenance(settings, inputs_read, describe_device(device)) | {
        "run": metadata[0]["run"],
        "evidence": evidence.as_json(),
    }
    write_hdf5(arguments.contributions, CONTRIBUTIONS_SCHEMA, datasets, attributes)


if __name__ == "__main__":
    run(main)
