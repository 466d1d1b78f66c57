"""The options of the command-line modules of this package, one per file or list of files, and the settings."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def parse(
    description: str | None,
    paths: Sequence[str] = (),
    path_lists: Sequence[str] = (),
    switches: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> argparse.Namespace:
    """The options of one command: --settings (one JSON object, parsed), and one option per file or list of files.

    Args:
        description: shown by --help; the module's docstring.
        paths: names of options that take one path.
        path_lists: names of options that take any number of paths.
        options: further options by name, with their defaults, whose types they take.
        switches: names of options that are given as --NAME or --no-NAME.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--settings", type=json.loads, required=True, help="the rule's settings, one JSON object")
    for name in paths:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    for name in path_lists:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, nargs="*", required=True)
    for name, default in (options or {}).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    for name in switches:
        parser.add_argument(f"--{name.replace('_', '-')}", action=argparse.BooleanOptionalAction, required=True)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps; rules that use torch read it")
    parser.add_argument("--threads", type=int, default=1, help="processor threads that the rule has claimed")
    return parser.parse_args()
