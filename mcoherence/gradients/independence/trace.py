"""The operations of one forward pass, and whether they keep its examples apart.

Index letter: n examples of a batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from mcoherence.gradients.independence.axes import (
    Agreement,
    Constant,
    Counting,
    Examples,
    Found,
    Kind,
    NotKnownError,
    broadcast,
    without_examples,
)
from mcoherence.gradients.independence.axis_operations import BY_NUMBER
from mcoherence.gradients.independence.lookup import rule_of
from mcoherence.gradients.independence.operation_call import OperationCall, require, tensors_among

# Arguments that tell the shape of a result, which is compared itself.
_OF_SHAPES = {
    **{name: {"size"} for name in ("view", "expand", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full")},
    "repeat": {"repeats"},
    "native_group_norm": {"N"},
}
# Which of these is called depends on where the numbers of a tensor lie, and what it gives does not.
_SAME_AS = dict.fromkeys(("_unsafe_view", "reshape", "_reshape_alias"), "view")
_COPYING = {"clone"}
_MAKING_NOTHING = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}
_WRITING_NUMBERS = {"zero_", "fill_"}
_TURNING = {"t_", "transpose_"}
_PLAIN = {type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format}
MOST_TOLD = 16  # numbers of a constant that is told by them

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Calls:
    """What a pass calls, but for the number of its examples: two that are equal do the same.

    digest: of its calls in words that do not tell that number.
    reads: whether they were decided by values of examples, which may be others in another batch.
    in_doubt: whether an example alone may read others.
    constants: tensors that the words name by where they lie; no other one comes to lie there.
    """

    digest: bytes
    reads: bool
    in_doubt: bool
    constants: tuple[Tensor, ...] = field(compare=False, repr=False)


def _no_part(value: Any) -> Any:
    raise NotKnownError


class _Tensors:
    """What is known of the tensors of a pass, by where their numbers lie: two that show the same numbers are one."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Found | None, Key]] = {}
        self._kept: list[Tensor] = []  # so that no other tensor comes to lie there
        self._of_storage: dict[int, set[Key]] = {}

    def find(self, tensor: Tensor) -> tuple[Found | None, Key] | None:
        """(kind, name) of a tensor; None of one that is no result so far."""
        return self._known.get(_place(tensor))

    def put(self, tensor: Tensor, kind: Found | None, name: Key) -> None:
        """Remember a tensor; its name is the same in another pass of the same operations."""
        place = _place_of_plain(tensor)
        self._known[place] = kind, name
        self._kept.append(tensor)
        self._of_storage.setdefault(place[0], set()).add(place)

    def write(self, tensor: Tensor, kind: Kind, name: Key) -> None:
        """Take in what was written into a tensor, which others may show too."""
        place = _place(tensor)
        old, _ = self._known[place]
        others = self._of_storage[place[0]] - {place}
        if others and old != kind:
            require(isinstance(old, Constant) and isinstance(kind, Constant))
        for other in others:  # what was the same all along need not be any more
            shown, its_name = self._known[other]
            self._known[other] = Constant() if isinstance(shown, Constant | Counting) else shown, its_name
        self.put(tensor, Constant() if others and isinstance(kind, Constant) else kind, name)


