"""Recurrent layers computed so that autograd's graph shows every use of their weights.

torch computes nn.RNN, nn.GRU and nn.LSTM by one fused call of oneDNN or cuDNN, inside of which no gradient of a gate
can be seen, or step by step, with up to twenty nodes of the graph for each step. Here torch's own call is made outside
of the graph, and gives the output. The output tells the state before each step. So the gates of all steps are two
products with the weights, one of all inputs and one of all these states, and the graph shows both. Step by step go only
the cells of an LSTM and the gradient of the gates (`recurrent_gates`).

All other calls (`_Call.of` and `_is_plain` say which) torch computes step by step, in the graph: those of packed
sequences, with projections, with dropout, in half precision, and inside of vmap.

Index letters: n examples, h units.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode
from torch.utils._device import DeviceContext

from mcoherence.gradients.graph.recurrent_gates import KINDS, Gates, KnownCall, RecurrentKind, StepOrder
from mcoherence.gradients.graph.watching import Watch


class Recurrent:
    """The recurrent layers of a model.

    shown: whether their calls show every use of their weights in the graph; else they are torch's own.
    active: inside of `in_place`, after which a copy of a layer may live on.
    by_steps: whether they are shown step by step by torch itself, so that gradients can be differentiated again.
    layers: those of the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.active = self.shown = self.by_steps = False
        self.layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The layers' calls go through here inside the block, also those that a checkpoint makes in a backward pass.

        By hooks: copies that a model makes of its layer take them along, and are computed with weights of their own.
        """
        depth, handles = torch._C._len_torch_function_stack(), []
        before, after = self._hooks()
        try:
            for layer in self.layers:
                handles.append(layer.register_forward_pre_hook(before, prepend=True))
                handles.append(layer.register_forward_hook(after, prepend=True, always_call=True))
            with weights_as_found(self.layers):
                yield
        finally:
            for handle in handles:
                handle.remove()
            self.active = self.shown = False
            while torch._C._len_torch_function_stack() > depth:  # of a call that was interrupted (Ctrl-C)
                _pop_mode()  # type: ignore[no-untyped-call]

    def _hooks(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """To be called before and after each call."""
        of_thread = threading.local()  # whether each call that has begun in this thread is in a mode
        self.active = True

        def before(*_: object) -> None:
            if not hasattr(of_thread, "begun"):
                of_thread.begun = []
            # Never torch's fused call inside of vmap, which takes the examples through it one by one, and warns.
            of_thread.begun.append(self.active and (_is_transformed() or (self.shown and torch.is_grad_enabled())))
            if of_thread.begun[-1]:
                _Shown(self).__enter__()  # type: ignore[no-untyped-call]

        def after(*_: object) -> None:
            if getattr(of_thread, "begun", None) and of_thread.begun.pop():
                _pop_mode()  # type: ignore[no-untyped-call]

        return before, after


class _Shown(TorchFunctionMode):
    """Inside of it torch's recurrent functions show every use of their weights in the graph."""

    def __init__(self, recurrent: Recurrent) -> None:
        super().__init__()
        self._recurrent = recurrent

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kind = KINDS.get(func)
        if kind is None or torch._C._get_tracing_state() is not None:  # what is traced outlives the pass
            return func(*args, **(kwargs or {}))
        if not (_is_transformed() or _has_trained_weights(args)):  # nothing to show
            return func(*args, **(kwargs or {}))
        if not (kwargs or self._recurrent.by_steps or _is_watched_by_others()):
            with torch._C.DisableTorchFunction():  # these are no calls of the model
                call = _Call.of(func, kind, args)
                if call is not None:
                    return call.shown()
        with step_by_step():
            return func(*args, **(kwargs or {}))


