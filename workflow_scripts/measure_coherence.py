"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5."""

from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import training_positions
from mcoherence.files.atomic import copy_file
from mcoherence.measuring.samples import heldout_sample, training_sample
from mcoherence.study.result_names import COHERENCE_SCHEMA, GROUPS
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import Drawn, measure_drawn, parse_measuring


def main() -> None:
    """Draw the samples, measure them at every checkpoint, and write sums, Gram matrices and m-coherence."""
    arguments = parse_measuring(__doc__)
    for whole in arguments.parts:
        copy_file(whole, arguments.result)
        return
    settings, labels = arguments.settings, read_labels(arguments.labels)
    candidates = training_positions(arguments.split, settings["subset"], len(labels.labels))
    sample = training_sample(candidates, labels.changed, settings["sample_size"], settings["seed"])
    test_targets = read_targets(arguments.images, "test")
    heldout = heldout_sample(len(test_targets), settings["heldout_size"], settings["seed"])
    drawn = [Drawn("train", sample, labels.labels), Drawn("test", heldout, test_targets)]
    further = {
        "sample/index": sample.index,
        "sample/group": sample.group,
        "heldout/index": heldout.index,
        "heldout/group": heldout.group,
    }
    measure_drawn(arguments, arguments.result, COHERENCE_SCHEMA, drawn, GROUPS, further, arguments.split)


if __name__ == "__main__":
    run(main)
