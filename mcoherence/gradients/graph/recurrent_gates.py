"""From the gates of a recurrent layer to its output, as one node of autograd's graph; the output is known already.

A gate has two parts that are added up, one made of the step's input and one of the state before the step. In the
formulas a and b are these two parts, h is the state before the step and h' that after it.

Index letters: n examples, t steps, h units, k gates. A gate of every unit and step is [n, t, h], or [t, n, h] for
layers whose steps come first; gates stand side by side along the last axis, [n, t, k h], in torch's order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import Node


@dataclass(frozen=True)
class StepOrder:
    """Which axis the steps are along, and whether the last of them is computed first."""

    axis: int
    reverse: bool

    def steps(self, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """What the values are at each step, in the order in which the steps are computed."""
        by_step = zip(*(value.unbind(self.axis) for value in values), strict=True)
        return iter(list(by_step)[::-1]) if self.reverse else by_step

    def steps_back(self, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same in the order of the gradient."""
        return StepOrder(self.axis, not self.reverse).steps(*values)

    def before(self, states: Tensor, start: Tensor) -> Tensor:
        """The states before each step, the first of which is `start` [n, h]."""
        count = states.shape[self.axis] - 1
        rest, first = states.narrow(self.axis, 0 if not self.reverse else 1, count), start.unsqueeze(self.axis)
        return torch.cat([rest, first] if self.reverse else [first, rest], self.axis)

    def last(self, states: Tensor) -> Tensor:
        """The state after the step that is computed last, [n, h]."""
        return states.select(self.axis, 0 if self.reverse else -1)


@dataclass(frozen=True)
class KnownCall:
    """What is known of a call in one direction, outside of the graph.

    of_inputs, of_states: the gates' two parts, biases included.
    output, before: the state that is the output, after each step and before it.
    starts: what each kind of state begins with, [n, h].
    """

    of_inputs: Tensor
    of_states: Tensor
    output: Tensor
    before: Tensor
    starts: tuple[Tensor, ...]
    order: StepOrder


@dataclass(frozen=True)
class FollowedGates:
    """What follows from the gates.

    lasts: of each kind of state besides the output (the cells of an LSTM) the last, [n, h].
    factors: derivatives at every step, which the gradient is multiplied with.
    """

    lasts: tuple[Tensor, ...]
    factors: tuple[Tensor, ...]


@dataclass(frozen=True)
class OutputGradients:
    """Gradients of the output of each step, and of the last of each other kind of state, [n, h]."""

    output: Tensor
    lasts: tuple[Tensor, ...]


@dataclass(frozen=True)
class GateGradients:
    """Gradients of the gates' two parts, and of what each kind of state begins with, [n, h]."""

    of_inputs: Tensor
    of_states: Tensor
    starts: tuple[Tensor, ...]


class RecurrentKind(Protocol):
    """One kind of recurrent layer."""

    def followed(self, known: KnownCall) -> FollowedGates:
        """What follows from the gates' two parts, at all steps."""

    def gradients(
        self, weight: Tensor, factors: Sequence[Tensor], order: StepOrder, given: OutputGradients
    ) -> GateGradients:
        """The gradients, found step by step, the last first; `weight`, that of the states, is [k h, h]."""


class _Elman:
    """h' = f(a + b), where f is tanh or the positive part, whose slope follows from its value."""

    def __init__(self, slope: Callable[[Tensor], Tensor]) -> None:
        self._slope = slope

    def followed(self, known: KnownCall) -> FollowedGates:
        return FollowedGates((), (self._slope(known.output),))

    def gradients(
        self, weight: Tensor, factors: Sequence[Tensor], order: StepOrder, given: OutputGradients
    ) -> GateGradients:
        (slopes,) = factors
        gates, rows = torch.empty_like(slopes), None
        for by_output, slope, out in order.steps_back(given.output, slopes, gates):
            whole = by_output if rows is None else torch.addmm(by_output, rows, weight)
            rows = torch.mul(whole, slope, out=out)
        assert rows is not None
        return GateGradients(gates, gates, (rows @ weight,))


class _Gru:
    """h' = (1 - z) n + z h with n = tanh(a_n + r b_n), and r and z logistic."""

    def followed(self, known: KnownCall) -> FollowedGates:
        (a_r, a_z, a_n), (b_r, b_z, b_n) = known.of_inputs.chunk(3, -1), known.of_states.chunk(3, -1)
        r, z = torch.sigmoid(a_r + b_r), torch.sigmoid(a_z + b_z)
        n = torch.tanh(a_n + r * b_n)
        slope = (1 - z) * (1 - n * n)
        by_states = torch.cat([slope * b_n * (r * (1 - r)), (known.before - n) * (z * (1 - z)), slope * r], -1)
        return FollowedGates((), (by_states, z, slope))

    def gradients(
        self, weight: Tensor, factors: Sequence[Tensor], order: StepOrder, given: OutputGradients
    ) -> GateGradients:
        by_states, z, slope = factors
        units = z.shape[-1]
        gates, states = torch.empty_like(by_states), torch.zeros_like(z)
        views = (given.output, states, z, _side_by_side(by_states, units), _side_by_side(gates, units), gates)
        carried = None
        for by_output, whole, kept, factor, out, rows in order.steps_back(*views):
            torch.add(by_output, 0 if carried is None else carried, out=whole)
            torch.mul(whole.unsqueeze(1), factor, out=out)
            carried = torch.addmm(whole * kept, rows, weight)
        assert carried is not None
        return GateGradients(torch.cat([gates[..., : 2 * units], states * slope], -1), gates, (carried,))


