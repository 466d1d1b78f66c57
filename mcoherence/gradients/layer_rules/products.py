"""Squared norms of products sum_t b_t a_t^T per example, by the cheaper of two exact ways."""

import torch
from torch import Tensor


def squared_norms(rows: Tensor) -> Tensor:
    """|row_i|^2 for rows [n, ...], summed in float64; returns [n]."""
    return rows.flatten(1).square().sum(dim=1, dtype=torch.float64)


def product_squared_norms(inputs: Tensor, output_grads: Tensor) -> Tensor:
    """|sum_t output_grads_t inputs_t^T|_F^2 per example, float64 [n].

    Two exact ways, chosen from the shapes alone: Gram products over positions, sum_ts (a_t.a_s)(b_t.b_s), cost
    t^2 (d + p) and never form the [d, p] product (Goodfellow 2015 for t = 1; Rochette et al. 2019 for convolutions);
    forming the product costs t d p.

    Args:
        inputs: [n, t, d].
        output_grads: [n, t, p].
    """
    positions, d, p = inputs.shape[1], inputs.shape[2], output_grads.shape[2]
    if positions == 1:
        return squared_norms(inputs) * squared_norms(output_grads)
    if positions * (d + p) < d * p:
        input_gram = inputs @ inputs.transpose(1, 2)
        grad_gram = output_grads @ output_grads.transpose(1, 2)
        return (input_gram * grad_gram).sum(dim=(1, 2), dtype=torch.float64).clamp_min_(0.0)
    return squared_norms(output_grads.transpose(1, 2) @ inputs)
