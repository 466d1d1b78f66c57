"""Several ranks that measure one probe sample together, each a share of it, and come to one result.

Everything that ranks say to each other here goes through a gloo group of its own with a time limit, so that a monitor
that is called on one rank alone ends in one line, not in waiting for ever. Every step of a measurement that can fail
is followed by the ranks telling each other whether it did.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcoherence.errors import UserError, first_line
from mcoherence.gradients.batch.evidence import Evidence, merged
from mcoherence.gradients.given.fingerprint import fingerprint
from mcoherence.gradients.statistics import GradientStatistics


class ProbeRanks:
    """This process among the ranks of torch.distributed, as they are when a measurement begins; else rank 0 of 1."""

    def __init__(self, timeout: float) -> None:
        """Take the time limit.

        Args:
            timeout: seconds that a rank waits for the others at each step of a measurement.
        """
        self._timeout = timedelta(seconds=timeout)
        self._group: Any = None
        self._of: Any = None  # the default group that ours is of

    def __getstate__(self) -> dict[str, Any]:
        """Without the group, which is of this process."""
        return {**vars(self), "_group": None, "_of": None}

    @property
    def rank(self) -> int:
        """This process's number."""
        return torch.distributed.get_rank() if _is_distributed() else 0

    @property
    def world(self) -> int:
        """Number of ranks."""
        return torch.distributed.get_world_size() if _is_distributed() else 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and logs."""
        return self.rank == 0

    def meet(self, step: int, setup: str) -> None:
        """Wait for all ranks to come to the measurement of a step; every rank must call it.

        Args:
            step: that is to be measured.
            setup: what must be the same on all ranks: sample, groups, schedule.

        Raises:
            UserError: some do not come in time, or they come to another measurement.
        """
        if self.world == 1:
            return
        try:
            self._open_group()
            torch.distributed.monitored_barrier(self._group, timeout=self._timeout, wait_all_ranks=True)
        except (RuntimeError, torch.distributed.DistError) as error:
            raise UserError(
                f"monitor: rank {self.rank} of {self.world} is to measure step {step}, and not every rank came within "
                f"{self._timeout.total_seconds():g} s ({first_line(error)}); call the monitor on all ranks at the same "
                "steps, not on rank 0 alone"
            ) from error
        said = self._gathered((step, setup))
        if len(set(said)) > 1:
            steps = sorted({one for one, _ in said})
            found = f"steps {steps}" if len(steps) > 1 else "other samples, groups or schedules"
            raise UserError(
                f"monitor: found {found} on the ranks, expected the same on all; make it alike on every rank"
            )

    @contextmanager
    def alike(self, model: nn.Module) -> Iterator[None]:
        """The model with the buffers of rank 0 on every rank inside the block; every rank must call it.

        Batch norm's running statistics are each rank's own between updates; what rank 0 has is what is saved.
        Afterwards the buffers are those of before, the very tensors.

        Raises:
            UserError: the weights differ.
        """
        if self.world == 1 or self._is_same(fingerprint(model)):
            yield
            return
        originals = {id(buffer): buffer for buffer in model.buffers()}
        places = [
            (module, name, id(buffer))
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
        ]
        shared = {key: self._of_leader(buffer) for key, buffer in originals.items()}
        try:
            for module, name, key in places:
                module._buffers[name] = shared[key]
            if not self._is_same(fingerprint(model)):
                raise UserError(
                    "monitor: found other weights on the ranks, expected every rank to hold the same network; sharded "
                    "weights (FSDP, tensor parallel) are not measured: measure a checkpoint of the whole network"
                )
            yield
        finally:
            for module, name, key in places:
                module._buffers[name] = originals[key]

    def require_none_failed(self, error: Exception | None) -> None:
        """Raise this rank's error, or one that names the rank whose error it is; every rank must call it."""
        said = [None if error is None else first_line(error)] if self.world == 1 else self._errors(error)
        if error is not None:
            raise error
        failed = {rank: line for rank, line in enumerate(said) if line is not None}
        if failed:
            rank, line = next(iter(failed.items()))
            raise UserError(f"monitor: the measurement failed on rank {rank} ({line}); see its message")

    def first(self, said: str) -> str:
        """What the first rank that says anything says, "" where none does; every rank must call it."""
        return said if self.world == 1 else next(filter(None, self._gathered(said)), "")

    def added_up(self, statistics: GradientStatistics) -> GradientStatistics:
        """The statistics of all shares on rank 0, on others what they measured; every rank must call it.

        S is added in the precision in which it is kept, everything else in float64.
        """
        if self.world == 1:
            return statistics
        evidence = [Evidence.from_json(one) for one in self._gathered(statistics.evidence.as_json())]
        counts = self._sum(torch.from_numpy(statistics.counts.copy())).numpy()
        totals = self._sum(torch.from_numpy(statistics.sum_sq_norms.copy())).numpy()
        sums = tuple(self._sum(one.cpu().contiguous()) for one in statistics.group_sums)
        measured = [one for one in evidence if one.examples_measured]
        return replace(statistics, counts=counts, sum_sq_norms=totals, group_sums=sums, evidence=merged(measured))

    def told_by_leader(self, said: Any, error: Exception | None) -> Any:
        """What rank 0 says, on every rank; every rank must call it.

        Raises:
            UserError: rank 0 has an error in its stead.
        """
        if self.world == 1:
            if error is not None:
                raise error
            return said
        box = [(said, None if error is None else first_line(error))]
        torch.distributed.broadcast_object_list(box, src=0, group=self._group)
        if error is not None:
            raise error
        said, line = box[0]
        if line is not None:
            raise UserError(f"monitor: the measurement failed on rank 0 ({line}); see its message")
        return said

    def _open_group(self) -> None:
        """A group of our own, made anew where the program has left the one that it was made in."""
        if self._of is not torch.distributed.group.WORLD:
            self._group = torch.distributed.new_group(backend="gloo", timeout=self._timeout)
            self._of = torch.distributed.group.WORLD

    def _gathered(self, mine: Any) -> list[Any]:
        """What each rank says."""
        said: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(said, mine, group=self._group)
        return said

    def _errors(self, error: Exception | None) -> list[str | None]:
        return self._gathered(None if error is None else first_line(error))

    def _is_same(self, mine: str) -> bool:
        return len(set(self._gathered(mine))) == 1

    def _of_leader(self, buffer: Tensor) -> Tensor:
        """Rank 0's values of a buffer, where this rank has its own."""
        values = buffer.detach().cpu().contiguous().clone()
        torch.distributed.broadcast(values, src=0, group=self._group)
        return values.to(buffer.device)

    def _sum(self, value: Tensor) -> Tensor:
        """The sum over the ranks, on rank 0."""
        torch.distributed.reduce(torch.view_as_real(value) if value.is_complex() else value, dst=0, group=self._group)
        return value


def nothing_measured(model: nn.Module, groups: Sequence[str]) -> GradientStatistics:
    """The statistics of no examples: those of a rank whose share is empty."""
    trainable = trainable_parameters(model)
    return GradientStatistics(
        tuple(groups),
        tuple(trainable),
        np.zeros(len(groups), dtype=np.int64),
        np.zeros((len(groups), len(trainable))),
        tuple(
            torch.zeros((len(groups), *p.shape), dtype=torch.promote_types(p.dtype, torch.float32))
            for p in trainable.values()
        ),
    )


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """{name: parameter} of those that require a gradient, as statistics of the model name them."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
