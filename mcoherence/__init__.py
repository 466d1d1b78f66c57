"""Exact per-layer gradient coherence of torch models, and the study of Chatterjee and Zielinski's papers.

The names below are imported on first use: a script that only draws a figure never pays for torch, and the code
that a script depends on stays visible in its own import lines (see `mcoherence.study.code_digest`).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "CoherenceMonitor": "mcoherence.monitoring.monitor",
    "ExampleGram": "mcoherence.gradients.gram",
    "ExampleStatistics": "mcoherence.gradients.examples",
    "GradientStatistics": "mcoherence.gradients.statistics",
    "example_gram": "mcoherence.gradients.gram",
    "example_statistics": "mcoherence.gradients.examples",
    "gradient_statistics": "mcoherence.gradients.statistics",
    "load_checkpoint": "mcoherence.models.checkpoints",
    "with_sample_statistics": "mcoherence.gradients.batch_norm",
    "without_padding": "mcoherence.gradients.padding",
}

__all__ = [
    "CoherenceMonitor",
    "ExampleGram",
    "ExampleStatistics",
    "GradientStatistics",
    "example_gram",
    "example_statistics",
    "gradient_statistics",
    "load_checkpoint",
    "with_sample_statistics",
    "without_padding",
]


def __getattr__(name: str) -> Any:
    """The exported object `name`, imported on first use; AttributeError for any other name."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'mcoherence' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    """What can be imported from here, used or not."""
    return sorted({*globals(), *__all__} - {"Any", "import_module", "_EXPORTS"})
