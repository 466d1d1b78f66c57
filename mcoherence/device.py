"""The device that a job computes on: chosen, checked, made deterministic, and described for the record."""

import os

import torch

from mcoherence.errors import UserError


def prepare_device(name: str, threads: int) -> torch.device:
    """The device to compute on, with the process set to `threads` threads and to deterministic algorithms.

    Args:
        name: "auto" (cuda, else mps, else cpu), "cpu", "cuda" or "mps".
        threads: processor threads to use.

    Raises:
        UserError: the named device is not there. It never falls back to another one.
    """
    torch.set_num_threads(threads)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(device for device, there in available.items() if there) if name == "auto" else name
    if not available.get(chosen, False):
        there = ", ".join(device for device, there in available.items() if there)
        raise UserError(f"device: found {name!r}, expected one that this machine has ({there}); set `device: auto`")
    if chosen != "cpu":
        # The CPU kernels in use are deterministic as they are, and this call costs 1.5 s of imports.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs a fixed workspace for it
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(chosen)


def describe_device(device: torch.device) -> str:
    """The device with its model name where it has one, such as "cuda (NVIDIA H200)" or "cpu"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
