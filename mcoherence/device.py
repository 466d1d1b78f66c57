"""The device that a job computes on: chosen, checked, made deterministic, and described for the record."""

import os

import torch

from mcoherence.errors import UserError


def devices() -> list[str]:
    """The kinds of devices that this machine has, the fastest first."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, there in available.items() if there]


def chosen_device(name: str) -> str:
    """The kind of device that "auto" stands for on this machine (cuda, else mps, else cpu); any other name as it is."""
    return devices()[0] if name == "auto" else name


def prepare_device(name: str, threads: int) -> torch.device:
    """The device to compute on, with the process set to `threads` threads and to deterministic algorithms.

    Args:
        name: "auto", see `chosen_device`, "cpu", "cuda" or "mps".
        threads: processor threads to use.

    Raises:
        UserError: the named device is not there. It never falls back to another one.
    """
    torch.set_num_threads(threads)
    chosen = chosen_device(name)
    if chosen not in devices():
        there = ", ".join(devices())
        raise UserError(f"device: found {name!r}, expected one that this machine has ({there}); set `device: auto`")
    if chosen != "cpu":
        # The CPU kernels in use are deterministic as they are, and this call costs 1.5 s of imports.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs a fixed workspace for it
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(chosen)


def describe_device(device: torch.device) -> str:
    """The device with its model name where it has one, such as "cuda (NVIDIA H200)" or "cpu"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
