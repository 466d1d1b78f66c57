"""Numbers of every training example along a run that may tell whether its label is wrong.

Of its gradient g_i: |g_i|^2 (the GraNd of Paul et al., arXiv 2107.07075, is the mean of |g_i| over runs), and product
and cosine with the sum of the gradients of the other examples that carry the same label, and of all others. Its own
gradient is left out: with it every example would agree with the sum, and those with the longest gradients most. Of its
logits z and their softmax p, with the label y: the loss, EL2N |p - onehot(y)|_2 (Paul et al.), the margin
z_y - max_{c != y} z_c (Pleiss et al., arXiv 2001.10528) and the confidence p_y (Swayamdipta et al., arXiv 2009.10795).

Labels are those that the run trains on. Networks are in eval mode.

Index letters: K checkpoints, N training examples, m examples of a sum, A classes.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.loading import ImageLoader
from mcoherence.device import sent
from mcoherence.errors import UserError
from mcoherence.files.progress import progress
from mcoherence.gradients.batch.evidence import Evidence, merged
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.examples import example_statistics
from mcoherence.gradients.own_left_out import cosines_with_others, products_with_others
from mcoherence.gradients.requested_directions import Direction
from mcoherence.gradients.rounding import share_of_products, share_of_sums
from mcoherence.gradients.statistics import gradient_statistics
from mcoherence.measuring.along_run import normalised_by
from mcoherence.measuring.by_examples import InBatches
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.measurement import BatchNormStatistics
from mcoherence.precision import float32_products
from mcoherence.study.result_names import BATCH, GRADIENT_SCORES, LOGIT_SCORES
from mcoherence.study.shards import MEASURED_BATCH

Scores = dict[str, NDArray[np.float64]]


def measure_example_scores(
    job: MeasuringJob,
    labels: NDArray[np.int64],
    dtype: torch.dtype = torch.float64,
    *,
    batch_norm: BatchNormStatistics = "running",
    tf32: bool = False,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The scores of all training examples at every checkpoint of a run, as a file holds them.

    Args:
        job: along which run, and where; its shard is not looked at.
        labels: that the run trains on, int64 [N].
        dtype: of the forward and backward passes.
        batch_norm: by what it normalises: "running", or "sample" for the statistics of all N examples.
        tf32: whether float32 products may be TF32's.

    Returns:
        The datasets step, epoch, diverged [K], and GRADIENT_SCORES and LOGIT_SCORES float64 [K, N], NaN where the run
        had diverged; and the attributes run, evidence, batch_norm and examples_at_a_time, the batch, in a list.
    """
    moments = job.moments()
    images, targets = job.load("train", np.arange(len(labels)), dtype), torch.from_numpy(labels)
    batch = job.measured_batch(dtype, products=True)
    scores = {name: np.full((len(moments.step), len(labels)), np.nan) for name in (*GRADIENT_SCORES, *LOGIT_SCORES)}
    evidence = []
    for k, path in progress(enumerate(job.checkpoints), len(job.checkpoints), "measure"):
        if moments.diverged[k]:
            continue
        model = job.network(path).to(job.device, dtype)
        with float32_products(tf32):
            if batch_norm == "sample":
                model = with_sample_statistics(model, InBatches([images], batch))
            of_logits = logit_scores(all_logits(model, images, batch).cpu(), targets)  # not every device has float64
        of_gradients, checked = gradient_scores(model, images, labels, batch, tf32=tf32)
        evidence.append(checked)
        for name, values in (of_logits | of_gradients).items():
            scores[name][k] = values
    normalised = normalised_by(job.network(job.checkpoints[0]), batch_norm)
    attributes = {
        "run": moments.run,
        "evidence": merged(evidence).as_json(),
        "batch_norm": normalised,
        BATCH: [batch],
    }
    return {**moments.datasets(), **scores}, attributes


def require_wrong_labels(changed: NDArray[np.bool_], name: str) -> None:
    """Raise UserError unless some labels were changed and some were not; `name` is that of their file."""
    if not changed.any() or changed.all():
        raise UserError(
            f"{name}: found {int(changed.sum())} of {len(changed)} labels changed, expected some that are and some "
            "that are not; set another fraction or scheme, or take the label set out of label_errors"
        )


