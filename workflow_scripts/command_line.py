"""What every command-line module of this package does at its edges: parse its options, and report a user's mistake."""

import argparse
import gc
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcoherence.errors import UserError


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
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--settings", type=json.loads, required=True, help="the rule's settings, one JSON object")
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


def run(main: Callable[[], None]) -> None:
    """Call `main`; a user's mistake becomes one line and exit status 1, anything else keeps its traceback."""
    gc.freeze()  # what imports made lasts, and need not be looked through
    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
