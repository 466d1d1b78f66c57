"""Training: a pure function of images, labels, subset, settings and seed.

Read from top to bottom: the settings, the loop, one update, what an update sees, the losses, the network.

Nothing is hidden between two updates. The order of the examples is a function of (seed, epoch), the learning rate of
(settings, update), what layers draw at random (dropout) of (seed, update, rank), the initial weights of the seed alone.
So weights, buffers and the optimiser's own state after some update are all that it takes to go on from there to the
bit; and optimisers, label sets and subsets are compared from the same start.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from mcoherence.data.batches import draws_from, epoch_of_step, size_of_draw
from mcoherence.data.loading import Draw, LabelledExamples
from mcoherence.data.random_streams import INITIAL_WEIGHTS, RANDOM_LAYERS, random_stream
from mcoherence.errors import UserError
from mcoherence.files.progress import progress
from mcoherence.models.build import build_model
from mcoherence.optim.descent import EagerOptimizer, MeanLoss, Part
from mcoherence.training.optimizer import make_optimizer
from mcoherence.training.ranks import Ranks, distributed, with_shared_statistics
from mcoherence.training.schedules import learning_rate
from mcoherence.training.state import TrainingState

UPDATES_BETWEEN_READS = 100  # of the losses, which otherwise stay on the device
UPDATES_BETWEEN_AGREEMENTS = 16  # of several ranks, on whether to keep the state
WEIGHTS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}  # by `precision`


@dataclass(frozen=True)
class TrainingSettings:
    """What decides a segment of a training run besides its data.

    model: settings of `models.build_model`; optimizer: settings of `optimizer.make_optimizer` and `schedules`;
    mini_batches: of one update; groups: that each mini-batch is split into, both as the optimiser's entry in
    `optim.methods` says; batch_size: examples per mini-batch; precision: "float32", "bfloat16" (autocast; the weights
    stay float32) or "float64"; start, stop: updates made before and after this segment; checkpoint_steps: ascending
    numbers of updates in (start, stop], or from 0 where start is 0, after which the weights are saved; seed: of initial
    weights, example order and random layers.
    """

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    mini_batches: int
    groups: int
    batch_size: int
    precision: str
    start: int
    stop: int
    checkpoint_steps: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Execution:
    """How to compute; changes results by rounding at most.

    device: where to; ranks: this process among those that share the run; channels_last: memory layout of images and
    convolutions; compiled: whether torch compiles the network.
    """

    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    channels_last: bool = False
    compiled: bool = False

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of images and of the weights of convolutions."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


class Save(Protocol):
    """Writes one checkpoint; called on the leading rank, before the update that follows `step` updates."""

    def __call__(self, step: int, epoch: float, model: nn.Module, diverged_at: int | None) -> None:
        """Write the weights after `step` updates; NaN, with the update of the divergence, once the run diverged."""


class StateKeeper(Protocol):
    """Keeps states for resuming; see `resume.Keeper`."""

    @property
    def due(self) -> bool:
        """Whether a state should be kept now."""

    def keep(self, state: TrainingState) -> None:
        """Keep it, or end the process once it is kept."""


@dataclass(frozen=True)
class TrainingLog:
    """Per update of the segment, before it: the epoch, and the mean cross-entropy of its examples; float64 [updates].

    A run that diverged ends with the update whose loss was not finite.
    """

    start: int
    epoch: NDArray[np.float64]
    loss: NDArray[np.float64]


def train(
    settings: TrainingSettings,
    examples: LabelledExamples,
    execution: Execution,
    save: Save,
    begin: TrainingState | None = None,
    keeper: StateKeeper | None = None,
) -> tuple[TrainingLog, TrainingState]:
    """Train from `settings.start` to `settings.stop` updates; returns the log and the state at the end.

    Divergence, a loss or weights that are not finite, is an outcome and not an error: training ends there, and the
    checkpoints that were still to come hold NaN.

    Args:
        settings: what to train, from where to where.
        examples: the images to train on, with their labels.
        execution: how to compute.
        save: called at every checkpoint step.
        begin: the state to go on from: at the segment's start or, resuming, within it; None for fresh weights. A state
            without an optimiser starts a fresh one.
        keeper: asked before every update whether to keep the state.

    Raises:
        UserError: the settings do not fit the examples, or network or optimiser do not allow what `execution` asks for.
    """
    check_sizes(settings, len(examples), execution.ranks)
    device, first = execution.device, settings.start if begin is None else begin.update
    model = starting_model(settings, examples, begin).train().to(device, WEIGHTS[settings.precision])
    model = with_shared_statistics(model, device, execution.ranks).to(memory_format=execution.layout)
    optimizer = make_optimizer(settings.optimizer, model)
    check_ranks(optimizer, settings, execution.ranks)
    if begin is not None and begin.optimizer:
        optimizer.load_state_dict(begin.optimizer)
    mean_loss = mean_loss_of(model, settings.precision, execution)
    losses = Losses(settings.start, begin, execution.ranks)
    seed_layers = layer_seeds(settings.seed, execution)
    waiting = deque(step for step in settings.checkpoint_steps if step >= first)

    def checkpoint() -> None:
        step = waiting.popleft()
        losses.read()
        if losses.diverged_at is None and not is_finite(model):
            losses.diverged_at = step
        if losses.diverged_at is not None:
            fill_with_nan(model)
        if execution.ranks.leads:
            save(step, epoch_of_update(settings, step, len(examples)), model, losses.diverged_at)

    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        closing(parts_of_updates(settings, examples, execution, first)) as parts,
    ):
        for step in progress(range(first, settings.stop), settings.stop - first, "train"):
            if waiting and waiting[0] == step:
                checkpoint()
            if keeper is not None and is_due(keeper, step, execution):
                keeper.keep(TrainingState(step, model.state_dict(), optimizer.state_dict(), losses.read()))
            if (step - first) % UPDATES_BETWEEN_READS == 0:
                losses.read()
            if losses.diverged_at is not None:
                break
            set_learning_rate(optimizer, float(learning_rate(settings.optimizer, step)))
            seed_layers(step)
            losses.append(optimizer.step_on(next(parts), mean_loss))
    while waiting:  # the last one; after a divergence all that were still to come
        checkpoint()

    loss = losses.read().numpy()
    epochs = [epoch_of_update(settings, settings.start + i, len(examples)) for i in range(len(loss))]
    # A diverged run has no optimiser to go on with: how far it got before the divergence was read is an accident.
    kept = optimizer.state_dict() if losses.diverged_at is None else {}
    end = TrainingState(settings.stop, model.state_dict(), kept, diverged_at=losses.diverged_at)
    return TrainingLog(settings.start, np.array(epochs, dtype=np.float64), loss), end


def check_sizes(settings: TrainingSettings, size: int, ranks: Ranks) -> None:
    """Check that every mini-batch of `size` examples has some for each group and rank, where there are several ranks.

    Raises:
        UserError: the last mini-batch of an epoch is too small.
    """
    last, least = size % settings.batch_size or settings.batch_size, settings.groups * ranks.world
    if ranks.world > 1 and last < least:
        raise UserError(
            f"training.batch_size: found {settings.batch_size}, which leaves a last mini-batch of {last} out of {size} "
            f"examples, expected at least {least}, one for each of {ranks.world} ranks and {settings.groups} groups; "
            "choose another size, or fewer ranks"
        )


def check_ranks(optimizer: EagerOptimizer, settings: TrainingSettings, ranks: Ranks) -> None:
    """Check that the optimiser can share a mini-batch out over the ranks.

    Raises:
        UserError: it cannot.
    """
    if ranks.world > 1 and optimizer.one_rank:
        raise UserError(
            f"operational.ranks: found {ranks.world}, expected 1 for the optimiser {settings.optimizer['method']}, "
            "which needs the gradients of all examples in one place; set it to 1"
        )


def mean_loss_of(model: nn.Module, precision: str, execution: Execution) -> MeanLoss:
    """The function (inputs [n, ...], labels [n]) -> mean cross-entropy, shape [], of a part of an update.

    With several ranks n is this rank's share: its sum counts with (number of ranks / examples of all ranks), so that
    the average of the ranks' gradients, which DDP takes, is the gradient of the mean over all examples.
    """
    device, ranks = execution.device, execution.ranks
    forward: Callable[[Tensor], Tensor] = distributed(model, device, ranks)
    if execution.compiled:
        forward = torch.compile(forward)

    def logits_of(inputs: Tensor) -> Tensor:
        if precision != "bfloat16":
            return forward(inputs)
        with torch.autocast(device.type, torch.bfloat16):
            return forward(inputs).float()

    def mean_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits_of(inputs), labels)

    def share_of_mean_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(logits_of(inputs), labels, reduction="sum")
        everywhere = ranks.total(torch.full_like(loss, len(labels), requires_grad=False))
        return loss * (ranks.world / everywhere)

    return mean_loss if ranks.world == 1 else share_of_mean_loss


def parts_of_updates(
    settings: TrainingSettings, examples: LabelledExamples, execution: Execution, first: int
) -> Generator[list[Part], None, None]:
    """For every update from `first` to the segment's end its parts, (inputs [n, C, H, W], labels [n]) each.

    A part is a group of a mini-batch, or a whole one; on several ranks this rank's share of it.
    """
    dtype, layout = WEIGHTS[settings.precision], execution.layout
    parts: list[Part] = []
    for draw, (inputs, labels) in enumerate(
        examples.batches(schedule_of(settings, len(examples), execution.ranks, first)), first * settings.mini_batches
    ):
        inputs = inputs.to(dtype=dtype, memory_format=layout)
        if settings.groups == 1:
            parts.append((inputs, labels))
        else:
            whole = np.arange(size_of_draw(draw, len(examples), settings.batch_size))
            sizes = [len(share) for share in shares_of_groups(whole, settings.groups, execution.ranks)]
            parts += zip(torch.split(inputs, sizes), torch.split(labels, sizes), strict=True)
        if len(parts) == settings.mini_batches * settings.groups:
            yield parts
            parts = []


def schedule_of(settings: TrainingSettings, size: int, ranks: Ranks, first: int) -> Iterator[Draw]:
    """(number, positions [n]) of every mini-batch from update `first` to the segment's end: this rank's, by group."""
    draws = draws_from(first * settings.mini_batches, size, settings.batch_size, settings.seed)
    for draw, positions in islice(draws, (settings.stop - first) * settings.mini_batches):
        yield draw, np.concatenate(shares_of_groups(positions, settings.groups, ranks))


def shares_of_groups(positions: NDArray[np.int64], groups: int, ranks: Ranks) -> list[NDArray[np.int64]]:
    """This rank's share of each group of a mini-batch; groups differ by one example at most, and so do ranks."""
    return [ranks.share(group) for group in np.array_split(positions, groups)]


