"""Prepare a data set: source -> images.h5."""

from mcoherence.data.sources import load_source
from mcoherence.data.store import write_images
from mcoherence.provenance import provenance
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Load the source that the settings name and write its prepared store."""
    arguments = parse(__doc__, paths=["images"])
    data = load_source(arguments.settings)
    parts = {"train": (data.train_images, data.train_targets), "test": (data.test_images, data.test_targets)}
    write_images(arguments.images, parts, data.class_names, provenance(arguments.settings, []))


if __name__ == "__main__":
    run(main)
