"""Measure the gradients of easy, hard and random examples at every checkpoint of a run: -> difficulty_coherence.h5."""

from mcoherence.data.store import read_labels
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.device import enough_memory
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.measuring.along_run import write_measurement
from mcoherence.measuring.measurement import Measurement
from mcoherence.measuring.samples import DrawnExamples, draw_difficulty_sample
from mcoherence.study.result_names import DIFFICULTY_GROUPS
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import (
    MORE_MEMORY,
    arithmetic_of,
    copied_from_parts,
    job_of,
    parse_measuring,
    provenance_of,
    seeds_of,
)


@enough_memory(MORE_MEMORY)
def main() -> None:
    """Draw disjoint samples of the parts of the split, measure them, and write sums and Gram matrices."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings, (split,) = arguments.settings, arguments.split
    with open_hdf5(split, SPLIT_SCHEMA) as file:
        parts = {name: file[name][:] for name in DIFFICULTY_GROUPS}
    sample = draw_difficulty_sample(parts, settings["sample_size"], settings["heldout_size"], *seeds_of(settings))
    drawn = [DrawnExamples("train", sample, read_labels(arguments.labels).labels)]
    further = {"sample/index": sample.index, "sample/group": sample.group}
    name, job = "difficulty_coherence", job_of(arguments)
    measurement = Measurement(name, drawn, DIFFICULTY_GROUPS, **arithmetic_of(settings), further=further)
    write_measurement(arguments.result, measurement, job, provenance_of(arguments, job))


if __name__ == "__main__":
    run(main)
