"""Gradient coherence: from sums of per-example gradients to the papers' measures.

For a sample of m examples with per-example gradients g_i at one checkpoint

    S = sum_i g_i        Q = sum_i |g_i|^2

Every measure here is a function of m, |S|^2 and Q alone. Arguments broadcast against each other, results are float64.
A sample whose gradients are all zero has no coherence: 0/0 is NaN, never 0 and never rescued by an epsilon, because
an epsilon breaks scale invariance exactly where the curves end.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


def m_coherence(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike) -> Float64Array:
    """|S|^2 / Q: how many examples of the sample one example's gradient step helps, itself included.

    1 for pairwise orthogonal gradients, m for identical ones, 0 where the sum vanishes, NaN for 0/0.
    Source: arXiv 2008.01217, the definition of m-coherence (the alpha_m / alpha_m^perp of arXiv 2203.10036).

    Args:
        sq_norm_of_sum: |S|^2, any shape [...].
        sum_sq_norm: Q, a shape that broadcasts with it.
    """
    numerator = np.asarray(sq_norm_of_sum, dtype=np.float64)
    denominator = np.asarray(sum_sq_norm, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan), dtype=np.float64)


def alpha(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike, m: ArrayLike) -> Float64Array:
    """m-coherence / m, in [0, 1]: |E g|^2 / E|g|^2 over the sample (arXiv 2203.10036, the metric alpha_m).

    Args:
        sq_norm_of_sum: |S|^2, any shape [...].
        sum_sq_norm: Q.
        m: number of examples in the sample; NaN comes back where it is 0.
    """
    count = np.asarray(m, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, m_coherence(sq_norm_of_sum, sum_sq_norm) / count, np.nan))


def pairwise_alignment(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike, m: ArrayLike) -> Float64Array:
    """(|S|^2 - Q) / ((m - 1) Q): the mean inner product of two different examples over the mean squared norm.

    Its expectation does not depend on m, so that it compares groups of different sizes; 0 for orthogonal gradients,
    1 for identical ones, at least -1/(m-1). NaN for m < 2. Derived from the definition, not a measure of the papers.
    """
    count = np.asarray(m, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (m_coherence(sq_norm_of_sum, sum_sq_norm) - 1.0) / (count - 1.0)
    return np.asarray(np.where(count > 1, value, np.nan), dtype=np.float64)


def cross_alignment(
    inner_product: ArrayLike, sum_sq_norm: ArrayLike, other_sum_sq_norm: ArrayLike, m: ArrayLike, other_m: ArrayLike
) -> Float64Array:
    """(S_a . S_b) / sqrt(m_a Q_a m_b Q_b): what `pairwise_alignment` is within a group, between two disjoint ones.

    That is the mean inner product of an example of one group and one of the other, over the root mean square norms of
    both. NaN where a group has no gradient. Derived from the definition, not a measure of the papers.

    Args:
        inner_product: S_a . S_b of the two groups' gradient sums.
        sum_sq_norm: Q_a.
        other_sum_sq_norm: Q_b.
        m: number of examples of the first group.
        other_m: of the second.
    """
    energy, other_energy = (
        np.asarray(count, dtype=np.float64) * np.asarray(total, dtype=np.float64)
        for count, total in ((m, sum_sq_norm), (other_m, other_sum_sq_norm))
    )
    return cosine(inner_product, energy, other_energy)


def cosine(inner_product: ArrayLike, sq_norm: ArrayLike, other_sq_norm: ArrayLike) -> Float64Array:
    """S_a . S_b / (|S_a| |S_b|): of the mean gradients of two groups, the sign says whether a step helps both.

    To first order a small step along the mean gradient of one group lowers the mean loss of the other by a positive
    multiple of it. NaN where either sum vanishes.
    """
    product = np.sqrt(np.asarray(sq_norm, dtype=np.float64)) * np.sqrt(np.asarray(other_sq_norm, dtype=np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(product > 0, np.asarray(inner_product, dtype=np.float64) / product, np.nan))


def minibatch_alpha(alpha_of_examples: ArrayLike, k: ArrayLike) -> Float64Array:
    """Alpha of the means of k independent draws, k alpha / (1 + (k - 1) alpha) (arXiv 2008.01217, Theorem 3).

    Why gradients of mini-batches must never stand in for gradients of examples: they inflate alpha up to k times.
    """
    a, size = np.asarray(alpha_of_examples, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(size * a / (1.0 + (size - 1.0) * a))


def alpha_from_minibatches(alpha_of_minibatches: ArrayLike, k: ArrayLike) -> Float64Array:
    """alpha_W / (k - (k - 1) alpha_W): the inverse of `minibatch_alpha`; k is the batch size, not their number."""
    a, size = np.asarray(alpha_of_minibatches, dtype=np.float64), np.asarray(k, dtype=np.float64)
    return np.asarray(a / (size - (size - 1.0) * a))


def union_sq_norm_of_sum(gram: ArrayLike) -> Float64Array:
    """|sum_a S_a|^2 of the union of all groups, summed from the Gram matrix S_a . S_b.

    Args:
        gram: inner products of the groups' gradient sums, float64 [..., G, G]; returns [...].
    """
    return np.asarray(np.asarray(gram, dtype=np.float64).sum(axis=(-2, -1)))
