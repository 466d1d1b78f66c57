"""Data that a function "module:function" of the user's yields in batches.

Index letter: n examples of a batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.data.named_data import IGNORED, BatchReading, NamedData, Positions
from mcoherence.errors import UserError, first_line
from mcoherence.files.progress import progress
from mcoherence.gradients.given import trees
from mcoherence.gradients.given.tree_digest import TreeDigest
from mcoherence.own_functions import own_function


class BatchesOfFunction(NamedData):
    """What a function of the user's yields: batches (inputs, targets), or (inputs, targets, changed).

    The function is called once to look at the batches, and once whenever they are read; it must yield the same ones.
    Inputs and targets are tensors or arrays, or dictionaries, lists and tuples of these, examples first; None stands
    for a part that is not there.
    """

    def __init__(self, name: str, part: str, options: Mapping[str, Any], code: str) -> None:
        """Find the function; `code` is the digest of its code."""
        super().__init__(name, part)
        self._function: Callable[..., Iterable[Any]] = own_function(name)
        self._options, self._code = dict(options), code
        if not callable(self._function):
            raise UserError(
                f"{name}: found a {type(self._function).__name__}, expected a function that yields batches; name "
                "one that does, or that returns it"
            )

    def __len__(self) -> int:
        return self._seen.examples

    @property
    def targets(self) -> Positions | None:
        """The targets, where each is one whole number that is not negative."""
        one_each = self._seen.targets
        return one_each if one_each is not None and one_each.min() >= 0 else None

    @property
    def label_values(self) -> NDArray[np.int64] | None:
        """The different whole numbers among the targets, where these are one tensor of such, one an example or more."""
        return self._seen.label_values

    @property
    def left_out(self) -> int:
        """How many examples have the one target IGNORED."""
        return 0 if self._seen.targets is None else int((self._seen.targets == IGNORED).sum())

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
        digest, start = TreeDigest(), 0
        for inputs, targets, _ in self._yielded():
            digest.update((inputs, targets))
            size = trees.length((inputs, targets))
            begin, end = max(first - start, 0), min(last - start, size)
            start += size
            if begin < end:
                rows = trees.rows((inputs, targets), slice(begin, end))
                yield trees.mapped(lambda tensor: _moved(tensor, reading), rows)
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
                f"({first_line(error)}), expected (inputs, targets) of each batch; look at the function and at "
                "--data-options"
            ) from error
        for batch in batches:
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise UserError(
                    f"{self.name}: found a batch that is a {type(batch).__name__}"
                    f"{f' of {len(batch)}' if isinstance(batch, tuple | list) else ''}, expected (inputs, targets), or "
                    "(inputs, targets, changed); let the function yield these"
                )
            try:
                inputs, targets, marks = (_tensors(part) for part in (*batch, None)[:3])
            except ValueError as error:
                raise UserError(f"{self.name}: {error}") from error
            try:
                trees.require_parts((inputs, targets), 2)
            except ValueError as error:
                raise UserError(f"{self.name}: {error}; let the function pair each input with its target") from error
            if trees.length(inputs):
                yield inputs, targets, marks

    @cached_property
    def _seen(self) -> "_Seen":
        """What all batches are, from a first look at them."""
        digest, sizes = TreeDigest(), list[int]()
        whole, changed = list[NDArray[np.int64]](), list[NDArray[np.bool_]]()
        labels = list[NDArray[np.int64]]()
        for inputs, targets, marks in progress(self._yielded(), None, f"look at {self.name} until it ends"):
            digest.update((inputs, targets))
            sizes.append(trees.length(inputs))
            if isinstance(targets, Tensor) and not targets.is_floating_point() and not targets.is_complex():
                numbers = targets.cpu().numpy().astype(np.int64)
                labels.append(np.unique(numbers))
                whole += [numbers] if numbers.ndim == 1 else []
            if marks is not None:
                marks = marks.cpu() if isinstance(marks, Tensor) else marks
                changed.append(np.atleast_1d(np.asarray(marks, dtype=np.bool_)))
        if not sizes:
            raise UserError(f"{self.name}: found no batches, expected at least one; let the function yield some")
        marked = np.concatenate(changed) if changed else None
        if marked is not None and marked.shape != (sum(sizes),):
            raise UserError(
                f"{self.name}: found marks of changed labels of shape {list(marked.shape)}, expected one for each of "
                f"the {sum(sizes)} examples, in every batch; yield (inputs, targets, changed) with changed [n]"
            )
        return _Seen(
            sum(sizes),
            tuple(sizes),
            np.concatenate(whole) if len(whole) == len(sizes) else None,
            np.unique(np.concatenate(labels)) if len(labels) == len(sizes) else None,
            marked,
            digest.hexdigest(),
        )


@dataclass(frozen=True)
class _Seen:
    """What was seen of all batches.

    examples: their number, and sizes, in each batch; targets: int64 [N], where each is one whole number;
    label_values: the different ones among whole numbers; changed: marks, bool [N]; digest: of all batches.
    """

    examples: int
    sizes: tuple[int, ...]
    targets: Positions | None
    label_values: NDArray[np.int64] | None
    changed: NDArray[np.bool_] | None
    digest: str


def _tensors(tree: Any) -> Any:
    """A tree with tensors in the place of NumPy's arrays; ValueError for one that holds no numbers of torch's."""
    if isinstance(tree, Tensor) and tree.is_meta:
        raise ValueError(
            "found a tensor on the meta device, which holds no values, expected one on cpu or a GPU; let the function "
            "make it there"
        )
    if isinstance(tree, np.ndarray) and tree.dtype.kind in "biufc":
        return _tensor(tree)
    if isinstance(tree, Mapping):
        return {key: _tensors(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named one
        return type(tree)(*(_tensors(part) for part in tree))
    return type(tree)(map(_tensors, tree)) if isinstance(tree, list | tuple) else tree


def _tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, whatever its strides and the order of its bytes.

    Raises:
        ValueError: torch has no such numbers.
    """
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(native)
    except TypeError as error:
        raise ValueError(
            f"found an array of {array.dtype}, expected numbers of a type that torch has, such as float64; convert it "
            "by .astype"
        ) from error


def _moved(tensor: Tensor, reading: BatchReading) -> Tensor:
    plain: Tensor = trees.usable(tensor.detach())
    return plain.to(reading.device, reading.dtype if tensor.is_floating_point() else None)
