"""What a training run is told: what decides its numbers, and how to compute them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from mcoherence.training.ranks import Ranks

WEIGHTS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}  # by `precision`


@dataclass(frozen=True)
class TrainingSettings:
    """What decides a segment of a training run besides its data.

    model: settings of `models.build_model`; optimizer: settings of `optimizer.make_optimizer` and `schedules`;
    mini_batches: of one update; groups: that each mini-batch is split into, both as the optimiser's entry in
    `optim.methods` says; batch_size: examples per mini-batch; precision: "float32", "bfloat16" (autocast; the weights
    stay float32) or "float64"; tf32: whether float32 products may be TF32's, see `mcoherence.precision`; start, stop:
    updates made before and after this segment; checkpoint_steps: ascending numbers of updates in (start, stop], or from
    0 where start is 0, after which the weights are saved; seed: of initial weights, example order and random layers.
    """

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    mini_batches: int
    groups: int
    batch_size: int
    precision: str
    tf32: bool
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
