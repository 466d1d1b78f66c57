"""Draw the bound on the generalisation gap beside the gap, from the table bound."""

from mcoherence.figures.bound import bound
from workflow_scripts.command_line import run
from workflow_scripts.drawing import draw


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["bound"], bound)


if __name__ == "__main__":
    run(main)
