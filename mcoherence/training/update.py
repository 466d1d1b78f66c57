"""One update: an optimiser by its settings, and its step on the parts of a mini-batch or on several mini-batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mcoherence.optim import M3, RA3, RM3, SGD, SuccessiveM3, WinsorizedSGD
from mcoherence.optim.winsorized import refuse_batch_norm

MeanLoss = Callable[[Tensor, Tensor], Tensor]

# Settings of the loop rather than of the optimiser: its rate over time, and the weights to start from.
OF_THE_LOOP = ("method", "schedule", "start")


def make_optimizer(settings: Mapping[str, Any], model: nn.Module) -> Optimizer:
    """The optimiser that `settings` name, over all parameters of the model.

    Args:
        settings: {"method": "sgd" | "m3" | "m3_successive" | "rm3" | "ra3" | "winsorized", "lr": rate, ...}, the rest
            as the optimiser's class takes it; "schedule" and "start" are the loop's.
        model: the network in the mode that it is trained in.

    Raises:
        UserError: a winsorised optimiser and batch norm in training mode.
        ValueError: a setting out of its range.
    """
    own = {key: value for key, value in settings.items() if key not in OF_THE_LOOP}
    if settings["method"] == "winsorized":
        refuse_batch_norm(model)
        return WinsorizedSGD(model.parameters(), **own, model=model)
    methods: dict[str, Callable[..., Optimizer]] = {
        "sgd": SGD, "m3": M3, "m3_successive": SuccessiveM3, "rm3": RM3, "ra3": RA3,
    }  # fmt: skip
    return methods[settings["method"]](model.parameters(), **own)


def update(optimizer: Optimizer, parts: Sequence[tuple[Tensor, Tensor]], mean_loss: MeanLoss) -> Tensor:
    """One update on `parts`; returns the mean of their losses before it, detached, shape [].

    A part without examples, of a mini-batch with fewer examples than M3 has groups, has no loss and no gradient: it
    votes for zero in the median.

    Args:
        optimizer: from `make_optimizer`.
        parts: (inputs [n, ...], labels [n]) of each group of the mini-batch (M3), of each mini-batch (SuccessiveM3), or
            of the one mini-batch (the others); how many, `schedules.parts_of_update` tells.
        mean_loss: (inputs, labels) -> mean loss of a part, a forward pass of the network, shape [].
    """
    if isinstance(optimizer, WinsorizedSGD):
        ((inputs, labels),) = parts
        return optimizer.step(mean_loss, inputs, labels)
    losses: list[Tensor] = []

    def closure_of(inputs: Tensor, labels: Tensor) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimizer.zero_grad()
            if len(inputs) == 0:
                return inputs.new_zeros(())
            loss = mean_loss(inputs, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            return loss

        return closure

    closures = [closure_of(inputs, labels) for inputs, labels in parts]
    if isinstance(optimizer, M3):
        optimizer.step(closures)
    else:
        for closure in closures:
            optimizer.step(closure)  # type: ignore[arg-type]
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()
