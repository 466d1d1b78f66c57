"""Draw how the gradients of easy, hard and random examples agree, from the table difficulty_coherence."""

from mcoherence.figures.difficulty_coherence import difficulty_coherence
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["difficulty_coherence"], difficulty_coherence)


if __name__ == "__main__":
    run(main)
