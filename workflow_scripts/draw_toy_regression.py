"""Draw the six-dimensional regressions, real and random, from the table toy."""

from mcoherence.figures.toy_regression import toy_regression
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["toy"], lambda table, _style: toy_regression(table))


if __name__ == "__main__":
    run(main)
