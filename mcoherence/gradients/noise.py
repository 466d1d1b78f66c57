"""How much the gradients of examples vary about their mean: noise scale, GSNR, gradient diversity.

All are functions of n, |S|^2 and Q (`coherence`, where n is called m as in the papers), of a model, a layer, a tensor
or one element of it alike, and of one another: diversity is 1 / m-coherence, GSNR is alpha / (1 - alpha). Arguments
broadcast against each other, results are float64. Unbiased is meant over samples of n examples drawn independently, at
fixed weights.

The variance of a sample, Q - |S|^2 / n, is never below 0, and of equal gradients it is 0. What rounding makes of that
is told as 0: any number below 0, and with `rounding` any that is no more than this share of Q.
"""

import numpy as np
from numpy.typing import ArrayLike

from mcoherence.coherence import Float64Array
from mcoherence.gradients.rounding import above_rounding


def gradient_diversity(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike) -> Float64Array:
    """Q / |S|^2: 1 / n for identical gradients, 1 for orthogonal ones; the reciprocal of m-coherence.

    Of the sample, not an estimate of anything else. n times it is the batch size up to which mini-batch SGD is as good
    per example as one example at a time. NaN for 0/0.
    Source: Yin et al. 2018 (arXiv 1706.05699), gradient diversity Delta_S and the batch-size bound n Delta_S.

    Args:
        sq_norm_of_sum: |S|^2, any shape [...].
        sum_sq_norm: Q, a shape that broadcasts with it.
    """
    numerator, denominator = _numbers(sum_sq_norm, sq_norm_of_sum)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator / denominator, dtype=np.float64)


def gradient_variance(
    sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike, n: ArrayLike, rounding: float = 0.0
) -> Float64Array:
    """(Q - |S|^2 / n) / (n - 1): tr(Sigma), the variance of an example's gradient, summed over its elements.

    Unbiased. NaN for n < 2.
    Source: McCandlish et al. 2018 (arXiv 1812.06162), tr(Sigma) in the simple noise scale; the usual sample variance.

    Args:
        sq_norm_of_sum: |S|^2, any shape [...].
        sum_sq_norm: Q, a shape that broadcasts with it.
        n: number of examples, likewise.
        rounding: the share of Q that is rounding, as above.
    """
    squared, total, count = _numbers(sq_norm_of_sum, sum_sq_norm, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = _summed_variance(squared, total, count, rounding) / (count - 1.0)
    return np.asarray(np.where(count > 1, value, np.nan), dtype=np.float64)


def mean_gradient_sq_norm(sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike, n: ArrayLike) -> Float64Array:
    """(|S|^2 - Q) / (n (n - 1)): |G|^2, the squared norm of the expected gradient; mean of g_i . g_j over i != j.

    Unbiased, and therefore below 0 now and then where |G| is small; |S|^2 / n^2 is too large by tr(Sigma) / n on
    average. NaN for n < 2.
    Source: McCandlish et al. 2018 (arXiv 1812.06162, Appendix A.1), with batches of 1 and of n.

    Args:
        sq_norm_of_sum: |S|^2, any shape [...].
        sum_sq_norm: Q, a shape that broadcasts with it.
        n: number of examples, likewise.
    """
    squared, total, count = _numbers(sq_norm_of_sum, sum_sq_norm, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (squared - total) / (count * (count - 1.0))
    return np.asarray(np.where(count > 1, value, np.nan), dtype=np.float64)


def noise_scale(variance: ArrayLike, mean_sq_norm: ArrayLike) -> Float64Array:
    """tr(Sigma) / |G|^2, the simple noise scale B_simple: about the batch size beyond which larger ones gain little.

    The ratio of two unbiased estimates is not unbiased, and scatters widely; of several measurements take
    `running_noise_scale`. NaN where the estimate of |G|^2 is not above 0.
    Source: McCandlish et al. 2018 (arXiv 1812.06162), B_simple.

    Args:
        variance: of `gradient_variance`, any shape [...].
        mean_sq_norm: of `mean_gradient_sq_norm`, a shape that broadcasts with it.
    """
    numerator, denominator = _numbers(variance, mean_sq_norm)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan), dtype=np.float64)


def running_noise_scale(variances: ArrayLike, mean_sq_norms: ArrayLike, decay: float) -> Float64Array:
    """The ratio of the running means of tr(Sigma) and of |G|^2 up to each of K measurements, float64 [K].

    A ratio of means, not a mean of ratios: the means are unbiased where the weights stay as they are, and the error of
    their ratio falls with the number of measurements that they go over, about 1 / (1 - decay). Both are divided by the
    same sum of weights, so that the first measurements need no correction. NaN where the mean of |G|^2 is not above 0.
    Source: McCandlish et al. 2018 (arXiv 1812.06162, Appendix A.1), exponential moving averages of both.

    Args:
        variances: of `gradient_variance`, [K].
        mean_sq_norms: of `mean_gradient_sq_norm`, [K].
        decay: weight that the mean so far keeps with each measurement, from 0 (none) to below 1.

    Raises:
        ValueError: decay is something else.
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay: found {decay}, expected at least 0 and less than 1")
    return noise_scale(_running_mean(variances, decay), _running_mean(mean_sq_norms, decay))


def gradient_signal_to_noise_ratio(
    sq_norm_of_sum: ArrayLike, sum_sq_norm: ArrayLike, n: ArrayLike, rounding: float = 0.0
) -> Float64Array:
    """GSNR: |S / n|^2 over the variance of the sample, Q / n - |S / n|^2; alpha / (1 - alpha).

    The squared mean over the variance, both of the sample as it is (variance divided by n). As an estimate for all
    examples it is too large, by about 1 / n; 1 / `noise_scale` has unbiased parts. Of one element of a parameter (its
    S_j^2 and Q_j, from `per_example_gradients`) it is the r_j of the paper. Of a tensor, a layer or a model it is the
    ratio of the sums over the elements, not the mean of r_j. Infinite for identical gradients, NaN for no examples.
    Source: Liu et al. 2020 (arXiv 2001.07384), the gradient signal-to-noise ratio r(theta_j).

    Args:
        sq_norm_of_sum: |S|^2, any shape [...].
        sum_sq_norm: Q, a shape that broadcasts with it.
        n: number of examples, likewise.
        rounding: the share of Q that is rounding, as above.
    """
    squared, total, count = _numbers(sq_norm_of_sum, sum_sq_norm, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = _summed_variance(squared, total, count, rounding) / count
        return np.asarray(squared / count**2 / variance, dtype=np.float64)


def _summed_variance(squared: Float64Array, total: Float64Array, count: Float64Array, rounding: float) -> Float64Array:
    """Q - |S|^2 / n, 0 where that is rounding."""
    return np.maximum(above_rounding(total - squared / count, total, rounding), 0.0)


def _running_mean(values: ArrayLike, decay: float) -> Float64Array:
    """sum_k decay^(K - k) x_k / sum_k decay^(K - k) up to each place, [K]."""
    found = np.asarray(values, dtype=np.float64)
    means, total, weight = np.empty_like(found), 0.0, 0.0
    for index, value in enumerate(found):
        total, weight = decay * total + value, decay * weight + 1.0
        means[index] = total / weight
    return means


def _numbers(*values: ArrayLike) -> tuple[Float64Array, ...]:
    return tuple(np.asarray(value, dtype=np.float64) for value in values)
