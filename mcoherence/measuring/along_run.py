"""Gradient coherence along a run: one fixed sample, measured at every checkpoint, in groups.

A sample may be measured in shards. |S|^2 is not additive, so that each shard keeps S for `joining.add_shards` to add up.

Index letters: K checkpoints, G groups, P parameters, L layers, m examples of the training sample.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.data.loading import Examples
from mcoherence.files.progress import progress
from mcoherence.gradients.evidence import merged
from mcoherence.gradients.statistics import GradientStatistics, gradient_statistics
from mcoherence.measuring.record import CoherenceRecord, record_of
from mcoherence.models.checkpoints import load_checkpoint, read_checkpoint_metadata
from mcoherence.study.result_names import GROUPS
from mcoherence.study.shards import MEASURED_BATCH

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

# images of some examples, their targets int64 [m] on the images' device, and their groups int64 [m]
MeasuredExamples = tuple[Examples, Tensor, NDArray[np.int64]]


def measure_run(
    checkpoints: Sequence[Path],
    samples: Sequence[MeasuredExamples],
    precision: str,
    names: Sequence[str],
    keep_sums: Callable[[int, GradientStatistics], None] | None = None,
) -> tuple[dict[str, NDArray[Any] | Sequence[str]], dict[str, Any]]:
    """The measurement of samples, taken together, at every checkpoint of a run, as files hold it.

    Args:
        checkpoints: paths of the K checkpoints, in the order of training.
        samples: images, targets and groups (positions in `names`) of the examples.
        precision: "float32" or "float64".
        names: of the G groups.
        keep_sums: is given k and the statistics of every checkpoint that did not diverge, once measured. Their S are
            let go after that: one set of sums is in memory at a time.

    Returns:
        The datasets step, epoch, diverged, group, layer, layer_type, parameter, parameter_layer, n, sum_sq_norm and
        gram, with m_coherence and m_coherence_model derived from them; and the attributes run and evidence.
    """
    metadata = [read_checkpoint_metadata(path) for path in checkpoints]
    diverged = ["diverged_at" in one for one in metadata]
    device, dtype = samples[0][1].device, PRECISIONS[precision]
    groups = np.concatenate([group for _, _, group in samples])
    records, evidence = [], []
    for k, path in progress(enumerate(checkpoints), len(checkpoints), "measure"):
        model = load_checkpoint(path)
        if diverged[k]:
            records.append(record_of(of_diverged(model, groups, names)))
            continue
        batches = chain.from_iterable(group_batches(*one) for one in samples)
        statistics = measure(model.to(device, dtype), batches, names)
        records.append(record_of(statistics))
        evidence.append(statistics.evidence)
        if keep_sums is not None:
            keep_sums(k, statistics)
    record = CoherenceRecord.stacked(records)
    datasets: dict[str, NDArray[Any] | Sequence[str]] = {
        "step": np.array([one["step"] for one in metadata], dtype=np.int64),
        "epoch": np.array([one["epoch"] for one in metadata], dtype=np.float64),
        "diverged": np.array(diverged, dtype=np.bool_),
        "group": names,
        "layer": record.layers,
        "layer_type": [type(model.get_submodule(layer)).__name__ for layer in record.layers],
        "parameter": record.parameters,
        "parameter_layer": record.parameter_layer,
        **record.sums(),
    }
    return datasets, {"run": metadata[0]["run"], "evidence": merged(evidence).as_json()}


def keep_sums(file: h5py.File, k: int, statistics: GradientStatistics) -> None:
    """Write S of checkpoint k to the file of a shard, per parameter [G, *parameter shape], uncompressed."""
    for name, sums in zip(statistics.parameters, statistics.group_sums, strict=True):
        file.create_dataset(f"sums/{k}/{name}", data=sums.numpy(), chunks=True, fletcher32=True)


def measure(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor, Tensor]], names: Sequence[str] = GROUPS
) -> GradientStatistics:
    """Gradient statistics of the cross-entropy of one checkpoint, in the groups `names`."""
    return gradient_statistics(model, nn.CrossEntropyLoss(reduction="none"), batches, groups=names, spot_check=2)


def of_diverged(model: nn.Module, groups: NDArray[np.int64], names: Sequence[str] = GROUPS) -> GradientStatistics:
    """The record of a diverged checkpoint for a sample in these groups, int64 [m]: counts, and NaN for every sum."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return GradientStatistics(
        tuple(names),
        tuple(parameters),
        np.bincount(groups, minlength=len(names)).astype(np.int64),
        np.full((len(names), len(parameters)), np.nan),
        tuple(torch.full((), np.nan).expand(len(names), *p.shape) for p in parameters.values()),
    )


def group_batches(
    images: Examples, targets: Tensor, groups: NDArray[np.int64]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches (inputs [n, ...], targets [n], group ids [n]) of one group each, so that one pass serves each example.

    Args:
        images: the m examples of a sample.
        targets: their labels, int64 [m].
        groups: their groups, int64 [m].
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    chosen = [part for one in members for part in np.split(one, range(MEASURED_BATCH, len(one), MEASURED_BATCH))]
    for positions, inputs in zip(chosen, images.batches(enumerate(chosen)), strict=True):
        yield inputs, targets[torch.from_numpy(positions)], torch.from_numpy(groups[positions])
