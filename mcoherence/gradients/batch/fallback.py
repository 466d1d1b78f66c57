"""Per-example gradients without a rule: of one layer by vmap over that layer alone, or of any parameters by the model.

Index letters: n examples.

Both form the rows, and hand back their sum beside their squared norms, so that the caller can hold it against
autograd's own gradient of the whole batch: a layer that keeps a parameter where `functional_call` does not see it shows
there. A layer that mixes examples shows there or in its outputs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from mcoherence.device import is_of_device
from mcoherence.gradients.batch.evidence import SumsOfRows
from mcoherence.gradients.given.alone import loss_and_gradients
from mcoherence.gradients.given.leftovers import no_leftovers_on
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.trees import Tree, arguments, leaves, length, refilled, rows
from mcoherence.gradients.layer_rules.products import Rows, at_least_float32, sure_squared_norms
from mcoherence.gradients.layer_rules.registry import trainable
from mcoherence.parameter_names import names_by_module

# Elements of the rows alive at a time; what is formed is bounded by this and by the size of one example's gradient.
# Elsewhere than on a processor, where each chunk costs the launches of a pass: 512 MiB of float32.
ROWS_BUDGET, ROWS_BUDGET_ELSEWHERE = 2**24, 2**27


@dataclass(frozen=True)
class LayerRows:
    """What a layer gives when it runs again for each example alone.

    rows: {own parameter name: Rows}; the examples' gradients only if the layer keeps the examples apart.
    apart: whether it gave each example alone what it gave it in the batch, up to rounding; bool [], on its device.
    """

    rows: dict[str, Rows]
    apart: Tensor


def layer_rows(layer: nn.Module, inputs: Tensor, outputs: Tensor, output_grads: Tensor) -> LayerRows:
    """Gradients by the parameters of any layer, by vmap over it, given its inputs and outputs, [n, ...] each.

    Only this layer runs again, once per example, to pull the gradient of its output, [n, ...], back onto its own
    parameters.
    """
    own = {name: p.detach() for name, p in trainable(layer).items()}

    def pulled_back(example: Tensor, output_grad: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        output, pull_back = vjp(  # type: ignore[misc]
            lambda parameters: functional_call(layer, parameters, (example.unsqueeze(0),), tie_weights=False), own
        )
        (gradients,) = pull_back(output_grad.unsqueeze(0))
        return output.squeeze(0), dict(gradients)

    apart = torch.ones((), dtype=torch.bool, device=outputs.device)

    def chunks() -> Iterator[dict[str, Tensor]]:
        nonlocal apart
        with no_leftovers_on(layer) as take_away:
            for part in _chunks(len(inputs), own):
                alone, gradients = vmap(pulled_back)(inputs[part], output_grads[part])
                take_away()
                apart = apart & are_same_outputs(outputs[part], alone.detach())
                yield gradients

    with torch.enable_grad():
        formed = _condensed(chunks())
    return LayerRows(formed, apart)


def are_same_outputs(within: Tensor, alone: Tensor) -> Tensor:
    """Whether what a layer gave c examples in their batch is what it gives each alone, both [c, ...]; bool [].

    Element by element, up to rounding: that of the element, and of the usual one of its example among those that differ
    at all. So neither many elements that are right nor a few large ones, such as what a mask is filled with, hide one
    that is not.
    """
    if within.shape != alone.shape:
        return torch.zeros((), dtype=torch.bool, device=within.device)
    one, other = (at_least_float32(value.reshape(len(value), -1)) for value in (within, alone))
    equal = (one == other) | (one.isnan() & other.isnan())
    size, off = one.abs(), (one - other).abs()
    usual = size.masked_fill(equal, torch.nan).nanmedian(dim=1, keepdim=True).values
    rounding = _rounding(within.dtype)
    return (equal | (off.isfinite() & (off <= rounding * size + rounding * usual))).all()


def _rounding(dtype: torch.dtype) -> float:
    """Relative error that rounding explains: some thousand times that of a result; in half precision a few times.

    Results in half precision are rounded from sums in float32, the others are sums of thousands of rounded terms.
    """
    return {torch.float64: 1e-11, torch.float32: 2e-4}.get(dtype.to_real(), 4 * torch.finfo(dtype).eps)


class WholeModel:
    """Per-example gradients of chosen parameters through the whole model, however they are used in it."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        self.model = model
        self.loss_fn = loss_fn
        self._vmap_is_right = True
        self._shrunk = 1  # chunks of examples hold so many times fewer, for want of memory
        names = names_by_module(model)
        self._places = {name: names[id(p)] for name, p in model.named_parameters()}

    def rows(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tree,
        targets: Tree,
        judge: Callable[[Mapping[str, Rows]], SumsOfRows],
    ) -> tuple[dict[str, Rows], SumsOfRows]:
        """Rows {parameter name: Rows} for inputs [n, ...] and targets [n, ...], by vmap, else by a plain loop.

        vmap serves as long as the model can be vectorised and none of its rows are astray; once it has failed, this
        object loops over the examples.

        Returns:
            The rows, and what they add up to, as `judge` says.
        """
        while self._vmap_is_right:
            try:
                formed = _condensed(self.by_vmap(parameters, inputs, targets))
                judged = judge(formed)
                if not judged.astray:
                    return formed, judged
                self._vmap_is_right = False
            except torch.OutOfMemoryError:
                if self._shrunk >= length(inputs):
                    raise
                self._shrunk *= 2
            except Exception:  # what vmap cannot vectorise raises all kinds of errors; the loop then tells a real one
                self._vmap_is_right = False
        formed = self.rows_by_loop(parameters, inputs, targets)
        return formed, judge(formed)

    def by_vmap(self, parameters: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> Iterator[dict[str, Tensor]]:
        """Per-example gradients {parameter name: [c, *parameter shape]}, chunk by chunk, by vmap over the model."""
        detached = {name: p.detach() for name, p in parameters.items()}

        def loss_of_one(chosen: dict[str, Tensor], of_input: list[Tensor], of_target: list[Tensor]) -> Tensor:
            args, kwargs = arguments(self.model, refilled(inputs, [leaf.unsqueeze(0).clone() for leaf in of_input]))
            outputs = functional_call(self.model, self.stand_ins(chosen), args, kwargs, tie_weights=False)
            return self.loss_fn(outputs, refilled(targets, [leaf.unsqueeze(0).clone() for leaf in of_target])).sum()

        rows_of = vmap(grad(loss_of_one), in_dims=(None, 0, 0))
        given, wanted = leaves(inputs), leaves(targets)
        with no_leftovers_on(self.model, self.loss_fn) as take_away:
            for part in _chunks(length(inputs), detached, self._shrunk):
                # The fused kernels have no batching rule and would run one by one.
                with sdpa_kernel(SDPBackend.MATH):
                    formed = rows_of(detached, [leaf[part] for leaf in given], [leaf[part] for leaf in wanted])
                take_away()
                yield formed

    def stand_ins(self, chosen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `functional_call` is to take in place of each parameter and buffer, by all of its places.

        Args:
            chosen: by name, of some parameters. Of the others they are aliases: a model that writes `p.data` or is cast
                (`module.to`) in its forward pass would leave a dead tensor of a pass by vmap in the parameter itself,
                and the next pass would end the process (torch 2.15).
        """
        # Ties are resolved here and not by functional_call; `parameter_names` says why.
        found: dict[str, Tensor] = {}
        aliases: dict[int, Tensor] = {}
        for module_name, module in self.model.named_modules():
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                if value is not None:
                    alias = aliases.get(id(value))
                    aliases[id(value)] = value.detach() if alias is None else alias
                    found[f"{module_name}.{name}" if module_name else name] = aliases[id(value)]
        return found | {place: value for name, value in chosen.items() for place in self._places[name]}

    def losses_by_vmap(self, inputs: Tree, targets: Tree) -> Tensor | None:
        """The losses [n] of inputs [n, ...] and targets [n, ...], each example passed alone; None if that fails."""
        given, wanted = leaves(inputs), leaves(targets)

        def loss_of_one(of_input: list[Tensor], of_target: list[Tensor]) -> Tensor:
            args, kwargs = arguments(self.model, refilled(inputs, [leaf.unsqueeze(0).clone() for leaf in of_input]))
            outputs = self.model(*args, **kwargs)
            losses = self.loss_fn(outputs, refilled(targets, [leaf.unsqueeze(0).clone() for leaf in of_target]))
            return losses.squeeze(0)

        try:
            # A model may want gradients; without them torch's encoders take a way that cannot be vectorised.
            with no_leftovers_on(self.model, self.loss_fn), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                losses: Tensor = vmap(loss_of_one)(given, wanted).detach()
        except torch.OutOfMemoryError:  # all examples at once may take more than their batch
            return None
        except Exception as error:  # what vmap cannot vectorise raises all kinds of errors
            of_device = is_of_device(error)
            if of_device:
                raise
            return None
        return losses if losses.shape == (length(inputs),) else None

    def rows_by_loop(self, parameters: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> dict[str, Rows]:
        """The same by a plain loop, hooks on the parameters and all."""
        return _condensed(self.by_loop(parameters, inputs, targets))

    def by_loop(self, parameters: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> Iterator[dict[str, Tensor]]:
        """Per-example gradients {parameter name: [1, *parameter shape]}, one example after the other."""
        for i in range(length(inputs)):
            chosen = slice(i, i + 1)
            _, gradients = loss_and_gradients(
                self.model, self.loss_fn, parameters, rows(inputs, chosen), rows(targets, chosen)
            )
            yield {name: gradient.unsqueeze(0) for name, gradient in gradients.items()}


def _chunks(n: int, parameters: Mapping[str, Tensor], shrunk: int = 1) -> list[slice]:
    """Slices of n examples, none with more than n / shrunk, nor more rows than the parameters' device has room for."""
    on_processor = all(p.device.type == "cpu" for p in parameters.values())
    budget = ROWS_BUDGET if on_processor else ROWS_BUDGET_ELSEWHERE
    size = max(1, min(n // shrunk, budget // max(1, sum(p.numel() for p in parameters.values()))))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _condensed(chunks: Iterator[Mapping[str, Tensor]]) -> dict[str, Rows]:
    """Rows of consecutive chunks {name: [c, *parameter shape]}, each let go before the next is formed."""
    norms: dict[str, list[Tensor]] = {}
    totals: dict[str, Tensor] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            formed = value.detach()
            norms.setdefault(name, []).append(sure_squared_norms(formed))
            total = formed.sum(dim=0, dtype=torch.promote_types(formed.dtype, torch.float32))
            totals[name] = totals[name] + total if name in totals else total
    return {name: Rows(torch.cat(norms[name]), totals[name]) for name in norms}
