"""The options of the command-line modules of this package, one per file or list of files, and the settings."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def settings_parser(description: str | None, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser with --settings, which every command of a rule takes; the command adds its own options.

    Args:
        description: shown by --help; the command's docstring.
        parents: parsers whose options it takes as well, such as `computing_options()`.

    Example:
        parser = settings_parser(__doc__, computing_options())
        parser.add_argument("--images", type=Path, required=True)
        arguments = parser.parse_args()
    """
    parser = argparse.ArgumentParser(description=description, parents=parents)
    parser.add_argument("--settings", type=json.loads, required=True, help="the rule's settings, one JSON object")
    return parser


def computing_options() -> argparse.ArgumentParser:
    """Where and with how much a command computes on images; no number depends on it beyond rounding."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, default=1, help="processor threads that the rule has claimed")
    parser.add_argument("--workers", type=int, default=2, help="processes that read ahead when images are streamed")
    parser.add_argument("--images-memory-mb", type=int, default=2000, help="larger images are streamed from their file")
    return parser


def part_options() -> argparse.ArgumentParser:
    """Which part of its result a command makes, or from which parts it makes the whole."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shard", type=int, default=0, help="number of the shard of the examples, from 0")
    parser.add_argument("--shards", type=int, default=1, help="how many shards the examples are cut into")
    parser.add_argument("--parts", type=Path, nargs="*", default=[], help="the whole, where it was made in parts")
    return parser


def parse(
    description: str | None,
    paths: Sequence[str] = (),
    path_lists: Sequence[str] = (),
    switches: Sequence[str] = (),
    words: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> argparse.Namespace:
    """The options of one command: --settings (one JSON object, parsed), and one option per file or list of files.

    Args:
        description: shown by --help; the module's docstring.
        paths: names of options that take one path.
        path_lists: names of options that take any number of paths.
        options: further options by name, with their defaults, whose types they take.
        switches: names of options that are given as --NAME or --no-NAME.
        words: names of options that take one word. One called "module" names a module that the command imports by that
            name: the rule adds the digest of its code to that of the command, and `make why` finds it here. So it is of
            one called "package", all of whose modules the command imports.
    """
    parser = settings_parser(description)
    for name in paths:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    for name in path_lists:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, nargs="*", required=True)
    for name in words:
        parser.add_argument(f"--{name.replace('_', '-')}", required=True)
    for name, default in (options or {}).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    for name in switches:
        parser.add_argument(f"--{name.replace('_', '-')}", action=argparse.BooleanOptionalAction, required=True)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps; rules that use torch read it")
    parser.add_argument("--threads", type=int, default=1, help="processor threads that the rule has claimed")
    return parser.parse_args()
