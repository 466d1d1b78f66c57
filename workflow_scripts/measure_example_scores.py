"""Score every training example at every checkpoint of a run: checkpoints -> example_scores.h5."""

from mcoherence.data.store import read_labels
from mcoherence.device import enough_memory
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.example_scores import measure_example_scores, require_wrong_labels
from mcoherence.measuring.measurement import PRECISIONS
from mcoherence.study.result_names import EXAMPLE_SCORES_SCHEMA
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import MORE_MEMORY, copied_from_parts, job_of, parse_measuring, provenance_of


@enough_memory(MORE_MEMORY)
def main() -> None:
    """Take gradients and logits of all training examples, with the labels that the run trains on."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings, labels = arguments.settings, read_labels(arguments.labels)
    require_wrong_labels(labels.changed, str(arguments.labels))
    job = job_of(arguments)
    datasets, measured = measure_example_scores(
        job,
        labels.labels,
        PRECISIONS[settings["precision"]],
        batch_norm=settings["batch_norm"],
        tf32=settings["tf32"],
    )
    write_hdf5(arguments.result, EXAMPLE_SCORES_SCHEMA, datasets, provenance_of(arguments, job) | measured)


if __name__ == "__main__":
    run(main)
