"""Draw coherence on samples of several sizes, from the table sample_size."""

from mcoherence.figures.sample_size import sample_size
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["sample_size"], sample_size)


if __name__ == "__main__":
    run(main)
