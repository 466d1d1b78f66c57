"""Networks by name, with a stated start, and checkpoints that know which network they hold.

Index letters: n images, C channels, H and W pixels. The names below are imported on first use, and the networks
themselves by name: what a run depends on is the code of its own network (see `architectures`).
"""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "NetworkSettings": "mcoherence.models.checkpoints",
    "build_model": "mcoherence.models.build",
    "load_checkpoint": "mcoherence.models.checkpoints",
    "read_checkpoint_metadata": "mcoherence.models.checkpoints",
    "save_checkpoint": "mcoherence.models.checkpoints",
}

__all__ = ["NetworkSettings", "build_model", "load_checkpoint", "read_checkpoint_metadata", "save_checkpoint"]


def __getattr__(name: str) -> Any:
    """The exported object `name`, imported on first use; AttributeError for any other name."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'mcoherence.models' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
