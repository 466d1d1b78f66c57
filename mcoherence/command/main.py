"""The command line: its parsers, and how it is entered and left.

Libraries that take long to import are imported by the commands that need them, so that --help is quick.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

import mcoherence
from mcoherence.command import examples, measure, merge, show, verify
from mcoherence.errors import UserError, fault_of_own_code, first_line, meant, raised_at, with_kind
from mcoherence.files.faults import refusal_of_system
from mcoherence.files.whose import in_truth

COMMANDS = (measure, merge, examples, show, verify)
# Extra of this package -> what it brings that a command may ask for.
EXTRAS = {"figures": ("matplotlib", "scipy", "seaborn"), "workflow": ("torchvision",)}


class OneLineParser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line and exits with status 1, as all of this project does."""

    def error(self, message: str) -> NoReturn:
        """Say it and leave, in this project's words: the option, what was found, what was expected."""
        message = message.removeprefix("argument ")
        message = re.sub(
            r": expected (\w+|at least one) arguments?$", r": found another number of values, expected \1", message
        )
        self.exit(1, f"error: {message}; see {self.prog} --help\n")

    def options(self) -> list[str]:
        """The options that it takes, as they are written: `--help`, say."""
        return [name for name in self._option_string_actions if name.startswith("--")]

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Refuse a value that is none of the choices, with the one that is spelled nearly like it."""
        choices = None if action.choices is None else [str(one) for one in action.choices]
        if choices is not None and value not in choices:
            expected, near = " or ".join(choices), ""
            if len(choices) > 2:  # of two names the nearer one by spelling is often not the one meant
                expected, near = f"one of {', '.join(choices)}", meant(str(value), choices)
            raise argparse.ArgumentError(action, f"found {value!r}{near}, expected {expected}")


def parser() -> argparse.ArgumentParser:
    """The parser of the command and of all that follows it."""
    whole = OneLineParser(
        prog="mcoherence",
        description="How much the gradients of single examples agree in a network: measured, shown, verified.",
        epilog="docs/command.md begins with a torchvision network and a folder of images.",
    )
    whole.add_argument("--version", action="version", version=f"%(prog)s {mcoherence.__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        described = (module.__doc__ or "").strip()
        one = commands.add_parser(
            _name_of(module),
            help=described.splitlines()[0].rstrip("."),
            description=described,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(one)
        one.set_defaults(run=module.run, parser=one)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of these arguments, by default the process's; returns the exit status.

    A user's mistake is one line on standard error and status 1; a bug keeps its traceback.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    here = os.getcwd()
    chosen = argparse.Namespace()
    sys.path.insert(0, here)  # where modules of the user's own are looked for first, as by `python -m`
    try:
        chosen, unknown = parser().parse_known_args(arguments)
        if unknown:  # told here: the parser of all commands would name its own --help
            chosen.parser.error(f"found {unknown[0]}, which this command does not take{_meant(unknown[0], chosen)}")
        status = _status_of(chosen)
    except UserError as error:
        return _told(in_truth(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read the output has gone
        return 1
    except Exception as error:
        refused = _refusal_of(error, chosen) or _fault_of_own_code(error)
        if refused is None:
            raise
        return _told(refused)
    except KeyboardInterrupt:
        print("interrupted: no result was written", file=sys.stderr)
        return 130
    finally:
        sys.path.remove(here)
    return status


def _status_of(chosen: argparse.Namespace) -> int:
    """The exit status of the command; UserError where a function of the user's own ends Python in it."""
    try:
        status: int = chosen.run(chosen)
    except SystemExit as end:  # no command of ours leaves so
        place = raised_at(end)
        if place is None or place.ours:
            raise UserError(
                "--model, --data, --loss: found that what one of them names ends Python (sys.exit), expected functions "
                "that return; name others"
            ) from end
        raise UserError(
            f"{place.file}:{place.line}: found that it ends Python (sys.exit) in {place.function}, expected code that "
            "returns; take it out"
        ) from end
    return status


def _meant(unknown: str, chosen: argparse.Namespace) -> str:
    """Which commands take an option that one does not, or its option that is spelled nearly so; else nothing."""
    name = unknown.partition("=")[0]
    if not name.startswith("--"):
        return ""
    if others := [command for command, one in _parsers().items() if name in one.options()]:
        return f", but {' and '.join(others)} {'does' if len(others) == 1 else 'do'}"
    near = meant(name.removeprefix("--"), [one.removeprefix("--") for one in chosen.parser.options()])
    return near.replace("(did you mean ", "(did you mean --")


def _parsers() -> dict[str, OneLineParser]:
    """A parser of each command, by its name."""
    parsers = {_name_of(module): OneLineParser(add_help=False) for module in COMMANDS}
    for module in COMMANDS:
        module.add_options(parsers[_name_of(module)])
    return parsers


def _name_of(module: ModuleType) -> str:
    """What a command is called: as its module."""
    return module.__name__.rpartition(".")[2]


def _told(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _refusal_of(error: Exception, chosen: argparse.Namespace) -> str | None:
    """The user's mistake, or the machine's limit, that an error is, in a line; None where it may be a bug."""
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return refusal_of_system(error) or (f"{named}{error.strerror or first_line(error)}" if error.errno else None)
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        extra = next((extra for extra, names in EXTRAS.items() if name in names), None)
        return extra and f"found no {name}, expected it for this command; pip install 'mcoherence[{extra}]'"
    if "torch" not in sys.modules:
        return None
    from mcoherence.device import is_of_device, without_determinism
    from mcoherence.gradients.batch.evidence import IdentityError
    from mcoherence.gradients.given.refusal import UnsupportedModelError

    if isinstance(error, IdentityError | UnsupportedModelError):
        return str(error)
    if not is_of_device(error):
        return None
    if isinstance(error, RuntimeError) and without_determinism(error) is not None:
        return (
            f"--device: found an operation without a deterministic algorithm on this device ({first_line(error)}); "
            "give --no-deterministic, which the file then says, or --device cpu"
        )
    return _without_memory(error, chosen)


def _without_memory(error: Exception, chosen: argparse.Namespace) -> str | None:
    """The line for want of memory that nobody nearer to it told of: while passes of batches run, as a rule."""
    from mcoherence.device import without_memory

    size, data = getattr(chosen, "batch_size", None), getattr(chosen, "data", "")
    if size is None:
        return _line(without_memory(error, "run it where there is more", "this command"))
    if ":" in data and not os.path.exists(data):
        return _line(without_memory(error, "let the function yield smaller batches", "its batches", "--data"))
    if size > 1:
        return _line(without_memory(error, "lower it", f"the passes of {size} examples at a time", "--batch-size"))
    way_out = "name a smaller network or smaller images, or run it where there is more"
    return _line(without_memory(error, way_out, "the passes of one example at a time"))


def _line(refused: UserError | None) -> str | None:
    return None if refused is None else str(refused)


def _fault_of_own_code(error: Exception) -> str | None:
    """Where a function, network or loss of the user's raised an error, in a line; None where it may be our bug."""
    place = raised_at(error)
    if place is None or not place.ours:
        return fault_of_own_code(error)
    if place.function != "outputs_of":
        return None
    return (
        f"--data: found inputs that the network fails on ({with_kind(error)}), expected each batch to be as the first; "
        "look at the batches and at --model"
    )
