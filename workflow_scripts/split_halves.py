"""Split the training part into two random halves, for second-split forgetting: images.h5 -> halves.h5."""

from mcoherence.data.halves import split_halves
from mcoherence.data.store import read_targets
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import provenance
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Positions in the training part of either half."""
    arguments = parse(__doc__, paths=["images", "halves"])
    settings = arguments.settings
    parts = split_halves(len(read_targets(arguments.images, "train")), settings["split_seed"])
    write_hdf5(arguments.halves, SPLIT_SCHEMA, parts, provenance(settings, [arguments.images]))


if __name__ == "__main__":
    run(main)
