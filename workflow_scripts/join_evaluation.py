"""Put the parts of a run's evaluation together: blocks of checkpoints, or shards of them -> all of evaluation.h5."""

import argparse
from pathlib import Path

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.joining import join
from mcoherence.study.result_names import schemas_of
from workflow_scripts.command_line import code_option
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Join the parts in the order of checkpoints and examples."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[code_option()])
    parser.add_argument("--parts", type=Path, nargs="+", required=True)
    parser.add_argument("--sharded", action=argparse.BooleanOptionalAction, required=True)
    parser.add_argument("--whole", type=Path, required=True)
    arguments = parser.parse_args()
    schemas = schemas_of("evaluation")
    shards = schemas.shard if arguments.sharded else None
    datasets, attributes = join(arguments.parts, schemas.whole, shards)
    write_hdf5(arguments.whole, schemas.whole, datasets, attributes | {"code": arguments.code})


if __name__ == "__main__":
    run(main)
