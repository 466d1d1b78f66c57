"""How a test follows the advice of a message: what was refused works once it was done."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcoherence.errors import UserError

Step = Callable[[], object]
REFUSALS = (UserError, ValueError, ArithmeticError, RuntimeError, TypeError, SystemExit)
CASES: dict[str, list[tuple[str, Callable[..., Iterator[Step]]]]] = {}  # by the module that has them


def follows(message: str) -> Callable[[Callable[..., Iterator[Step]]], Callable[..., Iterator[Step]]]:
    """Mark a case: a generator of what is refused with this message, and then of what works, each way out in turn.

    It takes fixtures by name. `message` is a part of the message as the code has it, with {} for what is filled in.
    """

    def marked(case: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
        CASES.setdefault(case.__module__, []).append((message, case))
        return case

    return marked


def cases_of(module: str) -> Any:
    """A mark that runs a test once for each case of a module, as `message` and `case`."""
    found = CASES.get(module, [])
    return pytest.mark.parametrize(("message", "case"), found, ids=[message[:70] for message, _ in found])


def follow(message: str, case: Callable[..., Iterator[Step]], request: pytest.FixtureRequest) -> None:
    """Be refused with the message, do what it says, and find it to work."""
    names = case.__code__.co_varnames[: case.__code__.co_argcount]
    steps = case(*(request.getfixturevalue(name) for name in names))
    refused = next(steps)
    with pytest.raises(REFUSALS) as caught:
        refused()
    assert says(str(caught.value), message), str(caught.value)
    remedies = 0
    for remedied in steps:
        remedied()
        remedies += 1
    assert remedies, "no way out was tried"


def says(found: str, message: str) -> bool:
    """Whether a message is this one, with {} for what is filled in."""
    return re.search(".*".join(map(re.escape, message.split("{}"))), found, re.DOTALL) is not None
