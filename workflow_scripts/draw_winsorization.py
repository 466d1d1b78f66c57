"""Draw overfitting against the clipping of winsorised SGD, from the table overfit."""

from mcoherence.figures.winsorization import winsorization
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["overfit"], winsorization)


if __name__ == "__main__":
    run(main)
