"""Gradient confusion along a run: how the gradients of fixed mini-batches lie to one another at every checkpoint.

Source: Sankararaman et al., "The Impact of Neural Network Overparameterization on Gradient Confusion and Stochastic
Gradient Descent" (arXiv 1904.06963). Losses f_i have the confusion bound eta >= 0 at w where grad f_i . grad f_j >=
-eta for all pairs i != j. Here f_i is the mean loss of a mini-batch, as in the paper's estimate. The mini-batches are
the same at every checkpoint of a study, and no two share an example, which would count as agreement.

A network is in eval mode, but for batch norm, which normalises by the mini-batch: that is the gradient that SGD
follows. So a mini-batch goes through whole, and nothing is measured in shards.

Index letters: K checkpoints, B mini-batches, b examples of each, P parameter elements.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mcoherence.data.random_streams import CONFUSION_MINI_BATCHES, random_stream
from mcoherence.files.progress import progress
from mcoherence.measuring.job import MeasuringJob
from mcoherence.precision import float32_products


def draw_mini_batches(train_size: int, count: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Positions of the examples of each mini-batch, int64 [B, b], ascending within one; none stands twice.

    Args:
        train_size: examples of the training part, at least count * batch_size.
        count: B.
        batch_size: b.
        seed: the same seed and sizes give the same mini-batches.
    """
    drawn = random_stream(seed, CONFUSION_MINI_BATCHES).choice(train_size, (count, batch_size), replace=False)
    return np.sort(drawn, axis=1).astype(np.int64)


def mini_batch_gram(model: nn.Module, mini_batches: Iterable[tuple[Tensor, Tensor]]) -> NDArray[np.float64]:
    """Inner products of the mini-batches' gradients of the mean cross-entropy, float64 [B, B].

    Gradients are taken in the model's own precision, and their products in float64. A parameter that a mini-batch does
    not reach has the gradient 0.

    Args:
        model: in eval mode; its batch norm layers are in train mode afterwards, and their running statistics moved.
        mini_batches: (inputs [b, ...], targets int64 [b]) of each, where the model is.

    Example:
        >>> line = nn.Linear(1, 2, bias=False)
        >>> _ = nn.init.zeros_(line.weight)
        >>> one = torch.ones(1, 1)
        >>> mini_batch_gram(line, [(one, torch.tensor([0])), (one, torch.tensor([1]))]).tolist()
        [[0.5, -0.5], [-0.5, 0.5]]
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss, gradients = nn.CrossEntropyLoss(), []
    for inputs, targets in mini_batches:
        found = torch.autograd.grad(loss(model(inputs), targets), parameters, materialize_grads=True)
        gradients.append(torch.cat([gradient.flatten() for gradient in found]).cpu().double())
    rows = torch.stack(gradients)  # [B, P]
    return np.asarray((rows @ rows.T).numpy())


def measure_confusion(
    job: MeasuringJob,
    index: NDArray[np.int64],
    labels: NDArray[np.int64],
    dtype: torch.dtype = torch.float64,
    *,
    tf32: bool = False,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The mini-batches' inner products at every checkpoint of a run, as a file holds them.

    Args:
        job: along which run, and where; its shard is not looked at.
        index: positions of the examples in the training part, int64 [B, b].
        labels: that the run trains on, of the whole training part, int64 [N].
        dtype: of the forward and backward passes.
        tf32: whether float32 products may be TF32's.

    Returns:
        The datasets step, epoch, diverged, sample/index [B, b] and gram float64 [K, B, B], NaN where the run had
        diverged; and the attribute run.
    """
    images, moments = job.load("train", index.ravel(), dtype), job.moments()
    count, size = index.shape
    places = np.arange(count * size).reshape(count, size)
    targets = torch.from_numpy(labels[index]).to(job.device)
    gram = np.full((len(job.checkpoints), count, count), np.nan)
    for k, path in progress(enumerate(job.checkpoints), len(job.checkpoints), "measure"):
        if moments.diverged[k]:
            continue
        model = job.network(path).to(job.device, dtype)
        with float32_products(tf32):
            gram[k] = mini_batch_gram(model, zip(images.batches(enumerate(places)), targets, strict=True))
    return {**moments.datasets(), "sample/index": index, "gram": gram}, {"run": moments.run}
