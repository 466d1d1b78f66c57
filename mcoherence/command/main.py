"""The command line: its parsers, and how it is entered and left.

Libraries that take long to import are imported by the commands that need them, so that --help is quick.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
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
            module.__name__.rpartition(".")[2],
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
    sys.path.insert(0, here)  # where modules of the user's own are looked for first, as by `python -m`
    try:
        chosen, unknown = parser().parse_known_args(arguments)
        if unknown:  # told here: the parser of all commands would name its own --help
            chosen.parser.error(f"found {unknown[0]}, which this command does not take{_meant(unknown[0], chosen)}")
        status: int = chosen.run(chosen)
    except UserError as error:
        return _told(in_truth(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read the output has gone
        return 1
    except Exception as error:
        refused = _refusal_of(error) or _fault_of_own_code(error)
        if refused is None:
            raise
        return _told(refused)
    except KeyboardInterrupt:
        print("interrupted: no result was written", file=sys.stderr)
        return 130
    finally:
        sys.path.remove(here)
    return status


def _meant(unknown: str, chosen: argparse.Namespace) -> str:
    """The option of a command that is spelled nearly like one that is none, as a question; else nothing."""
    known = {name.replace("_", "-") for name in vars(chosen)} - {"run", "parser"}
    return meant(unknown.partition("=")[0], [f"--{name}" for name in known]) if unknown.startswith("--") else ""


def _told(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _refusal_of(error: Exception) -> str | None:
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
    from mcoherence.gradients.evidence import IdentityError
    from mcoherence.gradients.refusal import UnsupportedModelError

    if isinstance(error, IdentityError | UnsupportedModelError):
        return str(error)
    if not is_of_device(error):
        return None
    if isinstance(error, RuntimeError) and without_determinism(error) is not None:
        return (
            f"--device: found an operation without a deterministic algorithm on this device ({first_line(error)}); "
            "give --no-deterministic, which the file then says, or --device cpu"
        )
    return (
        f"--batch-size: found no memory left on the device ({first_line(error)}); lower it, or let a function "
        "as --data yield smaller batches"
    )


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
