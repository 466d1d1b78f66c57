"""Show a result file as a table, or two studies side by side.

mcoherence show coherence.h5 --png coherence.png
mcoherence show results/digits results/glyphs
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mcoherence.command.columns import four_digits, in_columns, rows_of_settings
from mcoherence.command.option_types import path_of
from mcoherence.command.show_studies import lines_of_claims, lines_of_study, lines_of_two
from mcoherence.errors import UserError, meant
from mcoherence.files.whose import HDF5_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

    from mcoherence.tables.sums import Sums

# Schemas of statistics that were saved, `mcoherence.gradients.storing`, which takes torch.
SUMS, EXAMPLES = "mcoherence/gradient_statistics/1", "mcoherence/example_statistics/1"
MOST_GROUPS = 6  # columns of a table that a terminal has room for
MOST_DRAWN = 8  # that a legend can name and colours tell apart
MOST_ROWS = 20  # of a table file


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "paths", metavar="FILE|STUDY", nargs="+", type=path_of, help="one file or study, or two studies"
    )
    parser.add_argument(
        "--png", type=path_of, help="draw a coherence file or a monitor's CSV: this PNG, and a PDF beside it"
    )
    parser.add_argument(
        "--groups",
        metavar="GROUP",
        nargs="+",
        help=f"of a coherence file, or a monitor's CSV: those shown, or drawn; without: the first {MOST_GROUPS} "
        f"in the table by layer, the first {MOST_DRAWN} in a picture",
    )
    parser.add_argument("--sort", metavar="COLUMN", help="of a table: the rows with the largest values first")
    parser.add_argument(
        "--all",
        action="store_true",
        help="of a coherence file: the table by layer of every group and step; of two studies: settings that agree too",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what there is to say."""
    first, *others = arguments.paths
    for path in arguments.paths:
        if not path.exists():
            raise UserError(f"{path}: not found, expected a result file or the folder of a study; look at the path")
    if len(arguments.paths) > 2 or (others and not (first.is_dir() and others[0].is_dir())):
        raise UserError(
            f"show: found {len(arguments.paths)} paths, expected one, or the folders of two studies; show files one "
            "by one"
        )
    for option in ("png", "groups"):
        if getattr(arguments, option) is not None and (others or not (_is_coherence(first) or _is_monitors_csv(first))):
            raise UserError(
                f"--{option}: found {first}, expected one coherence file, or the CSV of a monitor; leave --{option} out"
            )
    if arguments.sort is not None and (others or not _is_table(first)):
        raise UserError(f"--sort: found {first}, expected a table of columns; leave --sort out")
    if others:
        lines = list(lines_of_two(first, others[0], arguments.all))
    elif _is_monitors_csv(first):
        lines = list(_of_monitor(first, arguments.groups))
    elif _is_table(first):
        lines = list(_of_table(first, arguments.sort))
    elif _is_coherence(first):
        lines = list(_of_coherence(first, arguments.groups, arguments.all))
    else:
        lines = list(_of_one(first))
    if arguments.png is not None:
        lines += ["", _drawn(first, arguments.png, arguments.groups)]
    print("\n".join(lines))
    return 0


def _of_one(path: Path) -> Iterator[str]:
    if path.is_dir():
        return lines_of_study(path)
    readers = {
        ".json": lines_of_claims, ".h5": _of_file, ".hdf5": _of_file,
        ".safetensors": _of_file,
    }  # fmt: skip
    if path.suffix not in readers:
        known = ", ".join((".csv", ".parquet", *readers))
        raise UserError(f"{path}: found a file that shows nothing, expected one of {known}, or a study")
    if path.suffix in HDF5_SUFFIXES and _schema(path) in (SUMS, EXAMPLES):
        return _of_statistics(path)
    return readers[path.suffix](path)


# Coherence files


def _is_coherence(path: Path) -> bool:
    """Whether a file is of the kind that `measure` writes; UserError where it is damaged."""
    from mcoherence.study.result_names import COHERENCE_SCHEMA

    return path.suffix in HDF5_SUFFIXES and path.is_file() and _schema(path) == COHERENCE_SCHEMA


def _schema(path: Path) -> str:
    from mcoherence.files.hdf5 import read_attributes

    return str(read_attributes(path)["schema"])


def headline(path: Path) -> str:
    """The number of a coherence file in a line: of the whole network and all examples, at its last weights."""
    from mcoherence.coherence import alpha

    sums = _sums(path)
    group = _whole(sums)
    value, count = sums.m_coherence(group)[-1], sums.count(group)[-1]
    share = float(alpha(value, 1.0, count))
    return f"{path}: m-coherence {four_digits(value)} of {count} examples, alpha {four_digits(share)}"


