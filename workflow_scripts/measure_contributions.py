"""Measure what pristine and corrupt examples contribute to the gradient, and null worlds: -> contributions.h5."""

import numpy as np

from mcoherence.data.store import read_labels
from mcoherence.files.atomic import copy_file
from mcoherence.measuring.samples import Sample, training_sample
from mcoherence.measuring.worlds import cell_names, cell_of, corrupt_cells, world_tags
from mcoherence.study.result_names import CONTRIBUTIONS_SCHEMA, CORRUPT
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import Drawn, measure_drawn, parse_measuring


def main() -> None:
    """Draw the sample of measure_coherence, tag it in every world, and write the Gram matrices of the cells' sums."""
    arguments = parse_measuring(__doc__)
    for whole in arguments.parts:
        copy_file(whole, arguments.result)
        return
    settings, labels = arguments.settings, read_labels(arguments.labels)
    everything = np.arange(len(labels.labels), dtype=np.int64)
    sample = training_sample(everything, labels.changed, settings["sample_size"], settings["seed"])
    tags = world_tags(sample.group == CORRUPT, settings["null_worlds"], settings["seed"])
    cells = Sample(sample.index, cell_of(tags))
    drawn = [Drawn("train", cells, labels.labels)]
    further = {
        "corrupt_cells": corrupt_cells(len(tags)),
        "sample/index": cells.index,
        "sample/group": cells.group,
    }
    names = cell_names(len(tags))
    measure_drawn(arguments, arguments.result, CONTRIBUTIONS_SCHEMA, drawn, names, further)


if __name__ == "__main__":
    run(main)
