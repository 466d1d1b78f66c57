"""Where batches come from, and whether code of the user's runs from one to the next.

Such code may set something in the model or the loss for each batch, which no look at the batches tells.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)


def runs_no_code(batches: Iterable[Any]) -> bool:
    """Whether batches are handed on by Python or torch alone: in a list or tuple, or by a loader of torch's.

    A loader counts whose data set is a `TensorDataset`, or a `Subset` of one, or is read in other processes.
    """
    if type(batches) in (list, tuple, itertools.repeat):
        return True
    if type(batches) is not DataLoader or type(batches.sampler) not in (SequentialSampler, RandomSampler):
        return False
    if batches.num_workers:
        return type(batches.batch_sampler) in (BatchSampler, type(None))
    by_torch = batches.collate_fn is default_collate and type(batches.batch_sampler) is BatchSampler
    return by_torch and _is_of_tensors(batches.dataset)


def _is_of_tensors(data: Any) -> bool:
    return type(data) is TensorDataset or (type(data) is Subset and _is_of_tensors(data.dataset))
