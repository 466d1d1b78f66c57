"""Products of per-example gradients with directions, layer by layer, without per-example gradients.

The derivative of example i's loss along V is the sum over layers of <b_i, T_i>: b the gradient with respect to the
layer's output, which a backward pass brings, and T the derivative of the output along V with the input held fixed. For
a layer that is linear in its parameters, T is the layer itself with V in their place: one more forward pass. For any
other it comes by forward-mode differentiation of that layer alone.

Index letters: n examples, D directions.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from mcoherence.gradients.batch.directions import Directions
from mcoherence.gradients.batch.group_sums import real_rows
from mcoherence.gradients.batch.layers import Layer
from mcoherence.gradients.given.layer_names import layer_of
from mcoherence.gradients.layer_rules.products import at_least_float32


def layer_products(
    layer: Layer, inputs: Tensor, output_grads: Tensor, directions: Directions, careful: bool
) -> dict[str, Tensor]:
    """g_i . V_d by the layers whose parameters they are (a module with a rule may have children), float64 [D, n].

    Args:
        layer: seen in one call.
        inputs: of the call, [n, ...].
        output_grads: gradient with respect to its output, [n, ...].
        directions: in the space of all parameters.
        careful: compute in float64, where the layer is linear in its parameters.

    Raises:
        NotImplementedError, RuntimeError: forward mode cannot differentiate the layer.
    """
    by_owner: dict[str, dict[str, Tensor]] = {}
    for name in layer.parameters:
        qualified = layer.qualified(name)
        if qualified in directions.tensors:
            by_owner.setdefault(layer_of(qualified), {})[name] = directions.tensors[qualified]
    linear = (
        layer.rule is not None and layer.rule.linear_in_parameters and layer.parameters.keys() <= {"weight", "bias"}
    )
    kind = inputs.device.type
    found = {}
    with torch.no_grad(), torch.autocast(kind, enabled=False):
        for owner, given in by_owner.items():
            products = []
            for d in range(directions.count):
                along = {name: value[d] for name, value in given.items()}
                if linear:
                    tangent = _linear_tangent(layer.module, inputs, along, careful)
                else:
                    tangent = _forward_tangent(layer, inputs, along)
                products.append(_inner(tangent, output_grads))
            found[owner] = torch.stack(products)
    return found


def _linear_tangent(module: nn.Module, inputs: Tensor, along: Mapping[str, Tensor], careful: bool) -> Tensor:
    """The output of a layer with the direction in the place of its weight and bias."""
    if careful:
        along = {name: value.to(torch.float64) for name, value in along.items()}
    dtype = next(iter(along.values())).dtype
    x = inputs.to(dtype) if inputs.is_floating_point() else inputs
    if type(module) is nn.Linear and "weight" in along:
        return F.linear(x, along["weight"], along.get("bias"))
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:  # whose row has no gradient
        weight = along["weight"].clone()
        weight[module.padding_idx] = 0.0
        along = {"weight": weight}
    values = {name: p.new_zeros(p.shape, dtype=dtype) for name, p in module.named_parameters()} | {
        name: value.to(dtype) for name, value in module.named_buffers() if value.is_floating_point()
    }
    output: Tensor = functional_call(module, values | dict(along), (x,), tie_weights=False)
    return output


def _forward_tangent(layer: Layer, inputs: Tensor, along: Mapping[str, Tensor]) -> Tensor:
    """The derivative of the layer's output along a direction, its input held fixed."""
    with with_forward_mode(layer.module), forward_ad.dual_level():
        values = {
            name: make_dual(layer.parameters[name].detach(), value.to(layer.parameters[name].dtype))
            for name, value in along.items()
        }
        output = functional_call(layer.module, values, (inputs,), tie_weights=False)
        first = output[0] if isinstance(output, tuple) else output
        tangent = tangent_of(first)
        return torch.zeros_like(first) if tangent is None else tangent


def _inner(tangent: Tensor, output_grads: Tensor) -> Tensor:
    """<b_i, T_i> of each example, float64 [n]."""
    b, t = real_rows(at_least_float32(output_grads)), real_rows(at_least_float32(tangent))
    dtype = torch.promote_types(b.dtype, t.dtype)
    products: Tensor = torch.linalg.vecdot(b.to(dtype), t.to(dtype))
    return products.to(torch.float64)


def make_dual(primal: Tensor, tangent: Tensor) -> Tensor:
    """A dual number of forward mode, inside its level."""
    dual: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return dual


def tangent_of(dual: Tensor) -> Tensor | None:
    """The derivative that a dual number carries; None where it is zero."""
    tangent: Tensor | None = forward_ad.unpack_dual(dual).tangent  # type: ignore[no-untyped-call]
    return tangent


@contextmanager
def with_forward_mode(model: nn.Module) -> Iterator[None]:
    """Kernels that forward mode has formulas for: no fused attention, and no fused recurrent layers where there are."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for of_torch_to_itself in (r".*torch\.jit\.script. is deprecated", "TF32 acceleration on top of oneDNN"):
            warnings.filterwarnings("ignore", message=of_torch_to_itself)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            flags: Any = torch.backends.mkldnn.flags
            stack.enter_context(flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
