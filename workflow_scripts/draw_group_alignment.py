"""Draw how pristine, corrupt and held-out examples lie to each other, from the table group_alignment."""

from mcoherence.figures.group_alignment import group_alignment
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["group_alignment"], group_alignment)


if __name__ == "__main__":
    run(main)
