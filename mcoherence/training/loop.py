"""Training: a pure function of images, labels, subset, settings and seed.

Read from top to bottom: the loop, the loss of an update, what changes between updates, the network. What a run is told
is in `settings`, what its updates see in `updates`, and what becomes of their losses in `losses`.

Nothing is hidden between two updates. The order of the examples is a function of (seed, epoch), the learning rate of
(settings, update), what layers draw at random (dropout) of (seed, update, rank), the initial weights of the seed alone.
So weights, buffers and the optimiser's own state after some update are all that it takes to go on from there to the
bit; and optimisers, label sets and subsets are compared from the same start.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from mcoherence.data.loading import LabelledExamples
from mcoherence.data.random_streams import INITIAL_WEIGHTS, RANDOM_LAYERS, random_stream
from mcoherence.device import describe_device, require_float64
from mcoherence.errors import UserError
from mcoherence.models.build import build_model
from mcoherence.optim.descent import EagerOptimizer, MeanLoss
from mcoherence.optim.one_rank import refuse_ranks
from mcoherence.precision import float32_products
from mcoherence.training.log_lines import LogLines
from mcoherence.training.losses import Losses, fill_with_nan, is_finite
from mcoherence.training.optimizer import make_optimizer
from mcoherence.training.ranks import Ranks, distributed, with_shared_statistics
from mcoherence.training.schedules import learning_rate
from mcoherence.training.settings import WEIGHTS, Execution, TrainingSettings
from mcoherence.training.state import TrainingState
from mcoherence.training.updates import check_sizes, epoch_of_update, parts_of_updates

UPDATES_BETWEEN_READS = 100  # of the losses, which otherwise stay on the device
UPDATES_BETWEEN_AGREEMENTS = 16  # of several ranks, on whether to keep the state


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
    if settings.precision == "float64":
        require_float64(device, "training.precision float64")
    model = starting_model(settings, examples, begin).train().to(device, WEIGHTS[settings.precision])
    model = with_shared_statistics(model, device, execution.ranks).to(memory_format=execution.layout)
    optimizer = make_optimizer(settings.optimizer, model)
    check_ranks(optimizer, settings, execution.ranks)
    if begin is not None and begin.optimizer:
        with fitting("optimiser"):
            optimizer.load_state_dict(begin.optimizer)
    losses = Losses(settings.start, begin, execution.ranks)
    examples_of_update = settings.mini_batches * settings.batch_size
    where, leads = describe_device(device), execution.ranks.leads
    lines = LogLines(first, settings.stop, examples_of_update, where, losses.known, leads)
    mean_loss = mean_loss_of(model, settings.precision, execution, lines.see)
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
        float32_products(settings.tf32),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        closing(parts_of_updates(settings, examples, execution, first)) as parts,
    ):
        for step in lines.updates():
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
    losses.read()
    lines.end()
    while waiting:  # the last one; after a divergence all that were still to come
        checkpoint()

    loss = losses.read().numpy()
    epochs = [epoch_of_update(settings, settings.start + i, len(examples)) for i in range(len(loss))]
    # A diverged run has no optimiser to go on with: how far it got before the divergence was read is an accident.
    kept = optimizer.state_dict() if losses.diverged_at is None else {}
    end = TrainingState(settings.stop, model.state_dict(), kept, diverged_at=losses.diverged_at)
    return TrainingLog(settings.start, np.array(epochs, dtype=np.float64), loss), end


def check_ranks(optimizer: EagerOptimizer, settings: TrainingSettings, ranks: Ranks) -> None:
    """Check that the optimiser can share a mini-batch out over the ranks.

    Raises:
        UserError: it cannot.
    """
    if ranks.world > 1 and optimizer.one_rank:
        refuse_ranks(ranks.world, f"the optimiser {settings.optimizer['method']}")


def mean_loss_of(
    model: nn.Module, precision: str, execution: Execution, see: Callable[[Tensor, Tensor], None]
) -> MeanLoss:
    """The function (inputs [n, ...], labels [n]) -> mean cross-entropy, shape [], of a part of an update.

    Every pass is shown to `see`: outputs [n, classes] and labels [n], which it leaves alone.

    With several ranks n is this rank's share: its sum counts with (number of ranks / examples of all ranks), so that
    the average of the ranks' gradients, which DDP takes, is the gradient of the mean over all examples.
    """
    device, ranks = execution.device, execution.ranks
    forward: Callable[[Tensor], Tensor] = distributed(model, device, ranks)
    if execution.compiled:
        if torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(True)  # tells the compiler too
        forward = torch.compile(forward)

    def logits_of(inputs: Tensor) -> Tensor:
        if precision != "bfloat16":
            return forward(inputs)
        with torch.autocast(device.type, torch.bfloat16):
            return forward(inputs).float()

    def mean_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(inputs)
        see(logits, labels)
        return F.cross_entropy(logits, labels)

    def share_of_mean_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(inputs)
        see(logits, labels)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        everywhere = ranks.total(torch.full_like(loss, len(labels), requires_grad=False))
        return loss * (ranks.world / everywhere)

    return mean_loss if ranks.world == 1 else share_of_mean_loss


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


def starting_model(settings: TrainingSettings, examples: LabelledExamples, begin: TrainingState | None) -> nn.Module:
    """The network with the weights to begin with, on the CPU: those of `begin`, or the initial ones of the seed."""
    model = initial_model(settings, examples)
    if begin is not None:
        with fitting("network"):
            model.load_state_dict(begin.model)
    return model


@contextmanager
def fitting(whose: str) -> Iterator[None]:
    """Turns what torch says of a state that is not of this network or optimiser into one line."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise UserError(
            f"the state to go on from: found one that does not fit this run's {whose} ({reason}), expected that of the "
            "same run; delete the folder state of the run and run again"
        ) from error


def initial_model(settings: TrainingSettings, examples: LabelledExamples) -> nn.Module:
    """The network with the initial weights of the run's seed; the same for every optimiser and label set."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_stream(settings.seed, INITIAL_WEIGHTS).integers(2**63)))
        return build_model(settings.model, examples.input_shape, examples.num_classes)
