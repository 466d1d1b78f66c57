"""The optimiser of a run, by its settings."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mcoherence.optim.by_name import class_of
from mcoherence.optim.descent import EagerOptimizer

# Settings of the loop rather than of the optimiser: its rate over time, and the weights to start from.
OF_THE_LOOP = ("method", "schedule", "start")


def make_optimizer(settings: Mapping[str, Any], model: nn.Module) -> EagerOptimizer:
    """The optimiser that `settings` name, over all parameters of the model.

    Args:
        settings: {"method": a name of `optim.methods.METHODS`, "lr": rate, ...}, the rest as the optimiser's class
            takes it; "schedule" and "start" are the loop's.
        model: the network in the mode that it is trained in.

    Raises:
        UserError: there is no such method, or it cannot train this network.
        ValueError: a setting out of its range.
    """
    own = {key: value for key, value in settings.items() if key not in OF_THE_LOOP}
    # By name, so that of all optimisers the run's own alone is code that it depends on.
    optimizer: EagerOptimizer = class_of(settings["method"]).of_model(model, **own)
    return optimizer
