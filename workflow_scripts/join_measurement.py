"""Put the blocks of a run's measurement together: blocks of checkpoints -> all that coherence.h5 or its like holds."""

from mcoherence.files.hdf5 import write_hdf5
from mcoherence.measuring.joining import join
from mcoherence.measuring.result_names import measurement_schema
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Join the blocks in the order of their checkpoints."""
    arguments = parse(__doc__, paths=["whole"], path_lists=["blocks"], options={"result": "coherence"})
    schema = measurement_schema(arguments.result)
    write_hdf5(arguments.whole, schema, *join(arguments.blocks, schema))


if __name__ == "__main__":
    run(main)
