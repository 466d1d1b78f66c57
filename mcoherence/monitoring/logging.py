"""What a monitor hands to somebody's logger: each number by itself, or all numbers of a step at once."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mcoherence.errors import UserError, first_line

Log = Callable[..., Any]


def takes_all_at_once(log: Log) -> bool:
    """Whether a logger is called as log({name: value}, step); otherwise as log(name, value, step).

    That is told by its signature: it takes a mapping if it has room for two arguments at most, or needs no more than
    one. So `run.log` of wandb and `mlflow.log_metrics` do, `SummaryWriter.add_scalar` and `mlflow.log_metric` do not.

    Example:
        >>> takes_all_at_once(lambda values, step: None), takes_all_at_once(lambda name, value, step: None)
        (True, False)
    """
    signature = _signature(log)
    if signature is None:
        return False
    parameters = signature.parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return False
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = sum(one.default is one.empty for one in positional)
    return len(positional) < 3 or needed <= 1


def require_log(log: Log) -> None:
    """Raise UserError unless a logger can be called as `hand_over` will call it, as far as its signature tells."""
    expected = "expected a function that is called as log(name, value, step) or as log({name: value}, step)"
    if not callable(log):
        raise UserError(f"log: found {type(log).__name__}, {expected}; hand over its method, such as writer.add_scalar")
    signature = _signature(log)
    if signature is None:
        return
    found = f"{getattr(log, '__name__', type(log).__name__)}{signature}"
    try:
        taken = signature.bind({}, 0) if takes_all_at_once(log) else signature.bind("", 0.0, 0)
    except TypeError as error:
        raise UserError(
            f"log: found {found}, {expected} ({first_line(error)}); wrap it: log=lambda values, step: ..."
        ) from error
    third = signature.parameters[[*taken.arguments][-1]]
    if third.default is not third.empty and third.kind is not third.VAR_POSITIONAL and "step" not in third.name:
        raise UserError(
            f"log: found {found}, whose {third.name!r} is where the step would go; {expected}; wrap it: "
            "log=lambda values, step: ..."
        )


def _signature(log: Log) -> inspect.Signature | None:
    """None of code that is not Python's."""
    try:
        return inspect.signature(log)
    except (TypeError, ValueError):
        return None


def for_loggers(monitor: str, values: Mapping[str, float]) -> dict[str, float]:
    """The values of a monitor of this name as loggers know them: "coherence/m_coherence" and so on."""
    return {f"{monitor}/{name}": value for name, value in values.items()}


def hand_over(log: Log, values: Mapping[str, float], step: int) -> None:
    """Call a logger with the values."""
    if takes_all_at_once(log):
        log(dict(values), step)
        return
    for name, value in values.items():
        log(name, value, step)
