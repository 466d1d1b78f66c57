"""Split the training part into easy, hard and random examples: difficulty.h5 -> split.h5."""

from pathlib import Path

from mcoherence.data.store import read_targets
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.files.hdf5 import open_hdf5, write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA, score_within_class, split_easy_hard
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Disjoint train and test parts of each subset, as positions in the training part."""
    parser = settings_parser(__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--difficulty", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    arguments = parser.parse_args()
    settings = arguments.settings
    with open_hdf5(arguments.difficulty, DIFFICULTY_SCHEMA) as file:
        score = file["score"][:]
    if settings["within_class"]:
        score = score_within_class(score, read_targets(arguments.images, "train"))
    parts = split_easy_hard(score, settings["fraction"], settings["test_fraction"], settings["split_seed"])
    origin = provenance(settings, [arguments.images, arguments.difficulty], code=arguments.code)
    write_hdf5(arguments.split, SPLIT_SCHEMA, parts, origin.as_attributes())
    print(", ".join(f"{name} {len(index)}" for name, index in parts.items()))


if __name__ == "__main__":
    run(main)
