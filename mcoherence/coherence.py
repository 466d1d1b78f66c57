"""Gradient coherence: from sums of per-example gradients to the papers' measures.

For a sample of m examples with per-example gradients g_i at one checkpoint

    S = sum_i g_i        Q = sum_i |g_i|^2

Every measure of one group is a function of m, |S|^2 and Q alone; that of two groups a and b takes S_a . S_b too.
Arguments broadcast against each other, results are float64.
A sample whose gradients are all zero has no coherence: 0/0 is NaN, never 0 and never rescued by an epsilon, because
an epsilon breaks scale invariance exactly where the curves end.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


def m_coherence(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike) -> Float64Array:
    """|S|^2 / Q: what a step along one example's gradient does for all losses, in units of what it does for its own.

    It is the sum of g_i . S over the sum of |g_i|^2, so long gradients count for more. 1 for pairwise orthogonal
    gradients, m for identical ones, below 1 where they oppose each other, 0 where the sum vanishes, NaN for 0/0.
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
    """|sum_a S_a|^2 of the union of all groups, summed from the Gram matrix S_a . S_b; not below 0, as by rounding.

    Args:
        gram: inner products of the groups' gradient sums, float64 [..., G, G]; returns [...].
    """
    return np.asarray(np.maximum(np.asarray(gram, dtype=np.float64).sum(axis=(-2, -1)), 0.0))


def cosine_of_sums(inner: ArrayLike, sq_norm_of_a: ArrayLike, sq_norm_of_b: ArrayLike) -> Float64Array:
    """S_a . S_b / (|S_a| |S_b|): the cosine between the gradient sums of two groups, in [-1, 1].

    How much of one group's own direction serves the other, whatever their sizes; NaN where either sum is zero.

    Args:
        inner: S_a . S_b, any shape [...].
        sq_norm_of_a: |S_a|^2, a shape that broadcasts with it.
        sq_norm_of_b: |S_b|^2, likewise.
    """
    return _over_geometric_mean(inner, sq_norm_of_a, sq_norm_of_b)


def cross_m_coherence(inner: ArrayLike, sum_sq_norm_a: ArrayLike, sum_sq_norm_b: ArrayLike) -> Float64Array:
    """C_ab = S_a . S_b / sqrt(Q_a Q_b), the m-coherence of one group where both are the same.

    At most sqrt(n_a n_b) in absolute value, 0 for groups whose sums are orthogonal, negative where a step that helps
    one harms the other, NaN where either Q is zero. It is what the m-coherence of the union is short of without it:
    M = (Q_a M_a + Q_b M_b + 2 sqrt(Q_a Q_b) C_ab) / (Q_a + Q_b). Derived from the definition, not of the papers.

    Args:
        inner: S_a . S_b, any shape [...].
        sum_sq_norm_a: Q_a, a shape that broadcasts with it.
        sum_sq_norm_b: Q_b, likewise.
    """
    return _over_geometric_mean(inner, sum_sq_norm_a, sum_sq_norm_b)


def cross_alignment(
    inner: ArrayLike, sum_sq_norm_a: ArrayLike, sum_sq_norm_b: ArrayLike, n_a: ArrayLike, n_b: ArrayLike
) -> Float64Array:
    """C_ab / sqrt(n_a n_b): the mean inner product of an example of a and one of b over their root mean square norms.

    The counterpart of `pairwise_alignment` between groups, in [-1, 1]; its expectation does not depend on their sizes.

    Args:
        inner: S_a . S_b, any shape [...].
        sum_sq_norm_a: Q_a, a shape that broadcasts with it.
        sum_sq_norm_b: Q_b, likewise.
        n_a: number of examples of a; NaN comes back where it is 0.
        n_b: number of examples of b, likewise.
    """
    pairs = np.asarray(n_a, dtype=np.float64) * np.asarray(n_b, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = cross_m_coherence(inner, sum_sq_norm_a, sum_sq_norm_b) / np.sqrt(pairs)
    return np.asarray(np.where(pairs > 0, value, np.nan), dtype=np.float64)


def contribution(inner: ArrayLike, sq_norm_of_sum: ArrayLike) -> Float64Array:
    """f^a = S_a . S / S . S: the share of group a in the first-order loss decrease of a step along S.

    Groups that make up the sample add up to 1; a share is negative where the step harms the group. NaN for S = 0.
    Source: arXiv 2002.10657, the contributions f^p and f^c, there with the mini-batch's gradient for S.

    Args:
        inner: S_a . S, any shape [...].
        sq_norm_of_sum: |S|^2, a shape that broadcasts with it.
    """
    numerator, denominator = (np.asarray(value, dtype=np.float64) for value in (inner, sq_norm_of_sum))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan), dtype=np.float64)


def _over_geometric_mean(inner: ArrayLike, a: ArrayLike, b: ArrayLike) -> Float64Array:
    """Inner / sqrt(a b), NaN where either is not positive; the roots are taken apart, so that no product overflows."""
    numerator, first, second = (np.asarray(value, dtype=np.float64) for value in (inner, a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = numerator / np.sqrt(first) / np.sqrt(second)
    return np.asarray(np.where((first > 0) & (second > 0), value, np.nan), dtype=np.float64)
