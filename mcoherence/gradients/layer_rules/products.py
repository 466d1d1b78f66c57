"""Squared norms of per-example gradients, and of products sum_t b_t a_t^T by the cheaper of two exact ways."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Elements of a temporary alive at a time, beyond those of one example: what fits a processor's cache, and 256 MiB of
# float32 elsewhere, where each chunk costs launches that small ones do not repay.
BUDGET_ON_PROCESSOR, BUDGET_ELSEWHERE = 2**23, 2**26


@dataclass(frozen=True)
class Rows:
    """What is kept of the per-example gradients of one parameter: |g_i|^2, float64 [n], and sum_i g_i."""

    squared_norms: Tensor
    total: Tensor


def squared_norms(rows: Tensor) -> Tensor:
    """|row_i|^2 for rows [n, ...], float64 [n]; summed in the dtype of the rows, as terms of one sign lose nothing.

    Complex rows count with |z|^2. Long rows are summed in blocks, and these in float64: a norm in float32 is 14 times
    as fast as `vecdot` for 2 million elements, which forms a temporary, and 29 times as one in float64.
    """
    flat = rows.reshape(len(rows), -1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).flatten(1)
    size = flat.shape[1]
    if size < 2 * _BLOCK:
        return _squared(torch.linalg.vector_norm(flat, dim=1))
    whole = size // _BLOCK * _BLOCK
    blocks = flat[:, :whole].reshape(len(flat), -1, _BLOCK)
    squared = _squared(torch.linalg.vector_norm(blocks, dim=2)).sum(dim=1)
    return squared + _squared(torch.linalg.vector_norm(flat[:, whole:], dim=1)) if whole < size else squared


_BLOCK = 2048
_WIDE = 64  # elements from which on a norm of its own for each line of a matrix is worth its while


def _squared(norms: Tensor) -> Tensor:
    return norms.to(torch.float64).square()


def sure_squared_norms(rows: Tensor) -> Tensor:
    """As `squared_norms`, in float64 where the dtype of the rows does not do; on a GPU always, unasked."""
    if rows.dtype.to_real() == torch.float64:
        return squared_norms(rows)
    if rows.device.type != "cpu":  # to ask whether it does would wait for all that was begun there
        return _norms_in_float64(rows).square()
    squared = squared_norms(rows)
    total = float(squared.sum())
    if is_sure(total, rows.numel(), rows.dtype) or not bool(rows.any()):
        return squared
    return squared_norms(rows.to(torch.promote_types(rows.dtype, torch.float64)))


def _norms_in_float64(rows: Tensor) -> Tensor:
    """|row_i| of rows [n, ...], float64 [n], each element converted as it is read."""
    flat = rows.reshape(len(rows), -1)
    real = torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat
    norms: Tensor = torch.linalg.vector_norm(real, dim=1, dtype=torch.float64)
    return norms


def is_sure(total: float, terms: int, dtype: torch.dtype) -> bool:
    """Whether a sum of so many squares of that dtype has kept what counts.

    Squares below the least normal number (1e-38 in float32) are lost, in part or as a whole: at most 1e-6 of a total
    that is 1e6 times as large as if all of them were that small. Squares that overflow make it infinite.
    """
    return least(terms, dtype) <= total < math.inf


def least(terms: int, dtype: torch.dtype) -> float:
    """The least total of so many squares of that dtype that is sure."""
    return (_TINY if dtype == torch.float32 else float(torch.finfo(dtype).tiny)) * 1e6 * terms


_TINY = float(torch.finfo(torch.float32).tiny)


def trusted(norms: Tensor, *lost: Tensor | float) -> Tensor:
    """Norms, float64 [n], each a product of two factors; NaN where one has lost what counts, so that they are not sure.

    What leaves the range of a dtype in a result shows there; in a factor it does not, where the other is large. What
    was lost of all examples is to be nothing beside their total. NaN tells the caller to do it over in float64. A total
    of exactly 0 is left: whether that is the truth shows in the sum of the gradients (`batch.passes`).

    Args:
        norms: of the examples, [n].
        lost: what may have been lost of their total, of each factor (`may_be_lost`).
    """
    total = at_hand(norms.sum())
    if isinstance(total, float):
        return torch.full_like(norms, torch.nan) if any(0.0 < total < one for one in lost) else norms
    for one in lost:
        norms = torch.where((total > 0.0) & (total < one), torch.nan, norms)
    return norms


def may_be_lost(other: Tensor, terms: int, dtype: torch.dtype) -> Tensor | float:
    """What a factor may have lost of a total of products: no more than its terms could, times the other factor.

    Args:
        other: the other factor, of the examples, [n] or more.
        terms: squares in the factor of one example.
        dtype: of these squares.
    """
    return least(terms, dtype) * at_hand(other.sum(dtype=torch.float64))


def at_hand(value: Tensor) -> Tensor | float:
    """A value of no axes as a number on a processor; as it is elsewhere, where to ask would wait for what was begun."""
    return float(value) if value.device.type == "cpu" else value


def looked_up_squared_norms(index: Tensor, output_grads: Tensor) -> Tensor:
    """|g_i|^2, float64 [n], of a table that is looked up; no shape depends on values, for which a GPU would be waited.

    Positions of one index are summed before squaring, where they come together by sorting each example's.

    Args:
        index: rows of the table, int64 [n, t].
        output_grads: [n, t, d].
    """
    n, positions, d = output_grads.shape
    ordered, order = index.sort(dim=1, stable=True)
    begins = torch.ones_like(ordered)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = begins.cumsum(dim=1) - 1 + positions * torch.arange(n, device=index.device).unsqueeze(1)
    grads = output_grads.gather(1, order.unsqueeze(-1).expand(-1, -1, d)).reshape(-1, d)
    rows = output_grads.new_zeros(n * positions, d).index_add_(0, place.flatten(), grads)
    return squared_norms(rows.reshape(n, -1))


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 where its dtype is narrower: squares of bfloat16 and float16 lose or overflow."""
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < torch.float32.itemsize
    return tensor.to(torch.float32) if narrow else tensor


