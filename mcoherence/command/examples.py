r"""Measure single examples: the norm of each one's gradient, and how it agrees with the rest; CSV and Parquet.

  mcoherence examples --model torchvision.models:resnet18 --model-options num_classes=3 \
      --weights weights.pt --data photos --along sum --leave-one-out --out examples.csv

A row an example: index (its place in the data), target, group, file where there is one, loss, sq_norm (squared norm of
its gradient), dot_NAME (its product with each direction; dot_NAME_of_others for a sum without its own gradient).
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mcoherence.command.named import add_named_options, add_weights, named_files, named_measurement
from mcoherence.command.option_types import path_of
from mcoherence.command.result_place import require_place
from mcoherence.errors import UserError, meant
from mcoherence.study.shards import Shard

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from mcoherence.measuring.named_network import NamedMeasurement, NamedSample


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_named_options(parser)
    add_weights(parser)
    out = parser.add_argument_group("the result")
    out.add_argument(
        "--along",
        metavar="DIRECTION",
        nargs="+",
        default=["sum"],
        help="sum: the sum of all gradients; sum:GROUP: of a group's, with --groups; weights: the weights (sum)",
    )
    out.add_argument("--leave-one-out", action="store_true", help="take an example's own gradient out of the sums")
    out.add_argument(
        "--out",
        metavar="O.csv|O.parquet",
        type=path_of,
        required=True,
        help="both forms are written, in place of earlier ones",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, write both forms of the table, and say where they are."""
    import mcoherence
    from mcoherence.files.tables import write_table
    from mcoherence.measuring.named_network import as_measured, fitting_network

    require_place(arguments.out, ".csv", ".parquet", inputs=named_files(arguments))
    named = named_measurement(
        arguments, __name__, Shard(), along=list(arguments.along), leave_one_out=arguments.leave_one_out
    )
    measurement, grouped = named.measurement, arguments.groups is not None
    model = as_measured(measurement, fitting_network(measurement, arguments.weights[0]))
    statistics = mcoherence.example_statistics(
        model,
        measurement.loss,
        _Batches(measurement, grouped),
        along=_directions(arguments.along, measurement.sample.groups if grouped else (), model),
        leave_one_out=arguments.leave_one_out,
        groups=measurement.sample.groups if grouped else None,
    )
    table = with_names(statistics.to_dataframe(), measurement.sample)
    csv, parquet = arguments.out.with_suffix(".csv"), arguments.out.with_suffix(".parquet")
    write_table(table, csv, parquet, named.origin)
    print(f"{csv}, {parquet.name}: {len(table)} examples")
    return 0


def _directions(names: Sequence[str], groups: Sequence[str], model: "nn.Module") -> dict[str, Any]:
    """`along` as `example_statistics` takes it: name -> the name of a sum, or a tensor for each parameter."""
    known = ["sum", *(f"sum:{group}" for group in groups), "weights"]
    for one in names:
        if one not in known:
            raise UserError(
                f"--along: found {one!r}{meant(one, known)}, expected sum, weights, or sum:GROUP of a group of "
                "--groups; name one of these"
            )
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return {one: weights if one == "weights" else one for one in names}


class _Batches:
    """The batches of a sample, which are gone through twice where there are directions; with progress."""

    def __init__(self, measurement: "NamedMeasurement", grouped: bool) -> None:
        self._measurement, self._grouped = measurement, grouped

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        from mcoherence.files.progress import progress

        sample, reading = self._measurement.sample, self._measurement.reading
        batches: Iterable[tuple[Any, ...]]
        batches = (sample.grouped_batches if self._grouped else sample.batches)(slice(None), reading)
        return progress(batches, sample.data.batch_count(sample.index, reading), "measure")


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
