"""Where batches come from, and whether code of the user's runs from one to the next.

Such code may set something in the model or the loss for each batch, which no look at the batches tells.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from mcoherence.gradients.given.trees import is_plain


@dataclass(frozen=True)
class BatchSource:
    """Batches, and what is known of where they come from.

    batches: as they are handed in; of a list or tuple, those that are in it when the call begins.
    runs_no_code: whether batches of plain tensors are handed on by Python or torch alone: in a list or tuple, or by a
        loader of torch's from a `TensorDataset`, or a `Subset` of one.
    data: the tensors of such a data set.
    """

    batches: Iterable[Any]
    runs_no_code: bool
    data: tuple[Tensor, ...] = ()

    def versions(self) -> list[int]:
        """How often each of the data set's tensors has been written to."""
        return [tensor._version for tensor in self.data if not tensor.is_inference()]


def source_of(batches: Iterable[Any]) -> BatchSource:
    """Where batches come from."""
    if type(batches) in (list, tuple):
        held = tuple(tuple(batch) if type(batch) is list else batch for batch in batches)
        return BatchSource(held, all(type(batch) is tuple and _are_plain(batch) for batch in held))
    if type(batches) is not DataLoader or batches.num_workers or type(batches.batch_sampler) is not BatchSampler:
        return BatchSource(batches, runs_no_code=False)
    sampler: Any = batches.batch_sampler.sampler
    if type(sampler) not in (SequentialSampler, RandomSampler) or batches.collate_fn is not default_collate:
        return BatchSource(batches, runs_no_code=False)
    data = _tensors_of(batches.dataset)
    return BatchSource(batches, sampler.data_source is batches.dataset and _are_plain(data) and bool(data), data)


def _tensors_of(data: Any) -> tuple[Tensor, ...]:
    """The tensors of a `TensorDataset`, or of what a `Subset` is of; none of others."""
    if type(data) is Subset:
        return _tensors_of(data.dataset) if type(data.indices) in (list, tuple, range) else ()
    return tuple(data.tensors) if type(data) is TensorDataset else ()


def _are_plain(tensors: Iterable[Any]) -> bool:
    return all(isinstance(tensor, Tensor) and is_plain(tensor) for tensor in tensors)