def _sums(path: Path) -> "Sums":
    from mcoherence.study.result_names import COHERENCE_SCHEMA
    from mcoherence.tables.sums import Sums

    return Sums.read(path, COHERENCE_SCHEMA)


def _whole(sums: "Sums") -> str:
    """The group of all examples together, or else the first."""
    return next(name for name in (*sums.unions, *sums.groups) if sums.has(name))


def _groups(sums: "Sums") -> tuple[str, ...]:
    """All groups, that of all examples first."""
    return tuple(dict.fromkeys([_whole(sums), *sums.groups]))


def _is_table(path: Path) -> bool:
    """Whether a path is a table in both forms, by its names."""
    return path.suffix in (".csv", ".parquet") and path.with_suffix(".parquet").is_file()


def _is_monitors_csv(path: Path) -> bool:
    """Whether a path is a CSV file without the Parquet form of a table; UserError where no monitor wrote that."""
    if path.suffix != ".csv" or not path.is_file() or _is_table(path):
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        if "layer" not in file.readline():
            raise UserError(
                f"{path}: found no rows of a monitor, and no {path.with_suffix('.parquet').name} beside it, expected "
                "either; bring the Parquet form of the table beside it, or look at the path"
            )
    return True


def _monitored(path: Path, names: Sequence[str] | None) -> "pd.DataFrame":
    """The whole network's rows of the CSV of a monitor, of these groups or all."""
    from mcoherence.monitoring.reading import coherence_table
    from mcoherence.tables.columns import WHOLE_NETWORK

    table = coherence_table(path)
    whole = table[table["layer"] == WHOLE_NETWORK]
    chosen = _chosen(path, tuple(map(str, whole["group"].unique())), names)
    return whole[whole["group"].isin(chosen)]


def _of_monitor(path: Path, names: Sequence[str] | None) -> Iterator[str]:
    whole = _monitored(path, names)
    yield f"{path}: coherence along training, as a monitor measured it"
    yield ""
    rows = [["group", "step", "n", "m-coherence", "alpha"]]
    numbers = whole[["step", "n", "m_coherence", "alpha"]].to_numpy(float)
    rows += [[group, *map(four_digits, row)] for group, row in zip(map(str, whole["group"]), numbers, strict=True)]
    yield from in_columns(rows, numbers=4)


def _chosen(path: Path, known: tuple[str, ...], names: Sequence[str] | None) -> tuple[str, ...]:
    """The groups that the option --groups names, or all of a file."""
    for name in names or ():
        if name not in known:
            raise UserError(
                f"--groups: found {name!r}, expected one of {', '.join(known)}, as {path} has them{meant(name, known)}"
            )
    return tuple(dict.fromkeys(names)) if names else known


def _of_coherence(path: Path, names: Sequence[str] | None, everything: bool) -> Iterator[str]:
    from mcoherence.coherence import alpha
    from mcoherence.files.hdf5 import read_attributes

    sums, attributes = _sums(path), read_attributes(path)
    settings, evidence = json.loads(attributes["settings"]), json.loads(attributes["evidence"])
    run = json.loads(attributes.get("run", "{}"))  # a monitor's file has no run of a study
    described = " ".join(f"{key} {value}" for key, value in run.items()) or "a monitor's probe sample"
    yield f"{path}: coherence of {described}"
    yield (
        f"in {settings.get('precision', 'float32')} on {attributes['device']}, batch norm: {sums.batch_norm}; measured "
        f"{evidence['examples_measured']} of {evidence['examples_asked']} examples"
        f"{f' over {len(sums.step)} sets of weights' if len(sums.step) > 1 else ''}, "
        f"{evidence['parameters_covered']:,} of {evidence['parameters_trainable']:,} parameters"
    )
    yield ""
    groups = _chosen(path, _groups(sums), names)
    rows = [["step", "group", "n", "m-coherence", "alpha"]]
    for k, step in enumerate(sums.step):
        for group in groups:
            value, count = sums.m_coherence(group)[k], sums.count(group)[k]
            rows.append(
                [
                    str(step),
                    group,
                    str(count),
                    four_digits(value),
                    four_digits(float(alpha(value, 1.0, count))),
                ]
            )
    yield from in_columns(rows, 3)
    shown = groups if everything or names else groups[:MOST_GROUPS]
    left = [f"{len(groups) - len(shown)} more groups"] if len(groups) > len(shown) else []
    steps = range(len(sums.step)) if everything else range(len(sums.step))[-1:]
    left += [f"{len(sums.step) - 1} more steps"] if len(steps) < len(sums.step) else []
    more = f" ({' and '.join(left)}: --all)" if left else ""
    for k in steps:
        yield ""
        yield f"m-coherence by layer, step {sums.step[k]}{more}"
        rows = [["layer", "type", *shown]]
        for layer in sums.layers:
            values = [four_digits(sums.m_coherence(group, layer)[k]) for group in shown]
            rows.append([layer or "(the network itself)", sums.layer_types[layer], *values])
        yield from in_columns(rows, len(shown))


