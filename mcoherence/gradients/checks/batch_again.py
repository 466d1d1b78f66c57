"""A batch passed once more, or examples of it alone: plain passes and autograd, in the model's precision or float64.

Index letters: n examples of a batch, k of them that are chosen, D directions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mcoherence.device import is_of_device
from mcoherence.gradients.batch.directions import Directions, products_of_rows
from mcoherence.gradients.batch.passes import Passes
from mcoherence.gradients.given.alone import dense, loss_alone, loss_and_gradients, require_same_alone
from mcoherence.gradients.given.leftovers import is_double, no_leftovers_on
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.trees import Tree, arguments, fresh, mapped, outputs_of, rows, usable
from mcoherence.gradients.layer_rules.products import Rows, sure_squared_norms

Found = TypeVar("Found")


@dataclass(frozen=True)
class Batch:
    """What the gradients of a batch's examples are taken of: inputs [n, ...] and targets [n, ...], or trees of them."""

    model: Callable[[Tree], Any]
    loss_fn: LossFunction
    parameters: Mapping[str, Tensor]
    inputs: Tree
    targets: Tree

    def norms_alone(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of the chosen examples, one forward and backward pass for each."""
        found = []
        for i, (loss, gradients) in zip(chosen, self._alone(chosen), strict=True):
            require_same_alone(self.model, self.loss_fn, *self._one(i), loss)
            found.append(gradients)
        return self._norms(found)

    def norms_within(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """|g_i|^2 {parameter name: float64 [k]} of the chosen examples' own losses in one pass of the whole batch."""
        return self._norms(list(self._gradients_within(chosen)))

    def sums_together(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """{parameter name: gradient} of the summed losses of the chosen examples, as a batch of their own."""
        index = torch.tensor(chosen)
        with torch.enable_grad():
            losses = self.loss_fn(outputs_of(self.model, rows(self.inputs, index)), rows(self.targets, index))
        together = torch.autograd.grad(losses.sum(), list(self.parameters.values()), allow_unused=True)
        return {name: dense(g) for name, g in zip(self.parameters, together, strict=True) if g is not None}

    def rows_alone(self, chosen: Sequence[int]) -> dict[str, Rows]:
        """{parameter name: norms and sum} of the gradients of the chosen examples, each passed alone."""
        alone = [gradients for _, gradients in self._alone(chosen)]
        norms = self._norms(alone)
        return {
            name: Rows(norms[name], torch.stack([one[name] for one in alone]).sum(dim=0)) for name in self.parameters
        }

    def products_alone(self, chosen: Sequence[int], directions: Directions) -> dict[str, Tensor]:
        """g_i . V_d {layer: float64 [D, k]} of the chosen examples, one forward and backward pass for each."""
        gradients = (one for _, one in self._alone(chosen))
        return products_of_rows(({name: g.unsqueeze(0) for name, g in one.items()} for one in gradients), directions)

    def products_within(self, chosen: Sequence[int], directions: Directions) -> dict[str, Tensor]:
        """g_i . V_d {layer: float64 [D, k]} of the same gradients with directions."""
        gradients = self._gradients_within(chosen)
        return products_of_rows(({name: g.unsqueeze(0) for name, g in one.items()} for one in gradients), directions)

    def _alone(self, chosen: Sequence[int]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        for i in chosen:
            yield loss_and_gradients(self.model, self.loss_fn, self.parameters, *self._one(i))

    def _gradients_within(self, chosen: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        with torch.enable_grad():
            losses = self._losses()
        for i in chosen:
            found: Sequence[Tensor | None] = [None] * len(self.parameters)
            if losses.requires_grad:
                wanted = list(self.parameters.values())
                found = torch.autograd.grad(losses[i], wanted, retain_graph=True, allow_unused=True)
            named = zip(self.parameters.items(), found, strict=True)
            yield {name: torch.zeros_like(p) if g is None else dense(g) for (name, p), g in named}

    def losses(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The losses [k] of the chosen examples in the batch, and alone."""
        with torch.enable_grad():
            within = self._losses()[list(chosen)].detach()
            alone = (loss_alone(self.model, self.loss_fn, *self._one(i)) for i in chosen)
            return within, torch.cat([loss.detach().clone() for loss in alone])  # a loss may use its memory again

    def _losses(self) -> Tensor:
        return self.loss_fn(outputs_of(self.model, fresh(self.inputs)), fresh(self.targets))

    def _one(self, i: int) -> tuple[Tree, Tree]:
        return rows(self.inputs, slice(i, i + 1)), rows(self.targets, slice(i, i + 1))

    def _norms(self, gradients: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {
            name: torch.cat([sure_squared_norms(row[name].detach().unsqueeze(0)) for row in gradients])
            for name in self.parameters
        }


def batch_again(passes: Passes, inputs: Tree, targets: Tree) -> Batch:
    """A batch that was measured, to be passed once more; inputs [n, ...] and targets [n, ...], or trees of them."""
    return Batch(passes.model, passes.loss_fn, passes.parameters, passes.at_device(inputs), usable(targets))


def found_in_float64(model: nn.Module, batch: Batch, find: Callable[[Batch], Found]) -> Found | None:
    """What `find` finds of the batch and the model in float64; None where it cannot be had.

    That is so where the model or its loss insists on another dtype, or the device has none. Both stay as they are, the
    tensors among them that they keep of a pass.
    """
    with no_leftovers_on(model, batch.loss_fn, of=is_double):
        try:
            return find(_in_float64(model, batch))
        except Exception as error:  # they insist on a dtype by any kind of error
            of_device = is_of_device(error)
            if of_device:
                raise
            return None


def _in_float64(model: nn.Module, batch: Batch) -> Batch:
    """The same batch and weights in float64."""
    # Ties are kept here and not by functional_call; `parameter_names` says why.
    double: dict[int, Tensor] = {}
    everywhere = {}
    for module_name, module in model.named_modules():
        for name, value in (*module._parameters.items(), *module._buffers.items()):
            if value is not None:
                everywhere[f"{module_name}.{name}".lstrip(".")] = double.setdefault(id(value), _double(value.detach()))
    parameters = {name: everywhere[name].requires_grad_() for name in batch.parameters}

    def run(inputs: Tree) -> Any:
        args, kwargs = arguments(model, inputs)
        return functional_call(model, everywhere, args, kwargs, tie_weights=False)

    return Batch(run, batch.loss_fn, parameters, mapped(_double, batch.inputs), batch.targets)


def _double(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float64)) if _is_narrow(values) else values


def _is_narrow(values: Tensor) -> bool:
    return values.is_floating_point() or values.is_complex()
