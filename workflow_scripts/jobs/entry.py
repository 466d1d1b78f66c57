"""How a command is entered and left: a user's mistake is one line, a bug keeps its traceback."""

import gc
import logging
import sys
from collections.abc import Callable

from mcoherence.errors import UserError

OPERATIONAL = True  # no number depends on it; docs/reruns.md


def run(main: Callable[[], None]) -> None:
    """Call `main`; a user's mistake or want of memory is one line and exit status 1, others keep their traceback."""
    gc.freeze()  # what imports made lasts, and need not be looked through
    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except (RuntimeError, MemoryError) as error:
        refused = _refusal_of(error)
        if refused is None:
            raise
        sys.exit(f"error: {refused}")


def _refusal_of(error: RuntimeError | MemoryError) -> UserError | None:
    """The user's mistake that torch's error is, if any; a command that computes nothing does not import torch."""
    if "torch" not in sys.modules:
        return None
    from mcoherence.device import without_determinism, without_memory

    way_out = "let fewer jobs run at once, or run it where there is more"
    return without_memory(error, way_out) or (without_determinism(error) if isinstance(error, RuntimeError) else None)
