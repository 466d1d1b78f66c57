"""Draw the exploratory sweeps over a setting of a network, from the table sweep."""

from mcoherence.figures.sweep import sweep
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["sweep"], sweep)


if __name__ == "__main__":
    run(main)
