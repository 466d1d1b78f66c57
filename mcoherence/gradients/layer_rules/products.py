"""Squared norms of per-example gradients, and of products sum_t b_t a_t^T by the cheaper of two exact ways."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Elements of a temporary alive at a time, beyond those of one example.
TEMPORARY_BUDGET = 2**23


@dataclass(frozen=True)
class Rows:
    """What is kept of the per-example gradients of one parameter: |g_i|^2, float64 [n], and sum_i g_i."""

    squared_norms: Tensor
    total: Tensor


def squared_norms(rows: Tensor) -> Tensor:
    """|row_i|^2 for rows [n, ...], float64 [n]; summed in the dtype of the rows, as terms of one sign lose nothing.

    Complex rows count with |z|^2. NaN where squares of this dtype may have been lost; see `trusted`.
    """
    flat = rows.reshape(len(rows), -1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).flatten(1)
    squared: Tensor = torch.linalg.vecdot(flat, flat)
    return trusted(squared.to(torch.float64), flat.shape[1], flat.dtype)


def sure_squared_norms(rows: Tensor) -> Tensor:
    """As `squared_norms`, in float64 where the dtype of the rows does not do."""
    squared = squared_norms(rows)
    total = float(squared.sum())
    if 0.0 < total < float("inf") or not bool(rows.any()):
        return squared
    return squared_norms(rows.to(torch.promote_types(rows.dtype, torch.float64)))


def trusted(sums: Tensor, terms: int, dtype: torch.dtype) -> Tensor:
    """Sums of so many products of that dtype each, float64 [n]; NaN in their place where products underflow.

    Products below the least normal number (1e-38 in float32) are lost, in part or as a whole: at most 1e-6 of the total
    where the total is 1e6 times as large as if all of them were that small. NaN tells the caller to do it over in
    float64; so does infinity, where products overflow. A total of exactly 0 is left: whether that is the truth shows in
    the sum of the gradients (`passes`).
    """
    least = float(torch.finfo(dtype).tiny) * 1e6 * terms * sums.numel()
    if sums.device.type == "cpu":  # a value is at hand
        return torch.full_like(sums, torch.nan) if 0.0 < float(sums.sum()) < least else sums
    total = sums.sum()
    return torch.where((total > 0.0) & (total < least), torch.nan, sums)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 where its dtype is narrower: squares of bfloat16 and float16 lose or overflow."""
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < torch.float32.itemsize
    return tensor.to(torch.float32) if narrow else tensor


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
    by_gram = positions * (d + p) < d * p
    size = max(1, TEMPORARY_BUDGET // (positions**2 if by_gram else d * p))
    norms = []
    for a, b in zip(torch.split(inputs, size), torch.split(output_grads, size), strict=True):
        if by_gram:
            norms.append(gram_squared_norms(a @ a.transpose(1, 2), b @ b.transpose(1, 2)))
        else:
            norms.append(squared_norms(b.transpose(1, 2) @ a))
    return torch.cat(norms)


def gram_squared_norms(input_gram: Tensor, grad_gram: Tensor) -> Tensor:
    """sum_ts (a_t . a_s)(b_t . b_s) per example for Gram matrices [n, t, t], float64 [n]; never below 0 by rounding.

    NaN where squares of their dtype may have been lost, as their diagonals tell.
    """
    norms: Tensor = (input_gram * grad_gram).sum(dim=(1, 2), dtype=torch.float64).clamp_min_(0.0)
    positions, dtype = input_gram.shape[1], input_gram.dtype
    norms = trusted(norms, positions**2, dtype)
    for gram in (input_gram, grad_gram):
        traces = gram.diagonal(dim1=1, dim2=2).sum(dim=1, dtype=torch.float64)
        norms = norms + 0.0 * trusted(traces, GRAM_TERMS * positions, dtype)
    return norms


# Products that a sum behind one entry of a Gram matrix is taken to have, in telling whether some may have been lost.
GRAM_TERMS = 2**10
