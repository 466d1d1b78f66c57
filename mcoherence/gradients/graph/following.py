"""What the tensors of a forward pass were computed of, followed from call to call of torch's functions.

Three kinds are told apart. A fixed tensor was computed of sizes, constants and weights alone: it is the same whatever
the examples are. A tensor of the inputs was computed of these and of fixed ones, by calls that are kept, so that it can
be worked out for other inputs without the model. What was computed of anything else, or came in any other way, is not
known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.graph import Node

# What is kept of a pass to work it out again: masks and positions. Beyond that nothing is, as of a network whose first
# layers are not trained.
MOST_KEPT = 64 * 2**20
# Of constants that a pass makes, which nobody else might keep.
MOST_CONSTANTS = 2**30
# Of what is no tensor, and holds none.
_PLAIN_TYPES = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(...))


@dataclass(frozen=True, eq=False)
class Given:
    """A tensor of the inputs: its place among them."""

    place: int

    def worked_out(self, inputs: Callable[[int], Tensor], known: dict[int, Any]) -> Any:
        """It, of other inputs, by their places; `known` keeps what was worked out of them so far."""
        if id(self) not in known:
            known[id(self)] = inputs(self.place)
        return known[id(self)]


@dataclass(frozen=True, eq=False)
class Called:
    """What a call of a function gave; `Given` and `Called` stand among its arguments in the place of tensors."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def worked_out(self, inputs: Callable[[int], Tensor], known: dict[int, Any]) -> Any:
        """The same of other inputs."""
        if id(self) not in known:
            args = _filled(self.args, inputs, known)
            known[id(self)] = self.function(*args, **_filled(self.kwargs, inputs, known))
        return known[id(self)]


@dataclass(frozen=True, eq=False)
class _Part:
    """One of several tensors that a call gave."""

    whole: Called
    index: int

    def worked_out(self, inputs: Callable[[int], Tensor], known: dict[int, Any]) -> Any:
        """The same of other inputs."""
        return self.whole.worked_out(inputs, known)[self.index]


Origin = Given | Called | _Part


def _filled(values: Any, inputs: Callable[[int], Tensor], known: dict[int, Any]) -> Any:
    if isinstance(values, Given | Called | _Part):
        return values.worked_out(inputs, known)
    if isinstance(values, slice):
        return slice(*(_filled(bound, inputs, known) for bound in (values.start, values.stop, values.step)))
    if isinstance(values, tuple | list):
        return type(values)(_filled(value, inputs, known) for value in values)
    if isinstance(values, dict):
        return {name: _filled(value, inputs, known) for name, value in values.items()}
    return values


