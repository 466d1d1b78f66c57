"""Several processes that train one run together, each on its share of every mini-batch (torch's DDP).

A mini-batch, or a group of one under M3, is shared out over the ranks as evenly as it can be; the ranks' gradients are
weighted by their shares, so that an update is the one that a single process makes, up to rounding, for any batch size.
"""

import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.errors import UserError

SECONDS_TO_LEAVE = 20.0  # between asking the other ranks to leave and ending them
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True)
class Ranks:
    """This process among `world` that train one run; rank 0 leads: it alone writes files."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    def share(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """This rank's part of `positions` [n]: the ranks' shares differ by one example at most."""
        return positions if self.world == 1 else np.array_split(positions, self.world)[self.rank]

    def readers(self, of_job: int) -> int:
        """This rank's share of the processes of a job that read ahead: one at least, unless there are to be none."""
        share = of_job * (self.rank + 1) // self.world - of_job * self.rank // self.world
        return max(share, min(of_job, 1))

    def total(self, value: Tensor) -> Tensor:
        """The sum of `value` over the ranks, in place; every rank must call it."""
        if self.world > 1:
            torch.distributed.all_reduce(value)
        return value

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set on some rank; every rank must call it."""
        if self.world == 1:
            return flag
        return bool(self.total(torch.full((), float(flag), device=device)).item() > 0)


def launch(world: int) -> int:
    """Run this very command once per rank and wait for all; returns the status of the first that fails, else 0.

    Signals that ask a trainer to leave are handed on to the ranks. A rank that fails takes the others with it.

    torchrun may start the ranks as well, and this sets the variables that it sets. But asked to leave, it ends with
    status 1 and a traceback whatever the ranks say (75: saved, start me again), and SIGUSR1 kills it and leaves the
    ranks behind (tried with torch 2.15).
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    command = [sys.executable, *sys.orig_argv[1:]]
    ranks = [
        subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(world)
    ]

    def hand_on(received: int, _frame: FrameType | None) -> None:
        for rank in ranks:
            rank.send_signal(received)

    for number in _FORWARDED:
        signal.signal(number, hand_on)
    failed, deadline = 0, float("inf")
    while any(rank.poll() is None for rank in ranks):
        first = next((rank.returncode for rank in ranks if rank.returncode), 0)
        if first and not failed:
            failed, deadline = first, time.monotonic() + SECONDS_TO_LEAVE
            for rank in ranks:
                rank.terminate()
        if time.monotonic() > deadline:
            for rank in ranks:
                rank.kill()
        time.sleep(0.05)
    failed = failed or next((rank.returncode for rank in ranks if rank.returncode), 0)
    return failed if failed >= 0 else 128 - failed


def launched() -> bool:
    """Whether this process is one rank of several, started by `launch` or by torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """This process as a rank, in touch with the others inside the block; a single process is rank 0 of 1."""
    if not launched():
        yield Ranks()
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()


def device_of_rank(device: torch.device) -> torch.device:
    """The device of this process: with several ranks on GPUs, the one whose number is the rank's."""
    if device.type != "cuda" or not launched():
        return device
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if own.index >= torch.cuda.device_count():
        raise UserError(
            f"operational.ranks: found {os.environ['WORLD_SIZE']}, expected at most the {torch.cuda.device_count()} "
            "GPUs of this machine; lower it"
        )
    torch.cuda.set_device(own)
    return own


def with_shared_statistics(model: nn.Module, device: torch.device, ranks: Ranks) -> nn.Module:
    """The model with batch norm over the whole mini-batch rather than over each rank's share; same parameters.

    Raises:
        UserError: the model has batch norm and the ranks are not on GPUs, where torch has no such layer.
    """
    has_batch_norm = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    if ranks.world == 1 or not has_batch_norm:
        return model
    if device.type != "cuda":
        raise UserError(
            f"operational.ranks: found {ranks.world} on {device.type}, expected 1 for a network with batch norm, whose "
            "statistics torch shares between GPUs only; set it to 1 or use GPUs"
        )
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


def distributed(model: nn.Module, device: torch.device, ranks: Ranks) -> nn.Module:
    """The network to call in training: one whose backward averages the gradients over the ranks."""
    if ranks.world == 1:
        return model
    wrapper = nn.parallel.DistributedDataParallel
    names = ("forward_sync_buffers", "broadcast_buffers")  # torch 2.11 has the second alone, 2.15 warns of it
    option = next(name for name in names if name in inspect.signature(wrapper).parameters)
    options: dict[str, Any] = {option: False, "device_ids": [device.index] if device.type == "cuda" else None}
    return wrapper(model, **options)
