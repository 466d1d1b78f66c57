"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import training_positions
from mcoherence.device import describe_device, prepare_device
from mcoherence.gradients.evidence import Evidence
from mcoherence.measurement import (
    group_batches,
    heldout_sample,
    measure,
    of_diverged,
    record_of,
    training_sample,
)
from mcoherence.models import load_checkpoint, read_checkpoint_metadata
from mcoherence.progress import progress
from mcoherence.provenance import provenance
from mcoherence.run_files import COHERENCE_SCHEMA, GROUPS
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run

OPTIONS = {"workers": 2, "images_memory_mb": 2000}


def main() -> None:
    """Draw the samples, measure them at every checkpoint, and write sums, Gram matrices and m-coherence."""
    arguments = parse(
        __doc__,
        paths=["images", "labels", "coherence"],
        path_lists=["split", "checkpoints"],
        options=OPTIONS,
    )
    settings = arguments.settings
    device = prepare_device(arguments.device, arguments.threads)
    dtype = {"float32": torch.float32, "float64": torch.float64}[settings["precision"]]
    labels = read_labels(arguments.labels)
    candidates = training_positions(arguments.split, settings["subset"], len(labels.labels))
    sample = training_sample(candidates, labels.changed, settings["sample_size"], settings["seed"])
    test_targets = read_targets(arguments.images, "test")
    heldout = heldout_sample(len(test_targets), settings["heldout_size"], settings["seed"])

    memory = {"memory_bytes": arguments.images_memory_mb * 10**6, "workers": arguments.workers}
    samples = [
        (
            examples(arguments.images, chosen.index, device, part=part, dtype=dtype, **memory),
            torch.from_numpy(targets[chosen.index]).to(device),
            chosen.group,
        )
        for part, chosen, targets in (("train", sample, labels.labels), ("test", heldout, test_targets))
    ]
    groups = np.concatenate([sample.group, heldout.group])
    metadata = [read_checkpoint_metadata(path) for path in arguments.checkpoints]
    diverged = ["diverged_at" in one for one in metadata]
    statistics = [
        of_diverged(load_checkpoint(path), groups)
        if lost
        else measure(
            load_checkpoint(path).to(device, dtype), chain.from_iterable(group_batches(*one) for one in samples)
        )
        for path, lost in progress(zip(arguments.checkpoints, diverged, strict=True), len(metadata), "measure")
    ]

    record = record_of(statistics)
    model = load_checkpoint(arguments.checkpoints[0])
    datasets: dict[str, NDArray[Any] | Sequence[str]] = {
        "step": np.array([one["step"] for one in metadata], dtype=np.int64),
        "epoch": np.array([one["epoch"] for one in metadata], dtype=np.float64),
        "diverged": np.array(diverged, dtype=np.bool_),
        "group": GROUPS,
        "layer": record.layers,
        "layer_type": [type(model.get_submodule(layer)).__name__ for layer in record.layers],
        "parameter": record.parameters,
        "parameter_layer": record.parameter_layer,
        "sample/index": sample.index,
        "sample/group": sample.group,
        "heldout/index": heldout.index,
        "heldout/group": heldout.group,
        "n": record.n,
        "sum_sq_norm": record.sum_sq_norm,
        "gram": record.gram,
        "m_coherence": record.m_coherence_by_layer(),
        "m_coherence_model": record.m_coherence_of_model(),
    }
    measured = [one.evidence for one, lost in zip(statistics, diverged, strict=True) if not lost]
    evidence = reduce(Evidence.merge, measured) if measured else Evidence()
    inputs_read = [arguments.images, arguments.labels, *arguments.split, *arguments.checkpoints]
    attributes = provenance(settings, inputs_read, describe_device(device)) | {
        "run": metadata[0]["run"],
        "evidence": asdict(evidence),
    }
    write_hdf5(arguments.coherence, COHERENCE_SCHEMA, datasets, attributes)


if __name__ == "__main__":
    run(main)