def _place(tensor: Tensor) -> Key:
    require(type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided)
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _place_of_plain(tensor: Tensor) -> Key:
    """The place of a tensor whose numbers are those that lie there, and that counts what is written to it."""
    require(not (tensor.is_conj() or tensor.is_neg() or tensor.is_inference()))
    return _place(tensor)


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A record of the operations inside the block.

    Args:
        given: the tensors of inputs and targets, [n, ...] each.
        n: number of examples, 2 at least.
        most: numbers that results may have in all, which are kept until the end; beyond that nothing is known.
    """

    def __init__(self, given: Sequence[Tensor], n: int, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._n, self._left = n, most
        self._tensors = _Tensors()
        self._calls = 0
        self._words = hashlib.blake2b(digest_size=16)  # as tuples they would keep the garbage collector busy
        self._constants: list[Tensor] = []
        self._reads, self._in_doubt = False, False
        self._known = True
        try:
            for index, tensor in enumerate(given):
                self._tensors.put(tensor, Examples(0), ("given", index))
        except NotKnownError:
            self._known = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes a second

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self._known:
            return func(*args, **kwargs)
        try:
            with torch._C.DisableTorchFunction():
                seen = _Seen(self, func, args, kwargs)
        except NotKnownError:
            self._known = False
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        try:
            with torch._C.DisableTorchFunction():
                self._take(seen, result)
        except NotKnownError:
            self._known = False
        if not self._known:
            self._tensors = _Tensors()
        return result

    def calls(self, losses: Tensor) -> Calls | None:
        """What these losses [n] came by; None unless it is known to keep the examples apart."""
        try:
            found = self._tensors.find(losses.detach()) if self._known else None
        except NotKnownError:
            found = None
        if found is None or found[0] != Examples(0):
            return None
        self._words.update(repr(("losses", found[1])).encode())
        return Calls(self._words.digest(), self._reads, self._in_doubt, tuple(self._constants))

    def of(self, tensor: Tensor) -> tuple[Found | None, Key]:
        """(kind, name) of an argument; what is no result was there before, and is a constant."""
        found = self._tensors.find(tensor)
        if found is not None:
            return found
        if tensor.numel() <= MOST_TOLD and tensor.device.type == "cpu" and not tensor.requires_grad:
            return Constant(), ("of", str(tensor.dtype), tuple(tensor.shape), repr(tensor.tolist()))
        self._constants.append(tensor)
        return Constant(), ("at", *_place_of_plain(tensor), tensor._version)

    def is_result(self, tensor: Tensor) -> bool:
        """Whether an argument was made in this pass."""
        return self._tensors.find(tensor) is not None

    def _take(self, seen: "_Seen", result: Any) -> None:
        several = result if isinstance(result, tuple | list) else (result,)
        results = list(tensors_among(several))
        if not seen.operation.shows_arguments:
            self._left -= sum(one.numel() for one in results)
            require(self._left >= 0)
        numbers = [one for one in several if not isinstance(one, Tensor | list | tuple)]
        call = OperationCall(seen.arguments, results, seen.kind, seen.counts, self._n)
        kinds, raw = self._kinds(seen, call, numbers)
        for one, kind in zip(results, kinds, strict=True):
            if isinstance(kind, Examples):
                require(kind.axis < one.dim() and one.shape[kind.axis] % (self._n * kind.inner) == 0)
        name = seen.operation.name
        if name in _COPYING:
            self._tensors.put(results[0], kinds[0], self.of(call.tensor("self"))[1])
            return
        place, self._calls = self._calls, self._calls + 1
        read = tuple(_in_words(one, _no_part) for one in numbers)
        given = tuple(
            (one.dtype, without_examples(kind, one.shape, self._n) if isinstance(kind, Examples | Constant) else None)
            for one, kind in zip(results, kinds, strict=True)
        )
        self._words.update(repr((_SAME_AS.get(name, name), *self._said(seen, call, raw=raw), given, read)).encode())
        for index, (one, kind) in enumerate(zip(results, kinds, strict=True)):
            if seen.operation.writes and name not in _TURNING:
                assert isinstance(kind, Examples | Constant)
                self._tensors.write(one, kind, (place, index))
            else:
                self._tensors.put(one, kind, (place, index))

    def _said(self, seen: "_Seen", call: OperationCall, *, raw: bool) -> Key:
        """The arguments of a call, less those that tell how many examples there are; all of them if `raw`."""
        name = seen.operation.name
        if raw:
            return seen.operation.overload, torch.is_grad_enabled(), tuple(seen.words.items()), _shapes(call.tensors())
        left_out = _OF_SHAPES.get(_SAME_AS.get(name, name), set())
        if name in _MAKING_NOTHING:
            left_out = set(seen.words)
        elif name == "arange" and _counts_from_0(call):
            left_out = {"end"}
        elif name == "slice" and call.results[0].shape == call.tensor("self").shape:
            left_out = {"start", "end"}
        said = tuple((key, words) for key, words in seen.words.items() if key not in left_out)
        overload = "default" if name in _SAME_AS else seen.operation.overload
        return overload, torch.is_grad_enabled(), said, _shapes(seen.taken_for_constants)

    def _kinds(self, seen: "_Seen", call: OperationCall, numbers: Sequence[Any]) -> tuple[Sequence[Found | None], bool]:
        """Of the results; and whether all about the call matters, as of one that is not known and takes constants."""
        name = seen.operation.name
        if name in _MAKING_NOTHING:
            return [None] * len(call.results), False
        if seen.operation.writes:
            return self._of_written(seen, call), False
        agreed = [kind for kind in seen.kinds.values() if isinstance(kind, Agreement)]
        if agreed:
            require(name == "_local_scalar_dense")
            self._reads = True
            self._in_doubt |= numbers != [agreed[0].telling]
            return [], False
        counting = [kind for kind in seen.kinds.values() if isinstance(kind, Counting)]
        if name == "arange" and _counts_from_0(call):
            return [Counting(0)], False
        if counting and name in ("detach", "alias"):
            return counting, False
        if counting and name == "unsqueeze":
            return [Counting(counting[0].axis + (call["dim"] % call.results[0].dim() <= counting[0].axis))], False
        rule = rule_of(name)
        if not all(isinstance(seen.kinds[id(one)], Constant | Counting) for one in call.tensors()):
            require(rule is not None)
            assert rule is not None
            return rule(call), False
        if rule is not None:
            try:
                return rule(call), False
            except NotKnownError:
                pass
        return [Constant()] * len(call.results), True

    def _of_written(self, seen: "_Seen", call: OperationCall) -> Sequence[Found | None]:
        require(seen.operation.writes == {"self"})
        name = seen.operation.name
        if name in _TURNING:
            turned = rule_of(name.removesuffix("_"))
            assert turned is not None
            return turned(call)
        dims = call.tensor("self").dim()
        if name in _WRITING_NUMBERS:
            require(len(call.tensors()) == 1)
            return [Constant(frozenset(range(dims)))]
        require(name == "copy_" or name.removesuffix("_") in BY_NUMBER)
        operands = [call["src"]] if name == "copy_" else call.tensors()
        return [broadcast([(call.kind(one), one.shape) for one in operands], dims)]


def _shapes(tensors: Sequence[Tensor]) -> Key:
    return tuple(tuple(one.shape) for one in tensors)


def _counts_from_0(call: OperationCall) -> bool:
    values = call.results[0]
    return call.arguments.get("start", 0) == 0 and call.arguments.get("step", 1) == 1 and not values.is_floating_point()


@dataclass(frozen=True)
class _Operation:
    """What the schema of an operation says.

    known: whether it is one of torch's own, and gives the same of the same arguments; of those that draw random
        numbers, if at all, only those with a rule.
    arguments: their names and defaults.
    writes: names of those that it writes into.
    shows_arguments: whether its results are arguments or views of them.
    """

    name: str
    overload: str
    known: bool
    arguments: tuple[tuple[str, Any], ...]
    writes: frozenset[str]
    shows_arguments: bool


@cache
def _operation(func: OpOverload) -> _Operation:
    schema = func._schema
    name, overload = schema.name.removeprefix("aten::"), func._overloadname
    draws = torch.Tag.nondeterministic_seeded in func.tags and rule_of(name) is None
    return _Operation(
        name,
        overload,
        func.namespace == "aten" and not draws and (name, overload) not in _READING,
        tuple((one.name, one.default_value) for one in schema.arguments),
        frozenset(one.name for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write),
        any(one.alias_info is not None for one in schema.returns),
    )


_READING = {("where", "default")}  # gives indices


class _Seen:
    """A call before it is made: an operation may change what its arguments are.

    operation: that is called.
    arguments: by the names of its schema, defaults included.
    words: the same in words that do not tell the number of examples.
    kinds: of the tensors among its arguments, by their ids.
    taken_for_constants: tensors that count and were asked for their kind, so that their lengths matter.
    """

    def __init__(self, trace: Trace, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.operation = _operation(func)
        require(self.operation.known)
        self.arguments: dict[str, Any] = {}
        for index, (name, default) in enumerate(self.operation.arguments):
            self.arguments[name] = args[index] if index < len(args) else kwargs.get(name, default)
        require(all(trace.is_result(self.arguments[name]) for name in self.operation.writes))
        self._trace = trace
        self.kinds: dict[int, Found | None] = {}
        self.taken_for_constants: list[Tensor] = []
        self.words = {name: self._in_words(value) for name, value in self.arguments.items()}

    def kind(self, tensor: Tensor) -> Kind:
        """The kind of an argument; NotKnownError of any other."""
        found = self.kinds[id(tensor)]
        if isinstance(found, Counting):
            self.taken_for_constants.append(tensor)
            return Constant()
        if not isinstance(found, Examples | Constant):
            raise NotKnownError
        return found

    def counts(self, tensor: Tensor) -> int | None:
        """Along which axis an argument counts."""
        found = self.kinds[id(tensor)]
        return found.axis if isinstance(found, Counting) else None

    def _in_words(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self.kinds[id(value)], name = self._trace.of(value)
            return name, value.requires_grad
        return _in_words(value, self._in_words)


def _in_words(value: Any, of_part: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if kind in (tuple, list):
        return tuple(map(of_part, value))
    require(kind in _PLAIN)
    return value
