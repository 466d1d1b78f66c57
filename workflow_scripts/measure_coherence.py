"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5."""

from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import training_positions
from mcoherence.measuring.along_run import Measurement, write_measurement
from mcoherence.measuring.samples import (
    DrawnExamples,
    draw_heldout_sample,
    draw_other_sample,
    draw_training_sample,
)
from mcoherence.study.result_names import GROUPS
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import copied_from_parts, job_of, parse_measuring, provenance_of


def main() -> None:
    """Draw the samples, measure them at every checkpoint, and write sums, Gram matrices and m-coherence."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings, labels = arguments.settings, read_labels(arguments.labels)
    candidates = training_positions(arguments.split, settings["subset"], len(labels.labels))
    size, seed = settings["sample_size"], settings["seed"]
    if "apart_from" in settings:
        studys_own = draw_training_sample(candidates, labels.changed, settings["apart_from"], seed)
        sample = draw_other_sample(candidates, labels.changed, size, studys_own, seed)
    else:
        sample = draw_training_sample(candidates, labels.changed, size, seed)
    test_targets = read_targets(arguments.images, "test")
    heldout = draw_heldout_sample(len(test_targets), settings["heldout_size"], settings["seed"])
    drawn = [DrawnExamples("train", sample, labels.labels), DrawnExamples("test", heldout, test_targets)]
    further = {
        "sample/index": sample.index,
        "sample/group": sample.group,
        "heldout/index": heldout.index,
        "heldout/group": heldout.group,
    }
    arithmetic = settings["precision"], settings["tf32"]
    measurement, job = Measurement("coherence", drawn, GROUPS, *arithmetic, further), job_of(arguments)
    write_measurement(arguments.result, measurement, job, provenance_of(arguments, job))


if __name__ == "__main__":
    run(main)
