r"""Measure single examples: the norm of each one's gradient, and how it agrees with the rest; CSV and Parquet.

  mcoherence examples --model torchvision.models:resnet18 --model-options num_classes=3 \
      --weights weights.pt --data photos --along sum --leave-one-out --out examples.csv

A row an example: index (its place in the data), target, group, file where there is one, sq_norm (squared norm of its
gradient), dot_NAME (its product with each direction).
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcoherence.command.named import add_named_options, named_measurement, require_place
from mcoherence.errors import UserError
from mcoherence.study.shards import Shard

if TYPE_CHECKING:
    import pandas as pd

    from mcoherence.measuring.named_network import NamedSample


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_named_options(parser)
    out = parser.add_argument_group("the result")
    out.add_argument(
        "--along",
        metavar="DIRECTION",
        nargs="+",
        default=["sum"],
        help="sum: the sum of all gradients; sum:GROUP: of a group's, with --groups (sum)",
    )
    out.add_argument("--leave-one-out", action="store_true", help="take an example's own gradient out of the sums")
    out.add_argument("--out", metavar="O.csv|O.parquet", type=Path, required=True, help="both forms are written")


def run(arguments: argparse.Namespace) -> int:
    """Measure, write both forms of the table, and say where they are."""
    import mcoherence
    from mcoherence.files.tables import write_table
    from mcoherence.measuring.named_network import fitting_network

    require_place(arguments.out, ".csv", ".parquet")
    if len(arguments.weights) > 1:
        raise UserError(f"--weights: found {len(arguments.weights)}, expected one for a table of examples; name one")
    if not hasattr(mcoherence, "example_statistics"):
        raise UserError("examples: found a version without example_statistics, expected a later one; update mcoherence")
    along = _directions(arguments)
    named = named_measurement(
        arguments, __name__, Shard(), along=list(arguments.along), leave_one_out=arguments.leave_one_out
    )
    measurement = named.measurement
    model = fitting_network(measurement, arguments.weights[0])
    statistics = mcoherence.example_statistics(
        model,
        measurement.loss,
        _batches(arguments, measurement),
        along=along,
        leave_one_out=arguments.leave_one_out,
        **({} if arguments.groups is None else {"groups": measurement.sample.groups}),
    )
    table = with_names(statistics.to_dataframe(), measurement.sample)
    csv, parquet = arguments.out.with_suffix(".csv"), arguments.out.with_suffix(".parquet")
    write_table(table, csv, parquet, named.origin)
    print(f"{csv}, {parquet.name}: {len(table)} examples")
    return 0


def _directions(arguments: argparse.Namespace) -> Any:
    """`along` as `example_statistics` takes it: one name alone, or several."""
    for one in arguments.along:
        if one != "sum" and not (one.startswith("sum:") and arguments.groups is not None):
            raise UserError(
                f"--along: found {one!r}, expected sum, or sum:GROUP of a group of --groups; name one of these"
            )
    return arguments.along[0] if len(arguments.along) == 1 else {one: one for one in arguments.along}


def _batches(arguments: argparse.Namespace, measurement: Any) -> Any:
    """The batches of the sample, with the group of each example where there are groups, and progress."""
    from mcoherence.files.progress import progress

    sample, reading = measurement.sample, measurement.reading
    rows, count = slice(None), sample.data.batch_count(sample.index, reading)
    batches = sample.batches(rows, reading) if arguments.groups is None else sample.grouped_batches(rows, reading)
    return progress(batches, count, "measure")


def with_names(table: "pd.DataFrame", sample: "NamedSample") -> "pd.DataFrame":
    """The rows of single examples with their places in the data, targets, groups and files.

    Args:
        table: of `example_statistics`, whose column index counts the examples in the order of the batches.
        sample: that was measured.
    """
    rows = table["index"].to_numpy()
    index, targets, files = sample.index[rows], sample.data.targets, sample.data.files()
    named = table.assign(index=index)
    place = 1
    if (labels := targets if sample.labels is None else sample.labels) is not None:
        named.insert(place, "target", labels[index])
        place += 1
    named.insert(place, "group", [sample.groups[one] for one in sample.group[rows]])
    if files is not None:
        named.insert(place + 1, "file", [files[one] for one in index])
    return named
