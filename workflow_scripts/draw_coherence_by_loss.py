"""Draw m-coherence against the training loss, from the tables coherence and accuracy."""

from mcoherence.figures.coherence_by_loss import coherence_by_loss
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    draw(__doc__, ["coherence", "accuracy"], coherence_by_loss)


if __name__ == "__main__":
    run(main)
