"""Score how hard each training example is: evaluations of the reference runs -> difficulty.h5."""

from pathlib import Path

import numpy as np

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA, score_runs
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Score the examples by what the reference runs say of them, and write it with the seeds of these runs."""
    parser = settings_parser(__doc__)
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True)
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--difficulty", type=Path, required=True)
    arguments = parser.parse_args()
    datasets = score_runs(arguments.evaluations, arguments.labels)
    datasets["reference_seed"] = np.array(arguments.settings["reference_seeds"], dtype=np.int64)
    origin = provenance(arguments.settings, [*arguments.evaluations, *arguments.labels], code=arguments.code)
    write_hdf5(arguments.difficulty, DIFFICULTY_SCHEMA, datasets, origin.as_attributes())


if __name__ == "__main__":
    run(main)
