"""Image data: sources, the prepared store, label corruption and batches.

Names are imported on first use, so that code which reads a prepared store does not depend on how labels are corrupted.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {"corrupt_labels": "mcoherence.data.corruption"}

__all__ = ["corrupt_labels"]


def __getattr__(name: str) -> Any:
    """The exported object `name`, imported on first use; AttributeError for any other name."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'mcoherence.data' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    """What can be imported from here, used or not."""
    return sorted({*globals(), *__all__} - {"Any", "import_module"})
