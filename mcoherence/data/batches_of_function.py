"""Data that a function "module:function" of the user's yields in batches.

Index letter: n examples of a batch.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.data.named_data import BatchReading, NamedData, Positions
from mcoherence.errors import UserError, first_line
from mcoherence.files.progress import progress
from mcoherence.own_functions import own_function


class BatchesOfFunction(NamedData):
    """What a function of the user's yields: batches (inputs, targets), or (inputs, targets, changed).

    The function is called once to look at the batches, and once whenever they are read; it must yield the same ones.
    Inputs and targets are tensors, or dictionaries, lists and tuples of these, examples first.
    """

    def __init__(self, name: str, part: str, options: Mapping[str, Any], code: str) -> None:
        """Find the function; `code` is the digest of its code."""
        super().__init__(name, part)
        self._function: Callable[..., Iterable[Any]] = own_function(name)
        self._options, self._code = dict(options), code
        if not callable(self._function):
            raise UserError(f"{name}: found a {type(self._function).__name__}, expected a function that yields batches")

    def __len__(self) -> int:
        return self._seen.examples

    @property
    def targets(self) -> Positions | None:
        """The targets, where each is one whole number that is not negative."""
        return self._seen.targets

    @property
    def changed(self) -> NDArray[np.bool_] | None:
        """The third things in the batches."""
        return self._seen.changed

    def settings(self) -> dict[str, Any]:
        """The options and the code of the function."""
        return {"kind": "function", "options": self._options, "code": self._code}

    def digests(self, positions: Positions) -> dict[str, str]:
        """Of the function: SHA-256 of all that it yielded."""
        return {self.name: f"batches:{self._seen.digest}"}

    def batches(self, positions: Positions, reading: BatchReading) -> Iterator[tuple[Any, Any]]:
        """The batches as the function yields them, those at the ends cut where positions begin or end within them.

        Raises:
            UserError: positions are not neighbours, or the batches are not those that were seen before.
        """
        if len(positions) == 0:
            return
        first, last = int(positions[0]), int(positions[-1]) + 1
        if last - first != len(positions):
            raise UserError(f"{self.name}: found a sample to be drawn, expected all that it yields; let it yield fewer")
        digest, start = hashlib.sha256(), 0
        for inputs, targets, _ in self._yielded():
            _update(digest, (inputs, targets))
            size = _size(self.name, targets)
            begin, end = max(first - start, 0), min(last - start, size)
            start += size
            if begin < end:
                cut = slice(begin, end)
                yield tuple(_mapped(one, lambda t, c=cut: _moved(t[c], reading)) for one in (inputs, targets))  # type: ignore[misc]
        if digest.hexdigest() != self._seen.digest:
            raise UserError(
                f"{self.name}: found other batches than when it was called before, expected the same in the same order "
                "each time; switch shuffling and augmentation off, or set their seeds in the function"
            )

    def batch_count(self, positions: Positions, reading: BatchReading) -> int:
        """How many of the function's batches have examples at these positions."""
        ends = np.cumsum(self._seen.sizes)
        return len(np.unique(np.searchsorted(ends, positions, side="right")))

    def _yielded(self) -> Iterator[tuple[Any, Any, Any]]:
        """(inputs, targets, changed or None) of every batch that is not empty."""
        try:
            batches = iter(self._function(**self._options))
        except TypeError as error:
            raise UserError(
                f"{self.name}: found a function that cannot be called with {self._options} or does not yield batches "
                f"({first_line(error)}), expected (inputs, targets) of each batch"
            ) from error
        for batch in batches:
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise UserError(
                    f"{self.name}: found a batch that is a {type(batch).__name__}"
                    f"{f' of {len(batch)}' if isinstance(batch, tuple | list) else ''}, expected (inputs, targets), or "
                    "(inputs, targets, changed)"
                )
            inputs, targets, *more = batch
            size = _size(self.name, targets)
            _mapped(inputs, lambda tensor, n=size: self._require_length(tensor, n))  # type: ignore[misc]
            _mapped(targets, lambda tensor, n=size: self._require_length(tensor, n))  # type: ignore[misc]
            if size:
                yield inputs, targets, more[0] if more else None

    def _require_length(self, tensor: Tensor, size: int) -> None:
        if tensor.ndim == 0 or len(tensor) != size:
            raise UserError(
                f"{self.name}: found a batch of {size} targets with a tensor of shape {list(tensor.shape)}, expected "
                f"[{size}, ...] of every tensor in it; let the function pair each input with its target"
            )

    @cached_property
    def _seen(self) -> "_Seen":
        """What all batches are, from a first look at them."""
        digest, targets, changed = hashlib.sha256(), [], []
        for inputs, of_batch, marks in progress(self._yielded(), None, f"look at {self.name}"):
            _update(digest, (inputs, of_batch))
            whole = isinstance(of_batch, Tensor) and of_batch.ndim == 1 and not of_batch.is_floating_point()
            targets.append(of_batch.cpu().numpy() if whole else np.full(_size(self.name, of_batch), -1))
            if marks is not None:
                changed.append(np.asarray(marks, dtype=np.bool_))
        if not targets:
            raise UserError(f"{self.name}: found no batches, expected at least one")
        classes, marked = np.concatenate(targets).astype(np.int64), np.concatenate(changed) if changed else None
        if marked is not None and marked.shape != classes.shape:
            raise UserError(
                f"{self.name}: found marks of changed labels of shape {list(marked.shape)}, expected one for each of "
                f"the {len(classes)} examples, in every batch"
            )
        sizes = tuple(len(one) for one in targets)
        return _Seen(len(classes), sizes, classes if classes.min() >= 0 else None, marked, digest.hexdigest())


@dataclass(frozen=True)
class _Seen:
    """Number of examples, in all and of each batch; their classes and marks, if any; digest of all batches."""

    examples: int
    sizes: tuple[int, ...]
    targets: Positions | None
    changed: NDArray[np.bool_] | None
    digest: str


def _size(name: str, targets: Any) -> int:
    """Number of examples of a batch, by its targets."""
    leaves: list[Tensor] = []
    _mapped(targets, leaves.append)
    if not leaves or leaves[0].ndim == 0:
        raise UserError(
            f"{name}: found targets without an axis of examples, expected tensors [n, ...]; let it yield batches"
        )
    return len(leaves[0])


def _mapped(tree: Any, function: Callable[[Tensor], Any]) -> Any:
    """A tree of tensors (dictionaries, lists, tuples) with each tensor replaced; arrays count as tensors."""
    if isinstance(tree, Mapping):
        return {key: _mapped(value, function) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named one
        return type(tree)(*(_mapped(value, function) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(_mapped(value, function) for value in tree)
    return function(torch.from_numpy(tree)) if isinstance(tree, np.ndarray) else _applied(tree, function)


def _applied(leaf: Any, function: Callable[[Tensor], Any]) -> Any:
    return function(leaf) if isinstance(leaf, Tensor) else leaf


def _moved(tensor: Tensor, reading: BatchReading) -> Tensor:
    return tensor.to(reading.device, reading.dtype if tensor.is_floating_point() else None)


def _update(digest: "hashlib._Hash", tree: Any) -> None:
    """Take in type, shape and bytes of every tensor of a tree."""

    def take(tensor: Tensor) -> None:
        plain = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([str(plain.dtype), list(plain.shape)]).encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())

    _mapped(tree, take)
