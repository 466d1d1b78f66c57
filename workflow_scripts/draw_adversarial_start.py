"""Draw accuracy after an adversarial start, from the table adversarial_start."""

from mcoherence.figures.adversarial_start import adversarial_start
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["adversarial_start"], adversarial_start)


if __name__ == "__main__":
    run(main)
