"""Measure how the gradients of fixed mini-batches lie to one another: checkpoints -> confusion.h5."""

from mcoherence.data.store import read_labels
from mcoherence.device import enough_memory
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.confusion import draw_mini_batches, measure_confusion
from mcoherence.measuring.measurement import PRECISIONS
from mcoherence.study.result_names import CONFUSION_SCHEMA
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import MORE_MEMORY, copied_from_parts, job_of, parse_measuring, provenance_of


@enough_memory(MORE_MEMORY)
def main() -> None:
    """Draw the mini-batches, take the gradient of each at every checkpoint, and write their inner products."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings, labels = arguments.settings, read_labels(arguments.labels).labels
    index = draw_mini_batches(len(labels), settings["mini_batches"], settings["batch_size"], settings["seed"])
    job = job_of(arguments)
    datasets, measured = measure_confusion(job, index, labels, PRECISIONS[settings["precision"]], tf32=settings["tf32"])
    write_hdf5(arguments.result, CONFUSION_SCHEMA, datasets, provenance_of(arguments, job) | measured)


if __name__ == "__main__":
    run(main)
