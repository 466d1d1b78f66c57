"""Measure the gradients of easy, hard and random examples at every checkpoint of a run: -> difficulty_coherence.h5."""

from mcoherence.data.store import read_labels
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.atomic import copy_file
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.measuring.samples import difficulty_sample
from mcoherence.study.result_names import DIFFICULTY_COHERENCE_SCHEMA, DIFFICULTY_GROUPS
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import Drawn, measure_drawn, parse_measuring


def main() -> None:
    """Draw disjoint samples of the parts of the split, measure them, and write sums and Gram matrices."""
    arguments = parse_measuring(__doc__)
    for whole in arguments.parts:
        copy_file(whole, arguments.result)
        return
    settings, (split,) = arguments.settings, arguments.split
    with open_hdf5(split, SPLIT_SCHEMA) as file:
        parts = {name: file[name][:] for name in DIFFICULTY_GROUPS}
    sample = difficulty_sample(parts, settings["sample_size"], settings["heldout_size"], settings["seed"])
    drawn = [Drawn("train", sample, read_labels(arguments.labels).labels)]
    further = {"sample/index": sample.index, "sample/group": sample.group}
    measure_drawn(arguments, arguments.result, DIFFICULTY_COHERENCE_SCHEMA, drawn, DIFFICULTY_GROUPS, further, [split])


if __name__ == "__main__":
    run(main)
