"""Draw gradient alignment within pristine, corrupt and held-out examples, from the table coherence."""

from mcoherence.figures.pristine_corrupt import pristine_corrupt
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["coherence"], pristine_corrupt)


if __name__ == "__main__":
    run(main)
