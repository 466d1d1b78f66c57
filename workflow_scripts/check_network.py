"""Check that a network can be trained and measured, before it is: its settings -> a file that says what was checked."""

import os
from pathlib import Path

from mcoherence.audit.network_checks import NetworkUse, check_network
from mcoherence.device import prepare_device
from mcoherence.files.json_csv import write_json
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Refuse it in one line, or write down what was checked."""
    parser = settings_parser(__doc__)
    parser.add_argument("--device", required=True, help="that the network will be trained on")
    parser.add_argument("--checked", type=Path, required=True, help="file for what was checked")
    arguments = parser.parse_args()
    in_slurm = "SLURM_JOB_ID" in os.environ  # on a node without the GPU that training will ask for
    prepare_device("cpu" if in_slurm else arguments.device, threads=1)
    check_network(NetworkUse(**arguments.settings))
    write_json(arguments.checked, arguments.settings)


if __name__ == "__main__":
    run(main)
