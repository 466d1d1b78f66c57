"""Print what a study will take, with the source of each estimate, and which claims it can speak to."""

from pathlib import Path

from mcoherence.audit.claims_ahead import describe_claims
from mcoherence.audit.plan import describe
from mcoherence.device import chosen_device
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Print the plan of the config that --settings holds, for the device that it will run on."""
    parser = settings_parser(__doc__)
    parser.add_argument("--device", required=True, help="auto, cpu, cuda or mps")
    arguments = parser.parse_args()
    print(describe(arguments.settings, chosen_device(arguments.device), Path(__file__).parents[1]))
    print(describe_claims(arguments.settings))


if __name__ == "__main__":
    run(main)
