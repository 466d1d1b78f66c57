"""Check that a network can be trained and measured, before it is: its settings -> a file that says what was checked."""

import os
from pathlib import Path

from mcoherence.audit.network_checks import NetworkUse, check_network
from mcoherence.data.store import read_class_names
from mcoherence.device import prepare_device
from mcoherence.files.json_csv import write_json
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Refuse it in one line, or write down what was checked."""
    parser = settings_parser(__doc__)
    parser.add_argument("--device", required=True, help="that the network will be trained on")
    parser.add_argument("--images", type=Path, nargs="*", help="images.h5 of its data set, which tells the classes")
    parser.add_argument("--checked", type=Path, required=True, help="file for what was checked")
    arguments = parser.parse_args()
    in_slurm = "SLURM_JOB_ID" in os.environ  # on a node without the GPU that training will ask for
    prepare_device("cpu" if in_slurm else arguments.device, threads=1)
    settings = arguments.settings
    for images in arguments.images:
        settings = {**settings, "classes": len(read_class_names(images))}
    check_network(NetworkUse(**settings))
    write_json(arguments.checked, settings)


if __name__ == "__main__":
    run(main)
