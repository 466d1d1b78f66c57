"""Add up the shards of a measurement: shards of a block of checkpoints -> the block."""

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.joining import add_shards
from mcoherence.measuring.result_names import SHARD_SCHEMAS, measurement_schema
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Add n, Q and S of the shards, and write the block as coherence.h5 or its like holds it."""
    arguments = parse(__doc__, paths=["block"], path_lists=["shards"], options={"result": "coherence"})
    schema = measurement_schema(arguments.result)
    write_hdf5(arguments.block, schema, *add_shards(arguments.shards, SHARD_SCHEMAS[schema]))


if __name__ == "__main__":
    run(main)
