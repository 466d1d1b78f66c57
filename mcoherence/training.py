"""Training: a pure function of images, labels, subset, settings and seed.

Read from top to bottom: the settings, the loop; one update is in `update.py`. The order of the examples is a
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

from mcoherence.data.batches import INITIAL_WEIGHTS, epoch_of_step, random_stream, training_batches
from mcoherence.errors import UserError
from mcoherence.models import build_model
from mcoherence.progress import progress
from mcoherence.schedules import parts_of_update
from mcoherence.update import make_optimizer, update

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

    def mean_loss(part: Tensor, part_labels: Tensor) -> Tensor:
        return F.cross_entropy(model(part), part_labels)

    def checkpoint(step: int) -> None:
        if losses and not bool(torch.isfinite(losses[-1])):
            raise UserError(
                f"training diverged: the loss is {losses[-1].item()} at update {step}, expected a finite number; "
                f"lower the optimiser's lr (found {settings.optimizer['lr']})"
            )
        save(step, epoch_of_step(step, size, settings.batch_size), model)

    batches = training_batches(size, settings.batch_size, settings.seed)
    mini_batches, groups = parts_of_update(settings.optimizer)
    scheduled = set(settings.checkpoint_steps)
    model.train()
    for step in progress(range(settings.updates), settings.updates, "train"):
        if step in scheduled:
            checkpoint(step)
        drawn = [part for _ in range(mini_batches) for part in np.array_split(next(batches), groups)]
        positions = [torch.from_numpy(part).to(device) for part in drawn]
        losses.append(update(optimizer, [(inputs[index], labels[index]) for index in positions], mean_loss))
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
