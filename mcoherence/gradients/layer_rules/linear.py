"""nn.Linear: the weight gradient of one example is sum_t b_t a_t^T, the bias gradient sum_t b_t."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.products import (
    prefers_product_rows,
    product_rows,
    product_squared_norms,
    rank_one,
    squared_norms,
)
from mcoherence.gradients.layer_rules.registry import NotModelledError, layer_rule, trainable, weight_and_bias


def linear_rows(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Squared norms and sums of weight's and bias's gradients, for inputs [n, *, d] and output_grads [n, *, p]."""
    n = inputs.shape[0]
    a, b = inputs.reshape(n, -1, inputs.shape[-1]), output_grads.reshape(n, -1, output_grads.shape[-1])
    norms, sums = {}, {}
    for name in weight_and_bias(layer):
        if name == "weight":
            norms[name], sums[name] = product_rows(a, b)
        else:
            rows = b.sum(dim=1)
            norms[name], sums[name] = squared_norms(rows), rows.sum(dim=0)
    return norms, sums


def prefers_linear_rows(layer: nn.Module, inputs: Tensor, output_shape: torch.Size) -> bool:
    """Whether forming the weight's gradients of the examples beats `linear` with autograd's product beside it."""
    if inputs.dim() < 3 or "weight" not in trainable(layer) or set(trainable(layer)) - {"weight", "bias"}:
        return False
    positions = inputs.shape[1:-1].numel()
    return prefers_product_rows(inputs.device, positions, inputs.shape[-1], output_shape[-1])


@layer_rule(nn.Linear, summing=linear_rows, prefers_summing=prefers_linear_rows, linear_in_parameters=True)
def linear(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs [n, *, d] and output_grads [n, *, p], any number of position axes."""
    if inputs.dim() < 2:
        raise NotModelledError("Linear input without a batch axis")
    return linear_squared_norms(weight_and_bias(layer), inputs, output_grads)


def linear_squared_norms(names: Sequence[str], inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms of "weight" and "bias", whichever are in `names`, of an affine map of the last axis."""
    n = inputs.shape[0]
    if inputs.dim() == 2:  # one position: the weight's gradient has rank one, and the bias's is a factor of it
        of_bias, of_inputs = squared_norms(output_grads), squared_norms(inputs)
        norms = {"weight": rank_one(of_inputs, of_bias, inputs, output_grads), "bias": of_bias}
        return {name: norms[name] for name in names}
    a = inputs.reshape(n, -1, inputs.shape[-1])
    b = output_grads.reshape(n, -1, output_grads.shape[-1])
    norms = {}
    if "weight" in names:
        norms["weight"] = product_squared_norms(a, b)
    if "bias" in names:
        norms["bias"] = squared_norms(b.sum(dim=1))
    return norms