def gradient_scores(
    model: nn.Module,
    images: ImageLoader,
    labels: NDArray[np.int64],
    batch: int = MEASURED_BATCH,
    *,
    tf32: bool = False,
) -> tuple[Scores, Evidence]:
    """GRADIENT_SCORES of all examples at one checkpoint, float64 [N] each, and what was checked.

    One pass for the sum over all; then class by class, so that an example is taken along two directions however many
    classes there are, and two sums are in memory. |S|^2 is not asked for: it is sum_i g_i . S.

    Args:
        model: in eval mode, on the images' device.
        images: the N examples.
        labels: int64 [N].
        batch: examples that are measured at a time.
        tf32: whether float32 products may be TF32's.
    """
    members = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    classes = [OfExamples(images, labels, positions, batch) for positions in members]
    loss = nn.CrossEntropyLoss(reduction="none")
    sums = gradient_statistics(model, loss, chain.from_iterable(classes), tf32=tf32)
    of_all_examples = {name: s[0] for name, s in zip(sums.parameters, sums.group_sums, strict=True)}
    along: dict[str, Direction] = {"class": "sum", "all": of_all_examples}
    found = [
        example_statistics(model, loss, batches, along, spot_check=int(first), tf32=tf32)
        for first, batches in zip([True, *[False] * len(classes)], classes, strict=False)
    ]
    sq_norm = np.concatenate([one.sq_norm for one in found])
    dtypes = [p.dtype for p in model.parameters()]
    of_class = [_with_others(one.dot["class"], one.sq_norm, dtypes) for one in found]
    of_all = _with_others(np.concatenate([one.dot["all"] for one in found]), sq_norm, dtypes)
    rows = np.argsort(np.concatenate(members))
    values = (sq_norm, *np.concatenate(of_class, axis=1), *of_all)
    scores = {name: value[rows] for name, value in zip(GRADIENT_SCORES, values, strict=True)}
    return scores, merged([sums.evidence, *(one.evidence for one in found)])


def _with_others(
    product: NDArray[np.float64], sq_norm: NDArray[np.float64], dtypes: Sequence[torch.dtype]
) -> NDArray[np.float64]:
    """Product and cosine of each of m gradients with the sum of the others, float64 [2, m].

    From |g_i|^2 and g_i . S, both [m], in a network of these dtypes.
    """
    products = products_with_others(product, sq_norm, share_of_products(*dtypes))
    return np.stack([products, cosines_with_others(product, sq_norm, share_of_sums(*dtypes))])


class OfExamples:
    """Batches (inputs [n, ...], targets [n]) of some examples in their order, which can be gone through again."""

    def __init__(
        self, images: ImageLoader, labels: NDArray[np.int64], positions: NDArray[np.int64], batch: int
    ) -> None:
        self._images, self._labels = images, labels
        self._chosen = np.split(positions, range(batch, len(positions), batch))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self._images.batches(enumerate(self._chosen))
        for positions, inputs in zip(self._chosen, batches, strict=True):
            yield inputs, sent(torch.from_numpy(self._labels[positions]), inputs.device)


def all_logits(model: nn.Module, images: ImageLoader, batch: int = MEASURED_BATCH) -> Tensor:
    """The logits of all images, [N, A], in the mode that the model is in; in batches of so many."""
    with torch.inference_mode():
        return torch.cat([model(inputs) for (inputs,) in InBatches([images], batch)])


def logit_scores(logits: Tensor, labels: Tensor) -> Scores:
    """LOGIT_SCORES of examples, float64 [N] each.

    Args:
        logits: [N, A], A at least 2.
        labels: int64 [N]; both on the CPU.

    Example:
        >>> scores = logit_scores(torch.tensor([[0.0, 0.0]], dtype=torch.float64), torch.tensor([1]))
        >>> {name: round(float(values[0]), 4) for name, values in scores.items()}
        {'loss': 0.6931, 'el2n': 0.7071, 'margin': 0.0, 'confidence': 0.5}
    """
    wide = logits.to(torch.float64)
    own = F.one_hot(labels, wide.shape[1]).bool()
    chances = wide.softmax(dim=1)
    confidence, rest = chances[own], chances.masked_fill(own, 0.0)
    wrong = rest.sum(dim=1)  # 1 - p_y without its rounding, where p_y is almost 1
    scores = {
        "loss": F.cross_entropy(wide, labels, reduction="none"),
        "el2n": (rest.square().sum(dim=1) + wrong.square()).sqrt(),
        "margin": wide[own] - wide.masked_fill(own, -torch.inf).amax(dim=1),
        "confidence": confidence,
    }
    return {name: scores[name].numpy() for name in LOGIT_SCORES}
