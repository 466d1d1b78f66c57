"""Draw the accuracy of networks trained on easy and hard examples, from the table easy_hard."""

from mcoherence.figures.easy_hard import easy_hard
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["easy_hard"], easy_hard)


if __name__ == "__main__":
    run(main)
