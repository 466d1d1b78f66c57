"""Draw accuracy and loss against the training step, from the table accuracy."""

from mcoherence.figures.training_curves import training_curves
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["accuracy"], training_curves)


if __name__ == "__main__":
    run(main)
