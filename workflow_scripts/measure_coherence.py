"""Measure gradient coherence at every checkpoint of a run: checkpoints -> coherence.h5."""

from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import training_positions
from mcoherence.device import enough_memory
from mcoherence.measuring.along_run import write_measurement
from mcoherence.measuring.measurement import Measurement, Minibatches
from mcoherence.measuring.samples import (
    DrawnExamples,
    RedrawnLabels,
    draw_heldout_sample,
    draw_minibatches,
    draw_other_sample,
    draw_training_sample,
)
from mcoherence.study.result_names import GROUPS
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
    """Draw the samples, measure them at every checkpoint, and write sums, Gram matrices and m-coherence."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings, labels = arguments.settings, read_labels(arguments.labels)
    seeds, size = seeds_of(settings), settings.get("minibatch_size")
    candidates = training_positions(arguments.split, settings["subset"], len(labels.labels))
    if "apart_from" in settings:
        studys_own = draw_training_sample(candidates, labels.changed, settings["apart_from"], *seeds)
        sample = draw_other_sample(candidates, labels.changed, settings["sample_size"], studys_own, *seeds)
    else:
        sample = draw_training_sample(candidates, labels.changed, settings["sample_size"], *seeds)
    test_targets = read_targets(arguments.images, "test")
    heldout = draw_heldout_sample(len(test_targets), settings["heldout_size"], *seeds)
    drawn = [DrawnExamples("train", sample, labels.labels), DrawnExamples("test", heldout, test_targets)]
    further = {
        "sample/index": sample.index,
        "sample/group": sample.group,
        "heldout/index": heldout.index,
        "heldout/group": heldout.group,
    }
    redrawn = RedrawnLabels(settings["seed"], settings["run_seed"]) if settings["redrawn_labels"] else None
    cut = [draw_minibatches(len(one.sample.index), size or 1, settings["seed"]) for one in drawn]
    measurement = Measurement(
        "coherence",
        drawn,
        GROUPS,
        **arithmetic_of(settings),
        further=further,
        redrawn=redrawn,
        minibatches=None if size is None else Minibatches(size, cut),
    )
    job = job_of(arguments)
    write_measurement(arguments.result, measurement, job, provenance_of(arguments, job))


if __name__ == "__main__":
    run(main)