class _Lstm:
    """c' = f c + i g and h' = o tanh(c') with g = tanh of its gate, and i, f and o logistic."""

    def followed(self, known: KnownCall) -> FollowedGates:
        i, f, g, o = (known.of_inputs + known.of_states).chunk(4, -1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        order, (_, start) = known.order, known.starts
        added, cells, cell = i * g, torch.empty_like(i), start
        for more, kept, out in order.steps(added, f, cells):
            cell = torch.addcmul(more, kept, cell, out=out)
        value = torch.tanh(cells)
        by_cell = torch.cat([added * (1 - i), order.before(cells, start) * (f * (1 - f)), i * (1 - g * g)], -1)
        return FollowedGates((order.last(cells),), (by_cell, value * (o * (1 - o)), o * (1 - value * value), f))

    def gradients(
        self, weight: Tensor, factors: Sequence[Tensor], order: StepOrder, given: OutputGradients
    ) -> GateGradients:
        by_cell, by_output, of_cell, f = factors
        units = f.shape[-1]
        gates = torch.empty((*f.shape[:2], 4 * units), dtype=f.dtype, device=f.device)
        of_cells, of_output = gates[..., : 3 * units], gates[..., 3 * units :]
        views = (of_cell, f, _side_by_side(by_cell, units), _side_by_side(of_cells, units), by_output, of_output, gates)
        (cell,), rows = given.lasts, None
        for here, slope, kept, factor, out, factor_of_output, out_of_output, gate in order.steps_back(
            given.output, *views
        ):
            whole = here if rows is None else torch.addmm(here, rows, weight)
            cell = torch.addcmul(cell, whole, slope)
            torch.mul(cell.unsqueeze(1), factor, out=out)
            torch.mul(whole, factor_of_output, out=out_of_output)
            cell, rows = cell * kept, gate
        assert rows is not None
        return GateGradients(gates, gates, (rows @ weight, cell))


def _side_by_side(values: Tensor, units: int) -> Tensor:
    """Gates side by side, [*, k h], as [*, k, h]."""
    return values.reshape(*values.shape[:-1], -1, units)


KINDS: dict[Callable[..., Any], RecurrentKind] = {
    torch.lstm: _Lstm(),
    torch.gru: _Gru(),
    torch.rnn_tanh: _Elman(lambda output: 1 - output * output),
    torch.rnn_relu: _Elman(lambda output: (output > 0).to(output.dtype)),
}


class DifferentiatedAgainError(RuntimeError):
    """A model asks for gradients of a recurrent layer as tensors to go on with, or for several of them by vmap."""


class Gates(torch.autograd.Function):
    """The output, which is known, and the last of each other kind of state, as functions of gates and starts."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: RecurrentKind,
        weight: Tensor,
        known: KnownCall,
        of_inputs: Tensor,
        of_states: Tensor,
        *starts: Tensor,
    ) -> tuple[Tensor, ...]:
        """The output, and of each other kind of state the last, [n, 1, h], or [1, n, h] where steps come first.

        starts: what each kind of state begins with, of the same shape.
        """
        followed = kind.followed(known)
        ctx.kind, ctx.order = kind, known.order
        ctx.save_for_backward(weight, *followed.factors)
        return known.output, *(last.unsqueeze(known.order.axis).clone() for last in followed.lasts)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the gates' two parts and of the starts, from those of what `forward` returned.

        Raises:
            DifferentiatedAgainError: they are to be differentiated in turn, or are wrapped.
        """
        if torch.is_grad_enabled() or any(map(_is_wrapped, given)):
            raise DifferentiatedAgainError
        weight, *factors = ctx.saved_tensors
        axis = ctx.order.axis
        lasts = tuple(one.squeeze(axis) for one in given[1:])
        found = ctx.kind.gradients(weight, factors, ctx.order, OutputGradients(given[0], lasts))
        return None, None, None, found.of_inputs, found.of_states, *(one.unsqueeze(axis) for one in found.starts)


def _is_wrapped(values: Tensor) -> bool:
    """By vmap, by which `torch.autograd.grad` takes several gradients at once."""
    return "Batched" in str(torch._C._dispatch_keys(values))


def axis_of_examples(node: Node) -> int | None:
    """The axis of the examples in all that goes in and out of a node of `Gates`; None of any other node."""
    order = getattr(node, "order", None)
    return 1 - order.axis if isinstance(order, StepOrder) else None
