"""What is measured along a run: which examples, in which groups, and how batch norm normalises meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.measuring.samples import DrawnExamples, RedrawnLabels

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

# By what batch norm normalises: the running statistics that training left, those of the measured training examples, or
# those of each mini-batch, whose mean gradients then stand for the examples'. "none": the network has no batch norm.
BatchNormStatistics = Literal["running", "sample", "minibatch", "none"]


@dataclass(frozen=True)
class Minibatches:
    """Mini-batches of k examples that coherence is estimated from.

    size: k.
    of_examples: for each of the drawn examples of a measurement, the mini-batch of each, int64 [m]; -1: of none.
    """

    size: int
    of_examples: Sequence[NDArray[np.int64]]


@dataclass(frozen=True)
class Measurement:
    """What is measured at every checkpoint of a run.

    result: its name, such as "coherence", which decides the schemas of its files.
    examples: drawn once for the whole run, taken together.
    groups: names of the groups; the samples' groups are positions in it.
    precision: "float32" or "float64".
    tf32: whether float32 products may be TF32's.
    further: datasets that say who was drawn, by name.
    batch_norm: by what it normalises, in networks that have it.
    redrawn: labels that the training examples are measured with once more, as a group of their own, after the others.
    minibatches: those of batch_norm "minibatch", which networks without batch norm have no need of.
    """

    result: str
    examples: Sequence[DrawnExamples]
    groups: Sequence[str]
    precision: str
    tf32: bool
    further: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    batch_norm: BatchNormStatistics = "running"
    redrawn: RedrawnLabels | None = None
    minibatches: Minibatches | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the measured forward and backward passes."""
        return PRECISIONS[self.precision]
