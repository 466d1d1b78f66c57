"""One optimiser step on the parts of an update, and the optimisers by name. A stand-in for w-optim's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from mcoherence.optim import M3, RA3, RM3, SGD

MeanLoss = Callable[[Tensor, Tensor], Tensor]


def update(optimizer: Optimizer, parts: Sequence[tuple[Tensor, Tensor]], mean_loss: MeanLoss) -> Tensor:
    """One optimiser step on parts (inputs [n, ...], labels [n]); returns the detached mean loss over the parts."""

    def closure_for(inputs: Tensor, labels: Tensor) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = mean_loss(inputs, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        return closure

    if isinstance(optimizer, M3):
        return optimizer.step([closure_for(*part) for part in parts])
    (part,) = parts
    loss: Tensor = optimizer.step(closure_for(*part))  # type: ignore[arg-type, assignment]
    return loss.detach()


def make_optimizer(settings: Mapping[str, Any], model: nn.Module) -> Optimizer:
    """The optimiser that `settings` name, over all parameters of the model."""
    methods: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "m3": M3, "rm3": RM3, "ra3": RA3}
    own = {key: value for key, value in settings.items() if key not in ("method", "schedule", "start")}
    return methods[settings["method"]](model.parameters(), **own)
