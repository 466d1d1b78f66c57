"""What a monitor hands to somebody's logger: each number by itself, or all numbers of a step at once."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Log = Callable[..., Any]


def takes_all_at_once(log: Log) -> bool:
    """Whether a logger is called as log({name: value}, step); otherwise as log(name, value, step).

    That is told by its signature: it takes a mapping if it has room for two arguments at most, or needs no more than
    one. So `run.log` of wandb and `mlflow.log_metrics` do, `SummaryWriter.add_scalar` and `mlflow.log_metric` do not.

    Example:
        >>> takes_all_at_once(lambda values, step: None), takes_all_at_once(lambda name, value, step: None)
        (True, False)
    """
    try:
        parameters = inspect.signature(log).parameters.values()
    except ValueError:  # of code that is not Python's
        return False
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return False
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = sum(one.default is one.empty for one in positional)
    return len(positional) < 3 or needed <= 1


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
