"""Draw training minus test accuracy at the end of training, from the table accuracy."""

from mcoherence.figures.generalization_gap import generalization_gap
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["accuracy"], generalization_gap)


if __name__ == "__main__":
    run(main)
