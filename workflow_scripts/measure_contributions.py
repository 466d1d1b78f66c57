"""Measure what pristine and corrupt examples contribute to the gradient, and null worlds: -> contributions.h5."""

import numpy as np

from mcoherence.data.store import read_labels
from mcoherence.device import enough_memory
from mcoherence.measuring.along_run import write_measurement
from mcoherence.measuring.measurement import Measurement
from mcoherence.measuring.samples import DrawnExamples, Sample, draw_training_sample
from mcoherence.measuring.worlds import cell_names, cell_of, corrupt_cells, world_tags
from mcoherence.study.result_names import CORRUPT
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
    """Draw the sample of measure_coherence, tag it in every world, and write the Gram matrices of the cells' sums."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings, labels = arguments.settings, read_labels(arguments.labels)
    everything = np.arange(len(labels.labels), dtype=np.int64)
    sample = draw_training_sample(everything, labels.changed, settings["sample_size"], *seeds_of(settings))
    tags = world_tags(sample.group == CORRUPT, settings["null_worlds"], settings["seed"])
    cells, names = Sample(sample.index, cell_of(tags)), cell_names(len(tags))
    drawn = [DrawnExamples("train", cells, labels.labels)]
    further = {
        "corrupt_cells": corrupt_cells(len(tags)),
        "sample/index": cells.index,
        "sample/group": cells.group,
    }
    measurement = Measurement("contributions", drawn, names, **arithmetic_of(settings), further=further)
    job = job_of(arguments)
    write_measurement(arguments.result, measurement, job, provenance_of(arguments, job))


if __name__ == "__main__":
    run(main)