class Following:
    """The tensors of one pass that are known, by what they were computed of.

    Args:
        model: whose weights and buffers are fixed.
        inputs: what the pass was given. Without them only fixed tensors are followed.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor] = ()) -> None:
        # By id, and kept alive, so that no other tensor takes one over.
        self._fixed: dict[int, Tensor] = {}
        # By id of the tensor whose memory it is: its version when the fixed tensors that have this memory were last
        # known to be fixed, and the ids of these. A tensor and its views have one version.
        self._counted: dict[int, int] = {}
        self._sharing: dict[int, set[int]] = {}
        own = [*model.parameters(), *model.buffers()]
        self._add_fixed(own)
        self._own = set(map(id, own))
        self._of_inputs: dict[int, tuple[Tensor, Origin]] = {
            id(tensor): (tensor, Given(place)) for place, tensor in enumerate(inputs)
        }
        # When it was kept; of whatever calls are worked out from. Those of the inputs are new, and count writes.
        self._versions = {id(tensor): (tensor, tensor._version) for tensor in inputs}
        self._settings = _settings()
        self._kept = 0
        self._constants = 0  # bytes of fixed tensors without a gradient
        self._seen: set[Node] = set()
        self._ended = False

    def is_fixed(self, values: Any) -> bool:
        """Whether every tensor among arguments is; what may hold tensors unseen is not."""
        return not self._ended and _all_tensors(values, self._is_as_it_was_fixed)

    def seen_nodes(self) -> set[Node]:
        """The nodes in autograd's graph of all that calls gave; others were made within calls."""
        return self._seen

    def fixed_nodes(self) -> set[Node]:
        """Those of the fixed tensors."""
        tensors = filter(self._is_as_it_was_fixed, self._fixed.values())
        return {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Called | None:
        """A call of known tensors, to be worked out again; None of others, and where it would give something else."""
        if self._ended or not _all_tensors((args, dict(kwargs)), self._can_be_worked_out):
            return None
        if _settings() != self._settings:
            return None
        return Called(function, self._by_origin(args), self._by_origin(dict(kwargs)))

    def targets(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Sequence[Tensor]:
        """The fixed tensors into which a call is about to write; to be asked before it, for `take`."""
        if self._ended or not _writes(function, kwargs):
            return ()
        return [one for one in _tensors(_written(args, kwargs)) if self._is_as_it_was_fixed(one)]

    def take(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
        targets: Sequence[Tensor] = (),
    ) -> None:
        """Follow the result of a call. Once something else is written into a known tensor, none is known any more.

        Args:
            function: that was called.
            args: with which arguments.
            kwargs: and with which by name.
            result: what it gave.
            targets: the fixed tensors into which it was about to write, as `targets` gave them before.
        """
        for one in (result,) if isinstance(result, Tensor) else _tensors(result):
            if one.grad_fn is not None:
                self._seen.add(one.grad_fn)
        if self._ended:
            return
        if (places := _statistics_written(function)) is not None and not (
            _uses_them_alone(args, kwargs) or self._are_own([*args[places], *map(kwargs.get, _STATISTICS)])
        ):
            self._end()
            return
        unknown = bool(args) and isinstance(args[0], Tensor) and not self._is_known(args[0])
        if (unknown and kwargs.get("out") is None) or _is_gradient(function):  # most calls
            return
        written = {id(one) for one in targets}
        if _all_tensors((args, dict(kwargs)), lambda one: id(one) in written or self._is_as_it_was_fixed(one)):
            for one in targets:  # with all that share its memory: into these too something fixed was written
                self._counted[id(_base(one))] = one._version
            self._add_fixed(_tensors(result))
            made = (one for one in _tensors(result) if one.grad_fn is None and one._base is None)
            self._constants += sum(one.numel() * one.element_size() for one in made)
            if self._constants > MOST_CONSTANTS:
                self._end()
        elif _writes(function, kwargs) and self._any_known(_written(args, kwargs)):
            self._end()
        elif not unknown and self._of_inputs and (call := self.call(function, args, kwargs)) is not None:
            self._keep(call, result)

    def _add_fixed(self, tensors: Sequence[Tensor]) -> None:
        """Take tensors for fixed as they are now; those made in inference mode count no writes, and are not."""
        for one in tensors:
            if one.is_inference():
                continue
            base, now = id(_base(one)), one._version
            sharing = self._sharing.setdefault(base, set())
            if self._counted.get(base, now) != now:  # something else was written into those of before, unseen
                for key in sharing:
                    self._fixed.pop(key, None)
                sharing.clear()
            sharing.add(id(one))
            self._fixed[id(one)], self._counted[base] = one, now

    def unwritten(self) -> bool:
        """Whether what calls are worked out from is as it was: nothing was written into it, by another name maybe."""
        return not self._ended and all(tensor._version == version for tensor, version in self._versions.values())

    def _keep(self, call: Called, result: Any) -> None:
        several = isinstance(result, tuple | list)
        for index, one in enumerate(result if several else (result,)):
            # With a gradient it is an activation, of weights too.
            if isinstance(one, Tensor) and not (one.requires_grad or one.is_inference() or self._is_known(one)):
                self._of_inputs[id(one)] = one, _Part(call, index) if several else call
                self._versions[id(one)] = one, one._version
                self._kept += one.numel() * one.element_size()
        if self._kept > MOST_KEPT:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._fixed, self._counted, self._sharing, self._of_inputs, self._versions = {}, {}, {}, {}, {}

    def _is_as_it_was_fixed(self, tensor: Tensor) -> bool:
        """Whether a tensor is fixed, and was not written to by what no call shows, such as a script of torch's."""
        return id(tensor) in self._fixed and self._counted.get(id(_base(tensor))) == tensor._version

    def _is_known(self, tensor: Tensor) -> bool:
        return id(tensor) in self._fixed or id(tensor) in self._of_inputs

    def _can_be_worked_out(self, tensor: Tensor) -> bool:
        of_inputs = id(tensor) in self._of_inputs and not tensor.is_inference()  # such a tensor counts no writes
        return of_inputs or self._is_as_it_was_fixed(tensor)

    def _are_own(self, statistics: Iterable[Any]) -> bool:
        """Whether running statistics are none, or the model's own, which are looked after by themselves."""
        return all(one is None or id(one) in self._own for one in statistics)

    def _any_known(self, values: Any) -> bool:
        if isinstance(values, tuple | list):
            return any(self._any_known(value) for value in values)
        return isinstance(values, Tensor) and self._is_known(values)

    def _by_origin(self, values: Any) -> Any:
        if isinstance(values, Tensor):
            if id(values) in self._of_inputs:
                return self._of_inputs[id(values)][1]
            self._versions.setdefault(id(values), (values, values._version))
            return values
        if isinstance(values, slice):
            return slice(*map(self._by_origin, (values.start, values.stop, values.step)))
        if isinstance(values, tuple | list):
            return (
                [self._by_origin(value) for value in values]
                if isinstance(values, list)
                else tuple(map(self._by_origin, values))
            )
        if isinstance(values, dict):
            return {name: self._by_origin(value) for name, value in values.items()}
        return values


def _all_tensors(values: Any, known: Callable[[Tensor], bool]) -> bool:
    """Whether all tensors among arguments are; not so where something may hold tensors unseen."""
    if isinstance(values, Tensor):
        return known(values)
    if values is None or isinstance(values, _PLAIN_TYPES):
        return True
    if isinstance(values, tuple | list):
        return all(_all_tensors(value, known) for value in values)
    if isinstance(values, Mapping):
        return all(_all_tensors(value, known) for value in values.values())
    if isinstance(values, slice):
        return _all_tensors((values.start, values.stop, values.step), known)
    return False


def _base(tensor: Tensor) -> Tensor:
    """What it is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base


def _settings() -> tuple[object, ...]:
    """What decides, beside its arguments, in which precision a function computes; a model may set it for some calls."""
    kinds = ("cpu", "cuda")
    return torch.get_default_dtype(), *((torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in kinds)


def _tensors(result: Any) -> list[Tensor]:
    return [one for one in (result if isinstance(result, tuple | list) else (result,)) if isinstance(one, Tensor)]


_STATISTICS = ("running_mean", "running_var", "running_min", "running_max")
# Functions that write statistics of a batch into their arguments, which no version counts: where these are.
_COUNTING_NO_WRITE = {
    **dict.fromkeys(("batch_norm", "instance_norm", "native_batch_norm", "cudnn_batch_norm"), slice(3, 5)),
    **dict.fromkeys(("miopen_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update"), slice(3, 5)),
    **dict.fromkeys(("_batch_norm_impl_index", "batch_norm_gather_stats"), slice(3, 5)),
    "batch_norm_gather_stats_with_counts": slice(3, 5),
    "batch_norm_update_stats": slice(1, 3),
    "fused_moving_avg_obs_fake_quant": slice(3, 7),  # and scale and zero point
    "_fused_moving_avg_obs_fq_helper": slice(3, 7),
}


@cache
def _statistics_written(function: Callable[..., Any]) -> slice | None:
    """Where the arguments are into which a function writes statistics; None of one that writes none."""
    name = getattr(function, "__name__", "").partition(".")[0]
    if getattr(function, "__module__", None) == F.__name__ and name in _COUNTING_NO_WRITE:
        return slice(1, 3)  # before weight and bias
    return _COUNTING_NO_WRITE.get(name)


def _uses_them_alone(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function of statistics is told to use those that it is given; all norms are told at the same place."""
    told = (*args[5:6], kwargs.get("training"), kwargs.get("use_input_stats"))
    return any(one is False for one in told)


def _written(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments into which a call of a function that writes does so."""
    return [*args[:1], *map(kwargs.get, ("out", "input", "self"))]


def _is_gradient(function: Callable[..., Any]) -> bool:
    """Whether it gives the `.grad` of a tensor, which is computed of other things than that."""
    name = getattr(function, "__name__", "")
    return name == "__get__" and getattr(getattr(function, "__self__", None), "__name__", "") == "grad"


_WRITING: dict[Callable[..., Any], bool] = {}


def _writes(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function writes into its first argument, or into another that is handed over for it."""
    if function not in _WRITING:
        name = getattr(function, "__name__", "").partition(".")[0]  # an operation's, without its overload's
        into_itself = name.endswith("_") and not name.endswith("__")
        by_operator = name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
        _WRITING[function] = into_itself or by_operator or name in ("__setitem__", "__set__")
    return _WRITING[function] or kwargs.get("out") is not None or bool(kwargs.get("inplace"))
