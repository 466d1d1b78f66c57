"""Print what a study will take: jobs, hours, disk and memory, with the source of each estimate."""

from pathlib import Path

import torch

from mcoherence.audit.plan import describe
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Print the plan of the config that --settings holds, for the device that it will run on."""
    parser = settings_parser(__doc__)
    parser.add_argument("--device", required=True, help="auto, cpu, cuda or mps")
    arguments = parser.parse_args()
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    print(describe(arguments.settings, device, Path(__file__).parents[1]))


if __name__ == "__main__":
    run(main)
