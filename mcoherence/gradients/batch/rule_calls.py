"""What a layer's rule is asked in one call: whether to sum, squared norms of the examples' gradients, and their sums.

Index letter: n examples.
"""

import torch
from torch import Tensor

from mcoherence.gradients.batch.group_sums import sum_dtype
from mcoherence.gradients.batch.layers import Call, Layer
from mcoherence.gradients.layer_rules.products import at_least_float32
from mcoherence.gradients.layer_rules.registry import NotModelledError
from mcoherence.precision import without_autocast


def sums_here(layer: Layer, call: Call) -> bool:
    """Whether the layer's summing rule is to take the place of autograd's weight gradient in this call."""
    rule = layer.rule
    if rule is None or rule.prefers_summing is None:
        return False
    return rule.prefers_summing(layer.module, call.argument.tensor, call.output_shape)


def by_rule(
    layer: Layer, inputs: Tensor, output_grads: Tensor, careful: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Squared norms, and sums of what the layer is to sum, by the layer's rules; NotModelledError without any."""
    if layer.rule is None or inputs.is_complex() or output_grads.is_complex():
        raise NotModelledError
    if careful:
        inputs, output_grads = _wide(inputs), _wide(output_grads)
    inputs, output_grads = at_least_float32(inputs), at_least_float32(output_grads)
    kind = inputs.device.type
    with without_autocast(kind):
        if layer.summing and layer.rule.summing is not None:
            norms, sums = layer.rule.summing(layer.module, inputs, output_grads)
            return norms, {name: value.to(sum_dtype(layer.parameters[name].dtype)) for name, value in sums.items()}
        return layer.rule.squared_norms(layer.module, inputs, output_grads), {}


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor
