"""Draw when examples are learned on one half and forgotten on the other, from the table difficulty."""

from mcoherence.figures.second_split import second_split
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["difficulty"], second_split)


if __name__ == "__main__":
    run(main)
