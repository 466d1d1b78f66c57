"""Evaluation: a checkpoint -> per-example loss and prediction."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Evaluation:
    """Cross-entropy and predicted class of every example: float32 [N] and int32 [N]."""

    loss: NDArray[np.float32]
    prediction: NDArray[np.int32]


def of_diverged(size: int) -> Evaluation:
    """The record of a diverged checkpoint on `size` examples: no loss (NaN) and no prediction (-1)."""
    return Evaluation(np.full(size, np.nan, dtype=np.float32), np.full(size, -1, dtype=np.int32))


def evaluate(model: nn.Module, batches: Iterable[Tensor], labels: Tensor) -> Evaluation:
    """Loss and prediction of every example, in the mode that the model is in (a loaded checkpoint is in eval mode).

    Args:
        model: network on the device of the batches.
        batches: normalised images [n, C, H, W], all N in their order; any sizes.
        labels: int64 [N], the labels that the loss is taken with, on the same device.
    """
    losses, predictions, start = [], [], 0
    with torch.inference_mode():
        for inputs in batches:
            logits = model(inputs)
            losses.append(F.cross_entropy(logits, labels[start : start + len(inputs)], reduction="none"))
            predictions.append(logits.argmax(dim=1))
            start += len(inputs)
    return Evaluation(torch.cat(losses).float().cpu().numpy(), torch.cat(predictions).to(torch.int32).cpu().numpy())
