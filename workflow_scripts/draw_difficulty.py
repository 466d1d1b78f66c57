"""Draw how hard examples are and how far seeds agree, from the tables difficulty and difficulty_agreement."""

from mcoherence.figures.difficulty import difficulty
from workflow_scripts.command_line import run
from workflow_scripts.drawing import draw


def main() -> None:
    """Read the tables, draw, save as PNG and PDF."""
    draw(__doc__, ["difficulty", "difficulty_agreement"], difficulty)


if __name__ == "__main__":
    run(main)
