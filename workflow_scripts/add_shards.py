"""Add up the shards of a measurement: shards of a block of checkpoints -> the block."""

import argparse
from pathlib import Path

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.joining import add_shards
from mcoherence.study.result_names import schemas_of
from workflow_scripts.command_line import code_option
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Add n, Q and S of the shards, and write the block as coherence.h5 or its like holds it."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[code_option()])
    parser.add_argument("--result", required=True, help="its name, such as coherence")
    parser.add_argument("--shards", type=Path, nargs="+", required=True)
    parser.add_argument("--block", type=Path, required=True)
    arguments = parser.parse_args()
    schemas = schemas_of(arguments.result)
    datasets, attributes = add_shards(arguments.shards, schemas.shard)
    write_hdf5(arguments.block, schemas.whole, datasets, attributes | {"code": arguments.code})


if __name__ == "__main__":
    run(main)
