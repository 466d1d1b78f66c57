"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5."""

import torch

from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import training_positions
from mcoherence.device import describe_device, prepare_device
from mcoherence.measurement import PRECISIONS, heldout_sample, measure_run, training_sample
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
    dtype = PRECISIONS[settings["precision"]]
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
    datasets, attributes = measure_run(arguments.checkpoints, samples, settings["precision"], GROUPS)
    datasets |= {
        "sample/index": sample.index,
        "sample/group": sample.group,
        "heldout/index": heldout.index,
        "heldout/group": heldout.group,
    }
    inputs_read = [arguments.images, arguments.labels, *arguments.split, *arguments.checkpoints]
    attributes |= provenance(settings, inputs_read, describe_device(device))
    write_hdf5(arguments.coherence, COHERENCE_SCHEMA, datasets, attributes)


if __name__ == "__main__":
    run(main)
