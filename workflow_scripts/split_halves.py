"""Split the training part into two random halves, for second-split forgetting: images.h5 -> halves.h5."""

from pathlib import Path

from mcoherence.data.halves import split_halves
from mcoherence.data.store import read_targets
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import provenance
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Positions in the training part of either half."""
    parser = settings_parser(__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--halves", type=Path, required=True)
    arguments = parser.parse_args()
    settings = arguments.settings
    parts = split_halves(len(read_targets(arguments.images, "train")), settings["split_seed"])
    origin = provenance(settings, [arguments.images], code=arguments.code)
    write_hdf5(arguments.halves, SPLIT_SCHEMA, parts, origin.as_attributes())


if __name__ == "__main__":
    run(main)
