"""Put the blocks of a run's measurement together: blocks of checkpoints -> all that coherence.h5 holds."""

from mcoherence.parts import join
from mcoherence.run_files import COHERENCE_SCHEMA
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Join the blocks in the order of their checkpoints."""
    arguments = parse(__doc__, paths=["whole"], path_lists=["blocks"])
    write_hdf5(arguments.whole, COHERENCE_SCHEMA, *join(arguments.blocks, COHERENCE_SCHEMA))


if __name__ == "__main__":
    run(main)
