"""Draw the m-coherence of each layer against the training step, from the table coherence."""

from mcoherence.figures.layer_coherence import layer_coherence
from workflow_scripts.drawing import draw
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Read the table, draw, save as PNG and PDF."""
    draw(__doc__, ["coherence"], layer_coherence)


if __name__ == "__main__":
    run(main)
