"""Check that a user's own data have what a study asks of them: images.h5 -> a file that says what was found."""

from pathlib import Path

from mcoherence.audit.data_checks import check_data
from mcoherence.files.json_csv import write_json
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Refuse them in one line, or write down what was found."""
    parser = settings_parser(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="images.h5 of the data set")
    parser.add_argument("--checked", type=Path, required=True, help="file for what was found")
    arguments = parser.parse_args()
    settings = arguments.settings
    write_json(
        arguments.checked, check_data(settings["config"], settings["own"], settings["dataset"], arguments.images)
    )


if __name__ == "__main__":
    run(main)
