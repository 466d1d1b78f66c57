"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5.

With --parts, the whole that was put together from measured parts becomes coherence.h5. With --shards, one shard of the
sample is measured, and S is kept with it.
"""

from functools import partial

import torch

from mcoherence.data.loading import examples
from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import training_positions
from mcoherence.device import describe_device, prepare_device
from mcoherence.measurement import PRECISIONS, heldout_sample, keep_sums, measure_run, training_sample
from mcoherence.provenance import provenance
from mcoherence.run_files import COHERENCE_SCHEMA, COHERENCE_SHARD_SCHEMA, GROUPS
from mcoherence.storage import copy_file, new_hdf5, write_contents
from workflow_scripts.command_line import parse, run

OPTIONS = {"workers": 2, "images_memory_mb": 2000, "shard": 0, "shards": 1}


def main() -> None:
    """Draw the samples, measure them at every checkpoint, and write sums, Gram matrices and m-coherence."""
    arguments = parse(
        __doc__,
        paths=["images", "labels", "coherence"],
        path_lists=["split", "checkpoints", "parts"],
        options=OPTIONS,
    )
    for whole in arguments.parts:
        copy_file(whole, arguments.coherence)
        return
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
        for part, chosen, targets in (
            ("train", sample.shard(arguments.shard, arguments.shards), labels.labels),
            ("test", heldout.shard(arguments.shard, arguments.shards), test_targets),
        )
    ]
    inputs_read = [arguments.images, arguments.labels, *arguments.split, *arguments.checkpoints]
    attributes = provenance(settings, inputs_read, describe_device(device))
    drawn = {
        "sample/index": sample.index,
        "sample/group": sample.group,
        "heldout/index": heldout.index,
        "heldout/group": heldout.group,
    }
    with new_hdf5(arguments.coherence, COHERENCE_SCHEMA if arguments.shards == 1 else COHERENCE_SHARD_SCHEMA) as file:
        keep = None if arguments.shards == 1 else partial(keep_sums, file)
        datasets, measured = measure_run(arguments.checkpoints, samples, settings["precision"], GROUPS, keep)
        write_contents(file, datasets | drawn, attributes | measured)


if __name__ == "__main__":
    run(main)
