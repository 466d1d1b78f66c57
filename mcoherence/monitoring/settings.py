"""What a monitor is told: refused in one line where it would fail at the first measurement only."""

from numbers import Real
from typing import Any

from torch import nn

from mcoherence.errors import UserError
from mcoherence.gradients.statistics import WHOLE_SAMPLE
from mcoherence.gradients.sweep.sample_pass import group_names
from mcoherence.monitoring.schedule import as_whole_number


def require_settings(model: Any, loss_fn: Any, name: Any, spot_check: Any, rank_timeout: Any) -> None:
    """Raise UserError for arguments of `CoherenceMonitor` that are of another kind than it says."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model: found {type(model).__name__}, expected the torch.nn.Module that is trained")
    if not callable(loss_fn):
        raise UserError(
            f"loss_fn: found {loss_fn!r}, expected loss_fn(outputs, targets) -> losses of the examples, [n]"
        )
    if not isinstance(name, str) or not name:
        raise UserError(f"name: found {name!r}, expected a name for what is logged, such as 'coherence'")
    examples = as_whole_number(spot_check)
    if examples is None or examples < 0:
        raise UserError(f"spot_check: found {spot_check!r}, expected a number of examples, or 0 for none")
    if not isinstance(rank_timeout, Real) or not 0 < float(rank_timeout) < 1e9:
        raise UserError(f"rank_timeout: found {rank_timeout!r}, expected a number of seconds above 0")


def names_of_groups(groups: Any) -> tuple[str, ...] | None:
    """The names of the groups, None where there are none; UserError where they are none, or one is taken."""
    if groups is None:
        return None
    try:
        names = group_names(groups)
    except (TypeError, ValueError):
        names = ()
    if not names or isinstance(groups, set | frozenset) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"groups: found {groups!r}, expected a list of different names, one or more, in the order that group ids "
            "count them"
        )
    if WHOLE_SAMPLE in names and len(names) > 1:
        raise UserError(
            f"groups: found {list(names)}, of which {WHOLE_SAMPLE!r} is what files call all of them together; give "
            "that group another name"
        )
    return tuple(map(str, names))


def number_of_updates(step: Any) -> int:
    """A step as a number of Python; UserError where it counts no updates."""
    number = as_whole_number(step)
    if number is None or number < 0:
        raise UserError(f"step: found {step!r}, expected the number of updates made so far, 0 or more, a whole number")
    return number
