"""Put the shards of a measurement together, as if it had been measured in one go.

mcoherence merge shard1.h5 shard2.h5 --out coherence.h5
"""

import argparse

from mcoherence.command.option_types import path_of
from mcoherence.errors import UserError
from mcoherence.files.whose import HDF5_SUFFIXES


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("shards", metavar="SHARD.h5", nargs="+", type=path_of, help="all shards, in any order")
    parser.add_argument(
        "--out",
        metavar="O.h5",
        type=path_of,
        required=True,
        help="the coherence file, .h5 or .hdf5; an earlier one is replaced",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check that they are all the shards of one measurement, add them up and write."""
    from mcoherence.command.result_place import require_place
    from mcoherence.command.show import headline
    from mcoherence.files.hdf5 import write_hdf5
    from mcoherence.measuring.joining import add_all_shards
    from mcoherence.study.result_names import schemas_of

    for path in arguments.shards:
        if not path.is_file():
            raise UserError(f"{path}: not found, expected a shard that measure --shard has written; look at the path")
    require_place(arguments.out, *HDF5_SUFFIXES, inputs=arguments.shards)
    schemas = schemas_of("coherence")
    datasets, attributes = add_all_shards(arguments.shards, schemas.shard)
    write_hdf5(arguments.out, schemas.whole, datasets, attributes)
    print(headline(arguments.out))
    return 0