@contextmanager
def weights_as_found(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Leave the lists of weights as they are that recurrent layers among the modules keep beside their parameters.

    A call with other parameters in their place (`torch.func.functional_call`) fills them anew, and they are out of date
    until the next call, which fills them again, with whatever the model has put there.
    """
    layers = [module for module in modules if isinstance(module, nn.RNNBase)]
    found = [{name: layer.__dict__[name] for name in _LISTS if name in layer.__dict__} for layer in layers]
    values = [{name: list(one) for name, one in lists.items()} for lists in found]
    try:
        yield
    finally:
        for layer, lists, of_lists in zip(layers, found, values, strict=True):
            for name, one in lists.items():
                one[:] = of_lists[name]
            layer.__dict__.update(lists)


_LISTS = ("_flat_weights", "_flat_weight_refs")


def _has_trained_weights(args: Sequence[Any]) -> bool:
    """Whether a gradient of weights is asked for; these are the arguments' lists."""
    return any(weight.requires_grad for weights in args if isinstance(weights, list | tuple) for weight in weights)


def _is_watched_by_others() -> bool:
    """Whether a mode of the model's own may change what functions and operations do."""
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    known = (Watch, _Shown, DeviceContext)
    return torch._C._len_torch_dispatch_stack() > 0 or not all(isinstance(mode, known) for mode in modes)


@contextmanager
def step_by_step() -> Iterator[None]:
    """Without oneDNN and cuDNN torch computes recurrent layers step by step, all of it in the graph."""
    with _FUSED.lock:
        if not _FUSED.refused:
            _FUSED.found = torch._C._get_cudnn_enabled(), torch._C._get_mkldnn_enabled()
            torch._C._set_cudnn_enabled(False)
            torch._C._set_mkldnn_enabled(False)
        _FUSED.refused += 1
    try:
        yield
    finally:
        with _FUSED.lock:
            _FUSED.refused -= 1
            if not _FUSED.refused:
                torch._C._set_cudnn_enabled(_FUSED.found[0])
                torch._C._set_mkldnn_enabled(_FUSED.found[1])


@dataclass
class _Fused:
    """Whether cuDNN and oneDNN were on; both hold for all threads, and several may be step by step at once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    refused: int = 0
    found: tuple[bool, bool] = (True, True)


_FUSED = _Fused()


@dataclass(frozen=True)
class _Call:
    """A call of one of torch's recurrent functions, of sequences that are all as long.

    inputs: of each step; starts: what each kind of state begins with, [layers * directions, n, h].
    weights: for each layer and direction the weight of the inputs, that of the states, and their biases if there are.
    """

    function: Callable[..., Any]
    kind: RecurrentKind
    inputs: Tensor
    starts: tuple[Tensor, ...]
    weights: tuple[tuple[Tensor, ...], ...]
    directions: int
    steps_axis: int

    @classmethod
    def of(cls, function: Callable[..., Any], kind: RecurrentKind, args: Sequence[Any]) -> "_Call | None":
        """The call with these arguments; None of one that has to be computed step by step."""
        if len(args) != 9 or not isinstance(args[3], bool):  # packed sequences have their weights there
            return None
        inputs, starts, weights, biased, layers, dropout, training, both, batch_first = args
        starts = (starts,) if isinstance(starts, Tensor) else tuple(starts)
        each, directions = 4 if biased else 2, 2 if both else 1
        if (dropout and training) or len(weights) != each * layers * directions:  # with projections there are more
            return None
        if not _is_plain([inputs, *starts, *weights]):
            return None
        by_layer = tuple(tuple(weights[k : k + each]) for k in range(0, len(weights), each))
        return cls(function, kind, inputs, starts, by_layer, directions, 1 if batch_first else 0)

    def shown(self) -> Any:
        """What the call returns: the output, and the last states of every kind, [layers * directions, n, h]."""
        values, finals = self.inputs, []
        for layer in range(0, len(self.weights), self.directions):
            values, found = self._layer(values, layer)
            finals += found
        # The last state comes of the output, and has nothing to do with what the model does to that: hooks, writing.
        return values.clone(), *(torch.stack(states) for states in zip(*finals, strict=True))

    def _layer(self, inputs: Tensor, layer: int) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Output, and the last states of each direction, of the layer whose weights begin at place `layer`."""
        weights = self.weights[layer : layer + self.directions]
        starts = tuple(one[layer : layer + self.directions] for one in self.starts)
        with torch.no_grad():
            flat = [one.detach() for of_direction in weights for one in of_direction]
            first = tuple(one.detach() for one in starts)
            output = self.function(
                inputs.detach(),
                first if len(first) > 1 else first[0],
                flat,
                has_biases=len(weights[0]) == 4,
                num_layers=1,
                dropout=0.0,
                train=False,
                bidirectional=self.directions == 2,
                batch_first=self.steps_axis == 1,
            )[0]
        parts, finals = [], []
        for k, (of_direction, out) in enumerate(zip(weights, output.chunk(self.directions, -1), strict=True)):
            order = StepOrder(self.steps_axis, reverse=k == 1)
            found, last = self._direction(inputs, out, tuple(one[k] for one in starts), of_direction, order)
            parts.append(found)
            finals.append(last)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1), finals

    def _direction(
        self, inputs: Tensor, output: Tensor, starts: tuple[Tensor, ...], weights: Sequence[Tensor], order: StepOrder
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`output`, as a part of the graph, and the last states, [n, h]."""
        of_inputs, of_states, *biases = weights
        first = tuple(one.detach() for one in starts)
        before = order.before(output, first[0])
        sizes = output.shape[:2]
        gates = [
            nn.functional.linear(rows.flatten(0, 1), weight, bias).view(*sizes, -1)
            for rows, weight, bias in zip((inputs, before), (of_inputs, of_states), biases or (None, None), strict=True)
        ]
        known = KnownCall(gates[0].detach(), gates[1].detach(), output, before, first, order)
        starting = [one.unsqueeze(order.axis) for one in starts]
        found, *lasts = Gates.apply(self.kind, of_states.detach(), known, *gates, *starting)
        return found, (order.last(found), *(one.squeeze(order.axis) for one in lasts))


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether these are ordinary tensors of one dtype of 32 or 64 bits, and no autocast or transform is at work."""
    first = values[0]
    return (
        not _is_transformed()
        and forward_ad._current_level < 0
        and not torch.is_autocast_enabled(first.device.type)
        and first.dtype in (torch.float32, torch.float64)
        and first.dim() == 3
        and first.numel() > 0
        and all(
            type(value) in (Tensor, nn.Parameter) and value.dtype == first.dtype and value.layout == torch.strided
            for value in values
        )
    )


def _is_transformed() -> bool:
    """Whether vmap, grad or another transform of torch.func is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None
