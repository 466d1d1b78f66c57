"""Options that several commands of this package take; each adds its own, one per file or list of files."""

import argparse
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from mcoherence.errors import UserError


def settings_parser(description: str | None, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser with --settings and --code, which every command takes that a rule runs; it adds its own options.

    Args:
        description: shown by --help; the command's docstring.
        parents: parsers whose options it takes as well, such as `computing_options()`.

    Example:
        parser = settings_parser(__doc__, computing_options())
        parser.add_argument("--images", type=Path, required=True)
        arguments = parser.parse_args()
    """
    parser = argparse.ArgumentParser(description=description, parents=[code_option(), *parents])
    parser.add_argument("--settings", type=json.loads, required=True, help="the rule's settings, one JSON object")
    return parser


def code_option() -> argparse.ArgumentParser:
    """The digest of the code that a command runs, as the rule has it among its params; it goes into the file."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--code", default="", help="digest of the code that runs, which the file will name")
    return parser


def computing_options() -> argparse.ArgumentParser:
    """Where and with how much a command computes on images; no number depends on it beyond rounding."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, default=1, help="processor threads that the rule has claimed")
    parser.add_argument("--deterministic", type=int, choices=(0, 1), default=1, help="refuse algorithms that are not")
    parser.add_argument("--workers", type=int, default=2, help="processes that read ahead when images are streamed")
    parser.add_argument("--images-memory-mb", type=int, default=2000, help="larger images are streamed from their file")
    return parser


def part_options() -> argparse.ArgumentParser:
    """Which part of its result a command makes, or from which parts it makes the whole."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shard", type=int, default=0, help="number of the shard of the examples, from 0")
    parser.add_argument("--shards", type=int, default=1, help="how many shards the examples are cut into")
    parser.add_argument("--parts", type=Path, nargs="?", help="the whole, where it was made in parts")
    return parser


def shown_options() -> argparse.ArgumentParser:
    """What a reader of a study sees: figures, claims, the page about it, its config, its tables and their columns."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--code", default="", help="digest of the code, of which `make why` asks")
    parser.add_argument("--figures", type=Path, nargs="*", required=True, help="PNG files")
    parser.add_argument("--claims", type=Path, required=True, help="claims.json")
    parser.add_argument("--study", type=Path, required=True, help="study.html")
    parser.add_argument("--config", type=Path, required=True, help="config.json")
    parser.add_argument("--dictionary", type=Path, required=True, help="dictionary.csv")
    parser.add_argument("--tables", type=Path, nargs="*", required=True, help="Parquet files")
    return parser


def function_of_module(module: str, room: str, function: str) -> Callable[..., Any]:
    """The function of this name in the module that --module names, one of a room of the library.

    The module is imported by its name, so that an edit of it re-runs the jobs that are given it and no others.

    Args:
        module: such as "mcoherence.figures.summary".
        room: the package that it must be a module of, such as "mcoherence.figures".
        function: such as "draw".

    Raises:
        UserError: the room has no such module, or the module no such function.
    """
    modules = [f"{room}.{found.name}" for found in iter_modules(import_module(room).__path__)]
    found: Callable[..., Any] | None = getattr(import_module(module), function, None) if module in modules else None
    if found is None:
        raise UserError(
            f"--module {module}: no such module, or one without {function}(); expected {room}.NAME with that function"
        )
    return found
