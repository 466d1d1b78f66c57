"""Put the blocks of a run's measurement together: blocks of checkpoints -> all that coherence.h5 or its like holds."""

import argparse
from pathlib import Path

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.joining import join
from mcoherence.study.result_names import schemas_of
from workflow_scripts.command_line import code_option
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Join the blocks in the order of their checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[code_option()])
    parser.add_argument("--result", required=True, help="its name, such as coherence")
    parser.add_argument("--blocks", type=Path, nargs="+", required=True)
    parser.add_argument("--whole", type=Path, required=True)
    arguments = parser.parse_args()
    schema = schemas_of(arguments.result).whole
    datasets, attributes = join(arguments.blocks, schema)
    write_hdf5(arguments.whole, schema, datasets, attributes | {"code": arguments.code})


if __name__ == "__main__":
    run(main)
