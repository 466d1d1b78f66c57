"""Products of the gradients of a batch's examples with directions, in one forward and backward pass.

Layers that their calls account for give theirs in the backward pass (`layer_products`). Other parameters (tied ones,
recurrent layers, weights used functionally) go through the whole model, by the first of these ways that works:

1. forward mode: the derivative of the losses along a direction, all examples at once;
2. a double backward pass: with the losses weighted by u_i, the derivative by u_i of (gradient . V) is g_i . V; for
   functions that forward mode has no formula for and that can be differentiated twice;
3. per-example gradients, by vmap, else by a loop, as squared norms are taken of them.

What comes of the first three is held against autograd's gradient of the batch. Where hooks may change gradients, which
forward mode does not see, only the third is taken.

Index letters: n examples, D directions.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call

from mcoherence.gradients.batch.directions import Directions, contracted, products_of_rows
from mcoherence.gradients.batch.evidence import tolerance
from mcoherence.gradients.batch.layer_products import make_dual, tangent_of, with_forward_mode
from mcoherence.gradients.batch.layers import has_node_hooks
from mcoherence.gradients.batch.passes import Passes
from mcoherence.gradients.given.alone import dense, loss_alone
from mcoherence.gradients.given.layer_names import layer_of
from mcoherence.gradients.given.losses import require_losses
from mcoherence.gradients.given.refusal import MIXED, UnsupportedModelError
from mcoherence.gradients.given.trees import Tree, arguments, fresh, length, outputs_of, usable
from mcoherence.gradients.graph.recurrent_gates import DifferentiatedAgainError

ByLayer = dict[str, Tensor]  # {layer: products float64 [D, n]}
Way = Callable[[Mapping[str, Tensor], Tree, Tree], ByLayer]


@dataclass(frozen=True)
class BatchProducts:
    """Of one batch of n examples: losses [n], and g_i . V_d by layer, float64 [D, n]; a layer without any is zero."""

    losses: Tensor
    by_layer: ByLayer


class ProductPasses:
    """Passes for products through the model of `passes`, of batches that these have measured before."""

    def __init__(self, passes: Passes, directions: Directions) -> None:
        self._passes = passes
        self._directions = directions
        self._ways: list[Way] = [self._by_forward_mode, self._by_double_backward, self._by_vmap, self._by_loop]

    def measure(self, inputs: Tree, targets: Tree, norms: Tensor) -> BatchProducts:
        """Products of one batch.

        Args:
            inputs: [n, ...], or a tree of such tensors.
            targets: [n, ...], likewise.
            norms: |g_i| of these examples, for the rounding to expect, float64 [n].

        Raises:
            UnsupportedModelError: the products do not add up to those of the batch.
        """
        inputs, targets = self._passes.at_device(inputs), usable(targets)
        with torch.enable_grad():
            if length(inputs) == 1:
                return self._measure_one(inputs, targets)
            try:
                return self._measure(inputs, targets, norms)
            except DifferentiatedAgainError:
                self._passes.capture.show_by_steps()
                return self._measure(inputs, targets, norms)

    def _measure(self, inputs: Tree, targets: Tree, norms: Tensor) -> BatchProducts:
        passes, n = self._passes, length(inputs)
        capture = passes.capture
        with capture.recording(n, self._directions) as watch:
            losses = passes.loss_fn(outputs_of(passes.model, fresh(inputs)), fresh(targets))
        require_losses(losses, n)
        if not losses.requires_grad:
            capture.let_go()
            return BatchProducts(losses.detach(), {})
        hooked = {name for name, p in passes.parameters.items() if p._backward_hooks}
        capture.routed.update(hooked)
        any_hooks = watch.hooks or has_node_hooks(passes.model)
        if any_hooks:
            capture.route_all()
            if capture.stop_showing():
                return self._measure(inputs, targets, norms)
        if not capture.route(losses):
            return self._measure(inputs, targets, norms)
        before = set(capture.routed)
        routed = {name: p for name, p in passes.parameters.items() if name in before}
        found = torch.autograd.grad(losses.sum(), [*capture.lowest, *routed.values()], allow_unused=True)
        by_layer = capture.products()
        if capture.routed - before:  # a layer that forward mode cannot differentiate
            return self._measure(inputs, targets, norms)
        sums = {
            name: dense(gradient)
            for name, gradient in zip(routed, found[len(capture.lowest) :], strict=True)
            if gradient is not None and name in self._directions.tensors
        }
        # What hooks on parameters make of every example's gradient is no sum that autograd's could be held against.
        if with_hooks := {name: p for name, p in routed.items() if name in sums and name in hooked}:
            _add(by_layer, self._by_loop(with_hooks, inputs, targets))
        owners = _by_owner([name for name in sums if name not in hooked], routed)
        _add(by_layer, self._through_the_model(owners, sums, inputs, targets, norms, any_hooks))
        return BatchProducts(losses.detach(), by_layer)

    def _measure_one(self, inputs: Tree, targets: Tree) -> BatchProducts:
        """A batch of one: the gradient of its loss is that of its example."""
        passes = self._passes
        loss = loss_alone(passes.model, passes.loss_fn, inputs, targets)
        by_layer: ByLayer = {}
        if loss.requires_grad:
            named = {name: p for name, p in passes.parameters.items() if name in self._directions.tensors}
            found = torch.autograd.grad(loss.sum(), list(named.values()), allow_unused=True) if named else ()
            rows = {name: dense(g).unsqueeze(0) for name, g in zip(named, found, strict=True) if g is not None}
            by_layer = products_of_rows([rows], self._directions)
        return BatchProducts(loss.detach(), by_layer)

    def _through_the_model(
        self,
        owners: Mapping[str, Mapping[str, Tensor]],
        sums: Mapping[str, Tensor],
        inputs: Tree,
        targets: Tree,
        norms: Tensor,
        formed_only: bool,
    ) -> ByLayer:
        """Products [D, n] of the layers' parameters; by per-example gradients alone if `formed_only`."""
        done: ByLayer = {}
        for way in tuple(self._ways):
            if formed_only and way not in (self._by_vmap, self._by_loop):
                continue
            found: ByLayer = {}
            for layer, members in owners.items():
                if layer in done:
                    continue
                try:
                    found[layer] = way(members, inputs, targets)[layer]
                except torch.OutOfMemoryError:
                    raise
                except Exception:  # what a way cannot do raises all kinds of errors; the loop tells a real one
                    if way == self._by_loop:
                        raise
                    break
            done |= self._agreeing(found, owners, sums, norms)
            if len(done) == len(owners):
                return done
            if way != self._by_loop:
                self._ways.remove(way)  # what it cannot do once it will not do later
        layer = next(layer for layer in owners if layer not in done)
        raise UnsupportedModelError(
            f"layer {layer!r}: the products of the examples' gradients, each passed through the model alone, with a "
            f"direction do not add up to that of the batch; {MIXED}"
        )

    def _agreeing(
        self,
        found: ByLayer,
        owners: Mapping[str, Mapping[str, Tensor]],
        sums: Mapping[str, Tensor],
        norms: Tensor,
    ) -> ByLayer:
        """Those of the products [D, n] that add up to those of the batch's gradient; the device is asked once."""
        if not found:
            return {}
        compared = []
        for layer, products in found.items():
            expected = sum(contracted(sums[p].unsqueeze(0), self._directions.tensors[p])[:, 0] for p in owners[layer])
            compared.append(torch.stack([(products.sum(dim=1) - expected).abs(), products.abs().sum(dim=1)]))
        agreeing = {}
        for layer, (off, sizes) in zip(found, torch.stack(compared).cpu(), strict=True):
            dtype = next(iter(owners[layer].values())).dtype
            allowed = product_rounding(dtype) * float(norms.sum()) * self._directions.norms_by_layer[layer]
            if bool((off <= tolerance(dtype) * sizes + allowed).all()):
                agreeing[layer] = found[layer]
        return agreeing

    def _by_forward_mode(self, members: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> ByLayer:
        """The derivative of the losses along each direction; one pass for all examples."""
        passes, directions, products = self._passes, self._directions, []
        with torch.no_grad(), with_forward_mode(passes.model):
            for d in range(directions.count):
                with forward_ad.dual_level():
                    duals = {
                        name: make_dual(p.detach(), directions.tensors[name][d].to(p.dtype))
                        for name, p in members.items()
                    }
                    stand_ins = passes.whole_model.stand_ins(duals)
                    args, kwargs = arguments(passes.model, fresh(inputs))
                    outputs = functional_call(passes.model, stand_ins, args, kwargs, tie_weights=False)
                    losses = passes.loss_fn(outputs, fresh(targets))
                    tangent = tangent_of(losses)
                    products.append((torch.zeros_like(losses) if tangent is None else tangent).to(torch.float64))
        return {layer_of(next(iter(members))): torch.stack(products)}

    def _by_double_backward(self, members: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> ByLayer:
        """The derivative by u_i of (gradient of sum_i u_i loss_i) . V_d, at u = 1."""
        passes, directions, products = self._passes, self._directions, []
        with with_forward_mode(passes.model):  # the same kernels can be differentiated twice
            losses = passes.loss_fn(outputs_of(passes.model, fresh(inputs)), fresh(targets))
            weights = torch.ones_like(losses, requires_grad=True)
            gradients = torch.autograd.grad(
                (weights * losses).sum(), list(members.values()), create_graph=True, allow_unused=True
            )
            for d in range(directions.count):
                along = [
                    (torch.view_as_real(g) * torch.view_as_real(v)).sum() if g.is_complex() else (g * v).sum()
                    for name, g in zip(members, gradients, strict=True)
                    if g is not None and g.requires_grad
                    for v in [directions.tensors[name][d].to(g.dtype)]
                ]
                (row,) = torch.autograd.grad(torch.stack(along).sum(), weights, retain_graph=True)
                products.append(row.to(torch.float64))
        return {layer_of(next(iter(members))): torch.stack(products)}

    def _by_vmap(self, members: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> ByLayer:
        return products_of_rows(self._passes.whole_model.by_vmap(members, inputs, targets), self._directions)

    def _by_loop(self, members: Mapping[str, Tensor], inputs: Tree, targets: Tree) -> ByLayer:
        return products_of_rows(self._passes.whole_model.by_loop(members, inputs, targets), self._directions)


def product_rounding(dtype: torch.dtype) -> float:
    """Error of a product that rounding may make, as a share of the norms of gradient and direction."""
    return 1e3 * torch.finfo(dtype).eps


def _add(by_layer: ByLayer, more: ByLayer) -> None:
    for layer, products in more.items():
        by_layer[layer] = by_layer[layer] + products if layer in by_layer else products


def _by_owner(names: Iterable[str], parameters: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """{layer: {parameter name: parameter}} of the named ones."""
    owners: dict[str, dict[str, Tensor]] = {}
    for name in names:
        owners.setdefault(layer_of(name), {})[name] = parameters[name]
    return owners
