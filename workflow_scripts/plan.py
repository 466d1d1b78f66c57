"""Print what a study will take: jobs, hours, disk and memory, with the source of each estimate."""

from pathlib import Path

import torch

from mcoherence.audit.plan import describe
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Print the plan of the config that --settings holds, for the device that it will run on."""
    arguments = parse(__doc__)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    print(describe(arguments.settings, device, Path(__file__).parents[1]))


if __name__ == "__main__":
    run(main)
