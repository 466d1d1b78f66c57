"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5."""

import numpy as np
import torch

from mcoherence.data.batches import normalized
from mcoherence.data.store import read_images, read_labels
from mcoherence.data.subsets import training_positions
from mcoherence.device import describe_device, prepare_device
from mcoherence.measurement import heldout_sample, measure_run, training_sample
from mcoherence.provenance import provenance
from mcoherence.run_files import COHERENCE_SCHEMA, GROUPS
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Draw the samples, measure them at every checkpoint, and write sums, Gram matrices and m-coherence."""
    arguments = parse(__doc__, paths=["images", "labels", "coherence"], path_lists=["split", "checkpoints"])
    settings = arguments.settings
    device = prepare_device(arguments.device, arguments.threads)
    dtype = {"float32": torch.float32, "float64": torch.float64}[settings["precision"]]
    train, test = (read_images(arguments.images, name) for name in ("train", "test"))
    labels = read_labels(arguments.labels)
    candidates = training_positions(arguments.split, settings["subset"], len(labels.labels))
    sample = training_sample(candidates, labels.changed, settings["sample_size"], settings["seed"])
    heldout = heldout_sample(len(test.images), settings["heldout_size"], settings["seed"])

    inputs = torch.cat([normalized(train, dtype)[sample.index], normalized(test, dtype)[heldout.index]]).to(device)
    targets = torch.from_numpy(np.concatenate([labels.labels[sample.index], test.targets[heldout.index]])).to(device)
    groups = np.concatenate([sample.group, heldout.group])
    datasets, attributes = measure_run(arguments.checkpoints, inputs, targets, groups, GROUPS)
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
