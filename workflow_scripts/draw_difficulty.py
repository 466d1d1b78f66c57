"""Draw how hard examples are and how far seeds agree, from the tables difficulty and difficulty_agreement."""

from mcoherence.figures.difficulty import difficulty
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    draw(__doc__, ["difficulty", "difficulty_agreement"], difficulty)


if __name__ == "__main__":
    run(main)
