"""Corrupt the training labels of a data set: images.h5 -> labels.h5."""

from mcoherence.data.corruption import corrupt_labels
from mcoherence.data.store import LABELS_SCHEMA, read_images
from mcoherence.provenance import provenance
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Draw the corruption and write the labels with their masks; the true share of changed labels goes to the log."""
    arguments = parse(__doc__, paths=["images", "labels"])
    part = read_images(arguments.images, "train")
    labels, selected, changed = corrupt_labels(part.targets, part.num_classes, **arguments.settings)
    datasets = {"labels": labels, "original": part.targets, "selected": selected, "changed": changed}
    attributes = provenance(arguments.settings, [arguments.images])
    attributes |= {"num_selected": int(selected.sum()), "num_changed": int(changed.sum())}
    write_hdf5(arguments.labels, LABELS_SCHEMA, datasets, attributes)
    print(f"selected {selected.sum()} of {len(labels)} labels, changed {changed.sum()} ({changed.mean():.2%})")


if __name__ == "__main__":
    run(main)
