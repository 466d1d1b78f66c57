"""How a command is entered and left: a user's mistake is one line, a bug keeps its traceback."""

import gc
import logging
import sys
from collections.abc import Callable

from mcoherence.errors import UserError, fault_of_own_code, raised_at
from mcoherence.files.faults import refusal_of_system

OPERATIONAL = True  # no number depends on it; docs/reruns.md


def run(main: Callable[[], None]) -> None:
    """Call `main`; what the user or the machine is at fault for becomes one line and exit status 1.

    Anything else keeps its traceback.
    """
    gc.freeze()  # what imports made lasts, and need not be looked through
    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        main()
    except SystemExit as end:
        place = raised_at(end)
        if place is None or place.ours:
            raise
        sys.exit(
            f"error: {place.file}:{place.line}: found that it ends Python (sys.exit) in {place.function}, expected "
            "code that returns; take it out"
        )
    except Exception as error:
        refused = in_one_line(error)
        if refused is None:
            raise
        sys.exit(f"error: {refused}")


def in_one_line(error: Exception) -> str | None:
    """What the user or the machine is at fault for, in a line; None where it may be a bug of ours."""
    return str(error) if isinstance(error, UserError) else _refusal_of(error) or fault_of_own_code(error)


def _refusal_of(error: Exception) -> str | None:
    """What of the machine or of torch it is; a command that computes nothing does not import torch."""
    if isinstance(error, OSError):
        return refusal_of_system(error)
    if "torch" not in sys.modules:
        return None
    from mcoherence.device import without_determinism, without_memory
    from mcoherence.gradients.batch.evidence import IdentityError

    if isinstance(error, IdentityError):
        return str(error)
    refused = None
    if isinstance(error, RuntimeError | MemoryError):
        refused = without_memory(error, "let fewer jobs run at once, or run it where there is more")
    if refused is None and isinstance(error, RuntimeError):
        refused = without_determinism(error)
    return None if refused is None else str(refused)
