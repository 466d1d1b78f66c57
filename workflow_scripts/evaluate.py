"""Evaluate every checkpoint of a run on the whole training and test part: checkpoints -> evaluation.h5."""

from mcoherence.data.store import read_labels, read_targets
from mcoherence.device import enough_memory, prepare_device
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.evaluation import draw_evaluated, evaluate_run
from mcoherence.study.result_names import schemas_of
from workflow_scripts.jobs.entry import run
from workflow_scripts.measuring import MORE_MEMORY, copied_from_parts, job_of, parse_measuring, provenance_of


@enough_memory(MORE_MEMORY)
def main() -> None:
    """Loss and prediction per example and checkpoint; the training part with the labels that the run trains on."""
    arguments = parse_measuring(__doc__)
    if copied_from_parts(arguments):
        return
    settings = arguments.settings
    labels = {"train": read_labels(arguments.labels).labels, "test": read_targets(arguments.images, "test")}
    sampled = {}
    if "train_examples" in settings:
        sampled["train"] = draw_evaluated(len(labels["train"]), settings["train_examples"], settings["seed"])
    job, schemas = job_of(arguments, prepare_device), schemas_of("evaluation")
    datasets, evaluated = evaluate_run(job, labels, settings["tf32"], sampled)
    schema = schemas.shard if job.shard.count > 1 else schemas.whole
    write_hdf5(arguments.result, schema, datasets, provenance_of(arguments, job) | evaluated)


if __name__ == "__main__":
    run(main)
