"""Draw the best against the last checkpoint, from the table early_stopping."""

from mcoherence.figures.early_stopping import early_stopping
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["early_stopping"], early_stopping)


if __name__ == "__main__":
    run(main)
