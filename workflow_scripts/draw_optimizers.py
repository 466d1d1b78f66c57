"""Draw accuracies and gap of every optimiser, from the table accuracy."""

from mcoherence.figures.optimizers import optimizers
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["accuracy"], optimizers)


if __name__ == "__main__":
    run(main)
