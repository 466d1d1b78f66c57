"""The device that a job computes on: chosen, checked, made deterministic, and described for the record."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mcoherence.errors import UserError

FIXED_WORKSPACES = (":4096:8", ":16:8")  # of cuBLAS, with which its sums have one order
NOT_DETERMINISTIC = "not deterministic"  # what the record of a device says where the setting is off


def devices() -> list[str]:
    """The kinds of devices that this machine has, the fastest first."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, there in available.items() if there]


def chosen_device(name: str) -> str:
    """The kind of device that "auto" stands for on this machine (cuda, else mps, else cpu); any other name as it is."""
    return devices()[0] if name == "auto" else name


def prepare_device(name: str, threads: int, deterministic: bool = True) -> torch.device:
    """The device to compute on, with the process set to `threads` threads and to deterministic algorithms.

    Args:
        name: "auto", see `chosen_device`, "cpu", "cuda" or "mps".
        threads: processor threads to use.
        deterministic: whether an operation for which the device has no deterministic algorithm is an error; see
            `without_determinism`. Without that the bytes after a kill may differ from those of an uninterrupted run.

    Raises:
        UserError: the named device is not there. It never falls back to another one.
    """
    torch.set_num_threads(threads)
    chosen = chosen_device(name)
    if chosen not in devices():
        there = ", ".join(devices())
        raise UserError(f"device: found {name!r}, expected one that this machine has ({there}); set `device: auto`")
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in FIXED_WORKSPACES:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = FIXED_WORKSPACES[0]
    # Not use_deterministic_algorithms, which imports torch's compiler: a second and a half.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # an extra write each
    return torch.device(chosen)


def prepare_measuring_device(name: str, threads: int, deterministic: bool = True) -> torch.device:
    """The device to measure gradients on, see `prepare_device`; the processor in place of an Apple GPU.

    Squared norms are float64 whatever the precision of the passes, and Apple's GPUs have no float64.
    """
    device = prepare_device(name, threads, deterministic)
    if not has_no_float64(device):
        return device
    print("measuring on the processor: Apple's GPU has no float64, which squared norms are summed in", file=sys.stderr)
    return torch.device("cpu")


def has_no_float64(device: torch.device) -> bool:
    """Whether a device is an Apple GPU, which computes with float32 at most."""
    return device.type == "mps"


def require_float64(device: torch.device, what: str) -> None:
    """UserError where float64 is asked for, by `what`, and the device has none."""
    if has_no_float64(device):
        raise UserError(
            f"device: found mps, an Apple GPU, which has no float64, expected one that has for {what}; "
            "set `device: cpu`"
        )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; a CUDA GPU is not waited for where it comes from the processor.

    A copy from pinned memory is waited for all the same: its owner may write there again at once. Other memory CUDA
    copies aside before the call comes back; of other devices that is not known.
    """
    if tensor.device == device:
        return tensor
    to_cuda = device.type == "cuda" and tensor.device.type == "cpu"
    return tensor.to(device, non_blocking=to_cuda and not tensor.is_pinned())


def describe_device(device: torch.device) -> str:
    """The device with its model name where it has one, such as "cuda (NVIDIA H200)" or "cpu".

    Where determinism is off, it says so.
    """
    name = f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
    return name if torch.are_deterministic_algorithms_enabled() else f"{name}, {NOT_DETERMINISTIC}"


def is_of_device(error: Exception) -> bool:
    """Whether an error is for want of memory or of a deterministic algorithm, and says nothing of what was computed."""
    if without_memory(error, "") is not None:
        return True
    return isinstance(error, RuntimeError) and without_determinism(error) is not None


@contextmanager
def enough_memory(way_out: str, what: str = "this job", key: str = "memory") -> Iterator[None]:
    """Turns want of memory inside the block, or in a function that this decorates, into one line.

    Args:
        way_out: what to do then, such as "lower operational.gpu_batch_mb".
        what: the room was wanted for.
        key: file or option that asked for it.

    Raises:
        UserError: memory did not do, on the device or the machine.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        refused = without_memory(error, way_out, what, key)
        if refused is None:
            raise
        raise refused from error


def without_memory(error: BaseException, way_out: str, what: str = "this job", key: str = "memory") -> UserError | None:
    """One line for an error of torch or numpy for want of memory, arguments as of `enough_memory`; None for others."""
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "backend out of memory" in said:
        where, asked = "GPU", re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", said)
    elif isinstance(error, MemoryError) or "can't allocate memory" in said:
        where, asked = "machine", re.search(r"(?:tried to|Unable to) allocate ([\d.]+ \w+)", said)
    else:
        return None
    more = "" if asked is None else f", asked for {asked[1]} more"
    kind = "" if key == "memory" else " memory"
    return UserError(f"{key}: found a {where} that has too little{kind}{more}; expected room for {what}; {way_out}")


def without_determinism(error: RuntimeError) -> UserError | None:
    """One line for torch's refusal of an operation that has no deterministic algorithm; None for any other error."""
    found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    if found is None:
        return None
    return UserError(
        f"device: found the operation {found[1]}, for which this device has no deterministic algorithm, expected the "
        "same bytes from every run; train on another device (device: cpu), change the network, or give the same bytes "
        "up with `operational: {deterministic: false}`, which every file then says"
    )
