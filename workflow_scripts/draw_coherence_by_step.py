"""Draw m-coherence against the training step, from the table coherence."""

from mcoherence.figures.coherence_by_step import coherence_by_step
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["coherence"], coherence_by_step)


if __name__ == "__main__":
    run(main)
