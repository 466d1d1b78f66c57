r"""Measure the gradient coherence of a network on some data, into a coherence file.

Example, from a folder of class folders and a torchvision network:

  mcoherence measure --model torchvision.models:resnet18 --model-options num_classes=3 \
      --weights weights.pt --data photos --out coherence.h5
  mcoherence show coherence.h5

In pieces, on several machines maybe: --shard 1/4 to --shard 4/4, each with its own --out, then `mcoherence merge`.
"""

import argparse
import sys

from mcoherence.command.named import (
    add_named_options,
    add_weights_of_training,
    named_files,
    named_measurement,
    shard_of,
)
from mcoherence.command.option_types import path_of
from mcoherence.command.result_place import require_place
from mcoherence.errors import UserError
from mcoherence.files.whose import HDF5_SUFFIXES
from mcoherence.study.shards import Shard


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_named_options(parser)
    add_weights_of_training(parser)
    out = parser.add_argument_group("the result")
    out.add_argument(
        "--out",
        metavar="O.h5",
        type=path_of,
        required=True,
        help="the coherence file, .h5 or .hdf5; an earlier one is replaced",
    )
    out.add_argument(
        "--shard", metavar="I/N", type=shard_of, default=Shard(), help="measure the I-th of N parts of the sample alone"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, write, and say the number."""
    from mcoherence.measuring.named_network import WHOLE, write_named_measurement

    require_place(arguments.out, *HDF5_SUFFIXES, inputs=named_files(arguments))
    named = named_measurement(arguments, __name__, arguments.shard)
    sample = named.measurement.sample
    if arguments.shard.count > len(sample.index):
        raise UserError(f"--shard: found {arguments.shard.count} shards of {len(sample.index)} examples; ask for fewer")
    shard, attributes = arguments.shard, named.origin.as_attributes()
    groups, whole = sample.groups, WHOLE[arguments.part]
    if groups != (whole,):
        attributes["unions"] = {whole: list(groups)}  # for those who read of all examples together
    if shard.count > 1:
        attributes["shard"] = {"number": shard.number, "count": shard.count}
    write_named_measurement(arguments.out, named.measurement, attributes)
    if shard.count > 1:
        print(f"{arguments.out}: shard {shard.number + 1} of {shard.count}; put them together by mcoherence merge")
        return 0
    from mcoherence.command.show import headline

    print(headline(arguments.out), file=sys.stdout)
    return 0
