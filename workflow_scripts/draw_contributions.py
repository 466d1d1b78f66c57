"""Draw what pristine and corrupt examples contribute to the gradient, from the table contributions."""

from mcoherence.figures.contributions import contributions
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["contributions"], contributions)


if __name__ == "__main__":
    run(main)
