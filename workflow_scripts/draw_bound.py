"""Draw the bound on the generalisation gap beside the gap, from the table bound."""

from mcoherence.figures.bound import bound
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["bound"], bound)


if __name__ == "__main__":
    run(main)