def examples_at_a_time(device: torch.device, per_example: int) -> int:
    """Examples whose temporaries of so many elements each fit the budget of the device; at least one."""
    budget = BUDGET_ON_PROCESSOR if device.type == "cpu" else BUDGET_ELSEWHERE
    return max(1, budget // per_example)


def product_squared_norms(inputs: Tensor, output_grads: Tensor) -> Tensor:
    """|sum_t output_grads_t inputs_t^T|_F^2 per example, float64 [n].

    Two exact ways, chosen from the shapes alone: Gram products over positions, sum_ts (a_t.a_s)(b_t.b_s), cost
    t^2 (d + p) and never form the [d, p] product (Goodfellow 2015 for t = 1; Rochette et al. 2019 for convolutions);
    forming the product costs t d p.

    Args:
        inputs: [n, t, d].
        output_grads: [n, t, p].
    """
    n, positions, d = inputs.shape
    p = output_grads.shape[2]
    if positions == 1:
        return rank_one_squared_norms(inputs, output_grads)
    by_gram = positions * (d + p) < d * p
    of_chunk = _by_gram if by_gram else _by_product
    size = examples_at_a_time(inputs.device, positions**2 if by_gram else d * p)
    if n <= size:
        return of_chunk(inputs, output_grads)
    chunks = zip(torch.split(inputs, size), torch.split(output_grads, size), strict=True)
    return torch.cat([of_chunk(a, b) for a, b in chunks])


def _by_gram(inputs: Tensor, output_grads: Tensor) -> Tensor:
    return gram_squared_norms(
        torch.bmm(inputs, inputs.transpose(1, 2)), torch.bmm(output_grads, output_grads.transpose(1, 2))
    )


def _by_product(inputs: Tensor, output_grads: Tensor) -> Tensor:
    return squared_norms(torch.bmm(output_grads.transpose(1, 2), inputs))


# Elements of rows that are formed at a time where they are summed too: what fits a processor's cache.
ROWS_AT_A_TIME = 2**17
# What touching an element of a row costs, in multiply-adds of a matrix product.
TOUCH = 12.0


def prefers_product_rows(device: torch.device, positions: int, d: int, p: int) -> bool:
    """Whether to form the products of `product_rows` beats Gram products with autograd's product beside them.

    On a processor alone: what it costs elsewhere has not been measured.
    """
    return device.type == "cpu" and positions > 1 and TOUCH * d * p < positions * (d + p) * positions


def product_rows(inputs: Tensor, output_grads: Tensor) -> tuple[Tensor, Tensor]:
    """|sum_t output_grads_t inputs_t^T|_F^2 per example, float64 [n], and the sum of all these products, [p, d].

    The products are formed, a few examples at a time: that is as many multiply-adds as autograd's product for the batch
    takes, which need not be made then.

    Args:
        inputs: [n, t, d].
        output_grads: [n, t, p].
    """
    n, _, d = inputs.shape
    p = output_grads.shape[2]
    size = ROWS_AT_A_TIME // (d * p)
    if n <= size:
        rows = torch.bmm(output_grads.transpose(1, 2), inputs)
        return squared_norms(rows), rows.sum(dim=0)
    # One example a thread is faster than all threads on one product, where memory allows.
    size = max(size, min(torch.get_num_threads(), examples_at_a_time(inputs.device, d * p)))
    if p <= d:
        return _products_in_chunks(inputs, output_grads, size)
    norm, total = _products_in_chunks(output_grads, inputs, size)  # the shorter axis first is up to a tenth faster
    return norm, total.t()


def _products_in_chunks(right: Tensor, left: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """|sum_t l_t r_t^T|_F^2 per example and the sum of all, [p, d], for right r [n, t, d] and left l [n, t, p]."""
    d, p = right.shape[2], left.shape[2]
    norms, total = [], left.new_zeros(p, d)
    for a, b in zip(torch.split(right, size), torch.split(left, size), strict=True):
        rows = torch.bmm(b.transpose(1, 2), a)
        # Few operations a chunk: those of `squared_norms` would take a third as long as the products do.
        norms.append(torch.linalg.vector_norm(rows, dim=2) if d >= _WIDE else squared_norms(rows))
        if len(rows) <= _FEW:
            for row in rows.unbind():
                total += row
        else:
            total += rows.sum(dim=0)
    found = torch.cat(norms)
    return (_squared(found).sum(dim=1) if d >= _WIDE else found), total


_FEW = 8  # rows that are faster added one by one than summed first, which writes and reads their sum once more


def rank_one_squared_norms(inputs: Tensor, output_grads: Tensor) -> Tensor:
    """|b_i a_i^T|_F^2 = |a_i|^2 |b_i|^2, float64 [n], for inputs a [n, ..., d] and output_grads b [n, ..., p]."""
    of_inputs, of_grads = squared_norms(inputs), squared_norms(output_grads)
    return rank_one(of_inputs, of_grads, inputs, output_grads)


def rank_one(of_inputs: Tensor, of_grads: Tensor, inputs: Tensor, output_grads: Tensor) -> Tensor:
    """|a_i|^2 |b_i|^2, float64 [n], of squared norms [n] of inputs a [n, ...] and output_grads b [n, ...]."""
    return trusted(
        of_inputs * of_grads,
        may_be_lost(of_grads, inputs.shape[1:].numel(), inputs.dtype),
        may_be_lost(of_inputs, output_grads.shape[1:].numel(), output_grads.dtype),
    )


def gram_squared_norms(input_gram: Tensor, grad_gram: Tensor) -> Tensor:
    """sum_ts (a_t . a_s)(b_t . b_s) per example for Gram matrices [n, t, t], float64 [n]; never below 0 by rounding.

    NaN where products of their dtype may have been lost, as their diagonals tell.
    """
    norms: Tensor = (input_gram * grad_gram).sum(dim=(1, 2), dtype=torch.float64).clamp_min_(0.0)
    n, positions = input_gram.shape[:2]
    # Of a Gram matrix, t times its trace is at least the sum of what its entries are in size.
    traces = [gram.diagonal(dim1=1, dim2=2) for gram in (input_gram, grad_gram)]
    return trusted(
        norms,
        n * least(positions**2, input_gram.dtype),
        positions * may_be_lost(traces[1], GRAM_TERMS, input_gram.dtype),
        positions * may_be_lost(traces[0], GRAM_TERMS, grad_gram.dtype),
    )


# Products that a sum behind one entry of a Gram matrix is taken to have, in telling whether some may have been lost.
GRAM_TERMS = 2**10
