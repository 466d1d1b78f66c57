"""Add up the shards of a measurement: shards of a block of checkpoints -> the block."""

from mcoherence.parts import add_shards
from mcoherence.run_files import COHERENCE_SCHEMA
from mcoherence.storage import write_hdf5
from workflow_scripts.command_line import parse, run


def main() -> None:
    """Add n, Q and S of the shards, and write the block as coherence.h5 holds it."""
    arguments = parse(__doc__, paths=["block"], path_lists=["shards"])
    write_hdf5(arguments.block, COHERENCE_SCHEMA, *add_shards(arguments.shards))


if __name__ == "__main__":
    run(main)
