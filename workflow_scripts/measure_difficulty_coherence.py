"""Measure the gradients of easy, hard and random examples at every checkpoint of a run: -> difficulty_coherence.h5."""

import torch

from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.device import describe_device, prepare_device
from mcoherence.measurement import PRECISIONS, difficulty_sample, measure_run
from mcoherence.provenance import provenance
from mcoherence.run_files import DIFFICULTY_COHERENCE_SCHEMA, DIFFICULTY_GROUPS
from mcoherence.storage import open_hdf5, write_hdf5
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Draw disjoint samples of the parts of the split, measure them, and write sums and Gram matrices."""
    arguments = parse(__doc__, paths=["images", "labels", "split", "coherence"], path_lists=["checkpoints"])
    settings = arguments.settings
    device = prepare_device(arguments.device, arguments.threads)
    with open_hdf5(arguments.split, SPLIT_SCHEMA) as file:
        parts = {name: file[name][:] for name in DIFFICULTY_GROUPS}
    sample = difficulty_sample(parts, settings["sample_size"], settings["heldout_size"], settings["seed"])
    images = examples(arguments.images, sample.index, device, dtype=PRECISIONS[settings["precision"]])
    targets = torch.from_numpy(read_labels(arguments.labels).labels[sample.index]).to(device)

    samples = [(images, targets, sample.group)]
    datasets, attributes = measure_run(arguments.checkpoints, samples, settings["precision"], DIFFICULTY_GROUPS)
    datasets |= {"sample/index": sample.index, "sample/group": sample.group}
    inputs_read = [arguments.images, arguments.labels, arguments.split, *arguments.checkpoints]
    attributes |= provenance(settings, inputs_read, describe_device(device))
    write_hdf5(arguments.coherence, DIFFICULTY_COHERENCE_SCHEMA, datasets, attributes)


if __name__ == "__main__":
    run(main)
