"""Where batches come from, and whether code of the user's runs from one to the next.

Such code may set something in the model or the loss for each batch, which no look at the batches tells.
"""

from collections.abc import Iterable
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

from mcoherence.gradients.trees import is_plain


def runs_no_code(batches: Iterable[Any]) -> bool:
    """Whether batches of plain tensors are handed on by Python or torch alone.

    That is in a list or tuple, or by a loader of torch's from a `TensorDataset`, or a `Subset` of one.
    """
    if type(batches) in (list, tuple):
        return all(type(batch) in (list, tuple) and _are_plain(batch) for batch in batches)
    if type(batches) is not DataLoader or batches.num_workers or type(batches.batch_sampler) is not BatchSampler:
        return False
    sampler: Any = batches.batch_sampler.sampler
    if type(sampler) not in (SequentialSampler, RandomSampler) or batches.collate_fn is not default_collate:
        return False
    return sampler.data_source is batches.dataset and _is_of_tensors(batches.dataset)


def _is_of_tensors(data: Any) -> bool:
    if type(data) is Subset:
        return type(data.indices) in (list, tuple, range) and _is_of_tensors(data.dataset)
    return type(data) is TensorDataset and _are_plain(data.tensors)


def _are_plain(tensors: Iterable[Any]) -> bool:
    return all(isinstance(tensor, Tensor) and is_plain(tensor) for tensor in tensors)
