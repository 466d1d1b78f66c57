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

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from mcoherence.gradients.recurrent_gates import KINDS, Gates, KnownCall, RecurrentKind, StepOrder


class Recurrent:
    """The recurrent layers of a model.

    shown: whether their calls show every use of their weights in the graph; else they are torch's own.
    """

    def __init__(self, model: nn.Module) -> None:
        self.shown = False
        self._layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The layers' calls go through here inside the block, also those that a checkpoint makes in a backward pass."""
        with ExitStack() as stack:
            for layer in self._layers:
                own = layer.__dict__.get("forward")
                layer.__dict__["forward"] = self._forward(layer.forward)
                stack.callback(_put_back, layer, own)
            yield

    def _forward(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def through(*args: Any, **kwargs: Any) -> Any:
            # Never torch's fused call inside of vmap, which takes the examples through it one by one, and warns.
            if not _is_transformed() and not (self.shown and torch.is_grad_enabled()):
                return forward(*args, **kwargs)
            with _Shown():
                return forward(*args, **kwargs)

        return through


def _put_back(layer: nn.Module, own: Any) -> None:
    if own is None:
        del layer.__dict__["forward"]
    else:
        layer.__dict__["forward"] = own


class _Shown(TorchFunctionMode):
    """Inside of it torch's recurrent functions show every use of their weights in the graph."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kind = KINDS.get(func)
        if kind is None:
            return func(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunction():  # these are no calls of the model
            call = None if kwargs else _Call.of(func, kind, args)
            if call is not None:
                return call.shown()
            with _step_by_step():
                return func(*args, **(kwargs or {}))


@contextmanager
def _step_by_step() -> Iterator[None]:
    """Without oneDNN and cuDNN torch computes recurrent layers step by step, all of it in the graph."""
    cudnn, one_dnn = torch._C._get_cudnn_enabled(), torch._C._get_mkldnn_enabled()
    torch._C._set_cudnn_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_cudnn_enabled(cudnn)
        torch._C._set_mkldnn_enabled(one_dnn)


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
        return values, *(torch.stack(states) for states in zip(*finals, strict=True))

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
            # A view made outside of the graph may not be written to by the model.
            found, last = self._direction(inputs, out.clone(), tuple(one[k] for one in starts), of_direction, order)
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
