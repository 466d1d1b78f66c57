"""Evaluation along a run: loss and prediction per example at every checkpoint.

An evaluation may be made in shards of whole batches, so that no bit depends on the sharding.

Index letters: K checkpoints, N examples.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.loading import ImageLoader
from mcoherence.data.random_streams import EVALUATED_SAMPLE, random_stream
from mcoherence.device import require_float64
from mcoherence.files.progress import progress
from mcoherence.measuring.job import MeasuringJob
from mcoherence.precision import float32_products
from mcoherence.study.result_names import BATCH
from mcoherence.study.shards import EVALUATED_BATCH, Shard

NOTHING: Mapping[str, NDArray[np.int64]] = {}


@dataclass(frozen=True)
class Evaluation:
    """Cross-entropy and predicted class of every example: float32 [N] and int32 [N]."""

    loss: NDArray[np.float32]
    prediction: NDArray[np.int32]


def evaluate_run(
    job: MeasuringJob,
    labels: Mapping[str, NDArray[np.int64]],
    tf32: bool = False,
    index: Mapping[str, NDArray[np.int64]] = NOTHING,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Loss and prediction of the examples of each part, or of the job's shard of them, at every checkpoint of a run.

    Args:
        job: along which run, where, and which shard of the examples.
        labels: by part of the data set, "train" and "test": those that the loss is taken with, int64 [N].
        tf32: whether float32 products may be TF32's.
        index: of a part of which some examples are evaluated alone, their positions, int64 [n].

    Returns:
        The datasets step, epoch and diverged [K], and by part, such as "train/loss", loss and prediction [K, N],
        with its index [N] where one is given; and the attributes run and examples_at_a_time, the batch, in a list.
    """
    precision = next(job.network(job.checkpoints[0]).parameters()).dtype
    if precision == torch.float64:
        require_float64(job.device, "weights in float64")
    parts, datasets = {}, dict[str, NDArray[Any]]()
    for name, values in labels.items():
        chosen = positions_in_shard(len(index.get(name, values)), job.shard)
        if name in index:
            chosen = index[name][chosen]
            datasets[f"{name}/index"] = chosen
        parts[name] = job.load(name, chosen, precision), torch.from_numpy(values[chosen]).to(job.device)
    batch = job.evaluated_batch(precision)
    evaluations: dict[str, list[Evaluation]] = {name: [] for name in parts}
    moments = job.moments()
    for path, lost in progress(zip(job.checkpoints, moments.diverged, strict=True), len(job.checkpoints), "evaluate"):
        model = job.network(path).to(job.device)
        for name, (images, targets) in parts.items():
            none = lost or not len(images)
            with float32_products(tf32):
                evaluation = (
                    diverged_evaluation(len(images)) if none else evaluate(model, _in_order(images, batch), targets)
                )
            evaluations[name].append(evaluation)
    datasets |= moments.datasets()
    for name, along_run in evaluations.items():
        datasets[f"{name}/loss"] = np.stack([one.loss for one in along_run])
        datasets[f"{name}/prediction"] = np.stack([one.prediction for one in along_run])
    return datasets, {"run": moments.run, BATCH: [batch]}


def _in_order(images: ImageLoader, batch: int) -> Iterator[Tensor]:
    """The images in batches of so many."""
    ends = range(batch, len(images), batch)
    return images.batches(enumerate(np.split(np.arange(len(images)), ends)))


def positions_in_shard(size: int, shard: Shard) -> NDArray[np.int64]:
    """Positions of the examples of one shard of a part of `size`; shards begin where a batch begins."""
    batches = shard.rows(ceil(size / EVALUATED_BATCH))
    return np.arange(batches.start * EVALUATED_BATCH, min(batches.stop * EVALUATED_BATCH, size))


def draw_evaluated(size: int, count: int, seed: int) -> NDArray[np.int64]:
    """Positions of `count` examples of a part of `size`, or of all where there are fewer, ascending int64 [n]."""
    chosen = random_stream(seed, EVALUATED_SAMPLE).choice(size, min(count, size), replace=False)
    return np.sort(chosen).astype(np.int64)


def diverged_evaluation(size: int) -> Evaluation:
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