def epoch_of_update(settings: TrainingSettings, updates: int, size: int) -> float:
    """Passes over the `size` examples that the first `updates` updates make up."""
    return epoch_of_step(updates * settings.mini_batches, size, settings.batch_size)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def layer_seeds(seed: int, execution: Execution) -> Callable[[int], None]:
    """A function of the update number that seeds what layers draw from, such as dropout."""
    base = int(random_stream(seed, RANDOM_LAYERS, execution.ranks.rank).integers(2**62))
    generators = [torch.default_generator]
    if execution.device.type == "cuda":
        generators.append(torch.cuda.default_generators[execution.device.index or 0])
    elif execution.device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())

    def seed_layers(step: int) -> None:
        for generator in generators:
            generator.manual_seed(base + step)

    return seed_layers


def is_due(keeper: StateKeeper, step: int, execution: Execution) -> bool:
    """Whether to keep the state now; several ranks agree on it, now and then, because each has its own clock."""
    if execution.ranks.world == 1:
        return keeper.due
    return step % UPDATES_BETWEEN_AGREEMENTS == 0 and execution.ranks.any(keeper.due, execution.device)


class Losses:
    """The losses of a segment's updates. They stay on the device until they are read, so that no update waits for one.

    diverged_at: the update whose loss was not finite, once it was read; None before.
    """

    def __init__(self, start: int, begin: TrainingState | None, ranks: Ranks) -> None:
        self.diverged_at = None if begin is None else begin.diverged_at
        self._start, self._ranks = start, ranks
        self._read = torch.zeros(0, dtype=torch.float64)
        self._unread: list[Tensor] = []
        if begin is not None:
            self._add(begin.losses)

    def append(self, loss: Tensor) -> None:
        """Add the loss of the next update, shape []; on several ranks that of this rank's share, times their number."""
        self._unread.append(loss)

    def read(self) -> Tensor:
        """All losses of the segment so far, float64 [updates] on the CPU; those after a divergence are left out."""
        if self._unread:
            self._add((self._ranks.total(torch.stack(self._unread)) / self._ranks.world).cpu().double())
            self._unread.clear()
        return self._read

    def _add(self, losses: Tensor) -> None:
        if self.diverged_at is not None:
            return
        self._read = torch.cat([self._read, losses])
        not_finite = torch.nonzero(~torch.isfinite(self._read))
        if len(not_finite):
            self._read = self._read[: int(not_finite[0]) + 1]
            self.diverged_at = self._start + int(not_finite[0])


def is_finite(model: nn.Module) -> bool:
    """Whether all weights and buffers are finite numbers."""
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


@torch.no_grad()
def fill_with_nan(model: nn.Module) -> None:
    """Make the weights of a diverged run NaN, so that nothing computed from them can pass for a result."""
    for value in model.state_dict().values():
        value.fill_(math.nan if value.is_floating_point() else 0)


def starting_model(settings: TrainingSettings, examples: LabelledExamples, begin: TrainingState | None) -> nn.Module:
    """The network with the weights to begin with, on the CPU: those of `begin`, or the initial ones of the seed."""
    model = initial_model(settings, examples)
    if begin is not None:
        model.load_state_dict(begin.model)
    return model


def initial_model(settings: TrainingSettings, examples: LabelledExamples) -> nn.Module:
    """The network with the initial weights of the run's seed; the same for every optimiser and label set."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_stream(settings.seed, INITIAL_WEIGHTS).integers(2**63)))
        return build_model(settings.model, examples.input_shape, examples.num_classes)
