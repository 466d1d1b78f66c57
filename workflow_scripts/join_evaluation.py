"""Put the parts of a run's evaluation together: blocks of checkpoints, or shards of them -> all of evaluation.h5."""

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.joining import join
from mcoherence.measuring.result_names import EVALUATION_SCHEMA, EVALUATION_SHARD_SCHEMA
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Join the parts in the order of checkpoints and examples."""
    arguments = parse(__doc__, paths=["whole"], path_lists=["parts"], switches=["sharded"])
    shards = EVALUATION_SHARD_SCHEMA if arguments.sharded else None
    write_hdf5(arguments.whole, EVALUATION_SCHEMA, *join(arguments.parts, EVALUATION_SCHEMA, shards))


if __name__ == "__main__":
    run(main)
