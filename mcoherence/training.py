"""Training: a pure function of images, labels, subset, settings and seed.

Read from top to bottom: the settings, the loop, one update, the optimisers by name. The order of the examples is a
function of (seed, epoch), the initial weights of the seed alone, so that optimisers, label sets and subsets are
compared from the same start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from mcoherence.data.batches import INITIAL_WEIGHTS, epoch_of_step, random_stream, training_batches
from mcoherence.errors import UserError
from mcoherence.models import build_model
from mcoherence.optim import M3, RA3, RM3, SGD
from mcoherence.progress import progress

# save(step, epoch, model), called at every scheduled step, before that step's update
Save = Callable[[int, float, nn.Module], None]


@dataclass(frozen=True)
class TrainingSettings:
    """What decides a training run besides its data.

    model: settings of `models.build_model`; optimizer: {"method": "sgd" | "m3" | "rm3" | "ra3", "lr": float, ...};
    updates: number of optimiser steps; batch_size: examples per update; checkpoint_steps: ascending numbers of updates
    after which the weights are saved; seed: of initial weights and example order.
    """

    model: dict[str, Any]
    optimizer: dict[str, Any]
    updates: int
    batch_size: int
    checkpoint_steps: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class TrainingLog:
    """Per update, before it: the epoch, and the mean cross-entropy of its mini-batch; float64 [updates]."""

    epoch: NDArray[np.float64]
    loss: NDArray[np.float64]


def train(
    settings: TrainingSettings,
    inputs: Tensor,
    labels: Tensor,
    num_classes: int,
    device: torch.device,
    save: Save,
) -> TrainingLog:
    """Train from fresh weights and call `save` at every checkpoint step; returns the log.

    Args:
        settings: what to train and for how long.
        inputs: normalised images [N, C, H, W] of the examples to train on.
        labels: their labels, int64 [N].
        num_classes: number of logits.
        device: where to compute; the data are moved there whole.
        save: called with (step, epoch, model).

    Raises:
        UserError: the loss stopped being finite.
    """
    size = len(inputs)
    model = initial_model(settings, inputs, num_classes).to(device)
    optimizer = make_optimizer(settings.optimizer, model)
    inputs, labels = inputs.to(device), labels.to(device)
    losses: list[Tensor] = []

    def checkpoint(step: int) -> None:
        if losses and not bool(torch.isfinite(losses[-1])):
            raise UserError(
                f"training diverged: the loss is {losses[-1].item()} at update {step}, expected a finite number; "
                f"lower the optimiser's lr (found {settings.optimizer['lr']})"
            )
        save(step, epoch_of_step(step, size, settings.batch_size), model)

    batches = training_batches(size, settings.batch_size, settings.seed)
    scheduled = set(settings.checkpoint_steps)
    model.train()
    for step in progress(range(settings.updates), settings.updates, "train"):
        if step in scheduled:
            checkpoint(step)
        losses.append(update(model, optimizer, inputs, labels, next(batches)))
    if settings.updates in scheduled:
        checkpoint(settings.updates)

    epochs = [epoch_of_step(step, size, settings.batch_size) for step in range(settings.updates)]
    return TrainingLog(np.array(epochs), torch.stack(losses).double().cpu().numpy())


def initial_model(settings: TrainingSettings, inputs: Tensor, num_classes: int) -> nn.Module:
    """The network with the initial weights of the run's seed; the same for every optimiser and label set."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_stream(settings.seed, INITIAL_WEIGHTS).integers(2**63)))
        channels, height, width = inputs.shape[1:]
        return build_model(settings.model, (channels, height, width), num_classes)


def update(model: nn.Module, optimizer: Optimizer, inputs: Tensor, labels: Tensor, batch: NDArray[np.int64]) -> Tensor:
    """One optimiser step on the examples at positions `batch` [n]; returns their mean loss before it, shape []."""

    def closure_for(positions: NDArray[np.int64]) -> Callable[[], Tensor]:
        index = torch.from_numpy(positions).to(inputs.device)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs[index]), labels[index])
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        return closure

    if isinstance(optimizer, M3):
        return optimizer.step([closure_for(part) for part in np.array_split(batch, optimizer.groups)])
    loss: Tensor = optimizer.step(closure_for(batch))  # type: ignore[arg-type, assignment]
    return loss.detach()


def make_optimizer(settings: dict[str, Any], model: nn.Module) -> Optimizer:
    """The optimiser that `settings` name, over all parameters of the model."""
    methods: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "m3": M3, "rm3": RM3, "ra3": RA3}
    own = {key: value for key, value in settings.items() if key != "method"}
    return methods[settings["method"]](model.parameters(), **own)