def _drawn(path: Path, png: Path, names: Sequence[str] | None) -> str:
    """Draw a coherence file, and say so."""
    from mcoherence.command.result_place import require_place
    from mcoherence.figures.one_measurement import draw_by_layer, draw_by_step
    from mcoherence.figures.saving import save_figure
    from mcoherence.files.provenance import provenance

    require_place(png, ".png", option="--png")
    if _is_monitors_csv(path):
        whole = _monitored(path, names)
        groups = tuple(map(str, whole["group"].unique()))
        of_group = {group: whole[whole["group"] == group] for group in groups[:MOST_DRAWN]}
        figure = draw_by_step(
            {group: (one["step"].to_numpy(), one["m_coherence"].to_numpy(float)) for group, one in of_group.items()}
        )
    else:
        sums = _sums(path)
        groups = _chosen(path, _groups(sums), names)
        if len(sums.step) > 1:
            figure = draw_by_step({group: (sums.step, sums.m_coherence(group)) for group in groups[:MOST_DRAWN]})
        else:
            figure = draw_by_layer(sums, groups[:MOST_DRAWN])
    save_figure(figure, png, png.with_suffix(".pdf"), 200, provenance({}, [path]))
    left = f"; {', '.join(groups[MOST_DRAWN:])} left out, --groups names others" if len(groups) > MOST_DRAWN else ""
    return f"{png} and {png.with_suffix('.pdf').name}: drawn{left}"


# Other files


def _of_statistics(path: Path) -> Iterator[str]:
    """What printing them says, and what they were made by."""
    from mcoherence.gradients.examples import ExampleStatistics
    from mcoherence.gradients.statistics import GradientStatistics

    yield _made_by(path)
    yield str((GradientStatistics if _schema(path) == SUMS else ExampleStatistics).load(path))


def _made_by(path: Path) -> str:
    """A first line about a file: device and commit, where it names them."""
    from mcoherence.audit.origins import NoOriginError, read_provenance

    try:
        origin = read_provenance(path)
    except NoOriginError:
        return f"{path}: without a word of what made it"
    return f"{path}: made on {origin.device} by {origin.git_commit[:12]}"


def _of_table(path: Path, sort: str | None) -> Iterator[str]:
    """The first rows of a table, or those with the largest values of a column."""
    from mcoherence.files.tables import check_table, read_table

    parquet = path.with_suffix(".parquet")
    if path != parquet:
        check_table(parquet)
    table = read_table(parquet)
    if sort is not None:
        if sort not in table:
            columns = [str(name) for name in table.columns]
            raise UserError(f"--sort: found {sort!r}, expected one of {', '.join(columns)}{meant(sort, columns)}")
        table = table.sort_values(sort, ascending=False, kind="stable")
    yield f"{path}: {len(table)} rows"
    yield table.head(MOST_ROWS).to_string(index=False)
    if len(table) > MOST_ROWS:
        yield f"... and {len(table) - MOST_ROWS} more; {path.with_suffix('.csv').name} has them all"


def _of_file(path: Path) -> Iterator[str]:
    """Settings, origin and contents of a result file or a checkpoint."""
    from mcoherence.audit.origins import NoOriginError, read_provenance

    yield _made_by(path)
    with suppress(NoOriginError):
        yield from in_columns([["setting", "value"], *rows_of_settings(read_provenance(path).settings)])
        yield ""
    yield from in_columns([["content", "type", "shape"], *_contents(path)])


def _contents(path: Path) -> list[list[str]]:
    if path.suffix == ".safetensors":
        from mcoherence.files.tensors import read_header

        tensors = read_header(path, "checkpoint").tensors
        return [[name, one.dtype, str(list(one.shape))] for name, one in tensors.items()]
    from mcoherence.files.hdf5 import read_attributes

    described = json.loads(read_attributes(path)["digests"])
    return [[name, one["dtype"], str(one["shape"])] for name, one in sorted(described.items())]
