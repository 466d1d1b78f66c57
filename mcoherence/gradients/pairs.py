"""Do the gradients of two examples agree? Stiffness, gradient confusion, and the share of examples that a step helps.

What is about pairs takes the Gram matrix g_i . g_j of a sample, [n, n], so that it is for some hundreds of examples;
m-coherence takes their sums only, and so any number. `example_gram` measures the matrix, and what it returns has all of
this as methods. Unbiased is meant over samples of n examples
drawn independently, at fixed weights.

Index letters: n examples, A classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcoherence.coherence import Float64Array


def share_helped(products: ArrayLike) -> float:
    """The share of examples whose loss a step along -V lowers, to first order: those with g_i . V > 0.

    With their own gradient in V an example helps itself; `example_statistics(..., along="sum", leave_one_out=True)`
    takes it out, and the share is then an unbiased one for a step on the n - 1 others. NaN of no examples, or of a NaN.

    Args:
        products: g_i . V, [n]; a value of `ExampleStatistics.dot`.
    """
    found = np.asarray(products, dtype=np.float64)
    return float((found > 0).mean()) if len(found) and not np.isnan(found).any() else float("nan")


def sign_agreement(gram: ArrayLike) -> Float64Array:
    """sign(g_i . g_j), float64 [n, n]: whether a step for example i helps example j, to first order.

    Source: Fort et al. 2019 (arXiv 1901.09491), the terms of S_sign.

    Args:
        gram: g_i . g_j, [n, n].
    """
    return np.sign(_gram(gram))


def gradient_cosines(gram: ArrayLike) -> Float64Array:
    """cos(g_i, g_j), float64 [n, n]; NaN where a gradient is zero.

    Source: Fort et al. 2019 (arXiv 1901.09491), the terms of S_cos.

    Args:
        gram: g_i . g_j, [n, n].
    """
    products = _gram(gram)
    norms = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(products / norms[:, None] / norms[None, :], -1.0, 1.0)  # beyond them is rounding


def stiffness(agreement: ArrayLike) -> float:
    """The mean over pairs of different examples: S_sign of `sign_agreement`, S_cos of `gradient_cosines`.

    Unbiased for the expectation over two examples. Pairs without a value (of a zero gradient) are left out; NaN where
    none is left.
    Source: Fort et al. 2019 (arXiv 1901.09491), stiffness, there over pairs of inputs X_1 != X_2.

    Args:
        agreement: of pairs, [n, n]; the diagonal is not looked at.
    """
    found = _gram(agreement)
    return _mean(found[~np.eye(len(found), dtype=bool)])


def stiffness_by_class(agreement: ArrayLike, labels: ArrayLike) -> Float64Array:
    """C(a, b), float64 [A, A]: the mean over pairs of different examples of classes a and b, 0 to A - 1.

    Unbiased for the expectation over an example of each. NaN where there is no pair.
    Source: Fort et al. 2019 (arXiv 1901.09491), the class stiffness matrix.

    Args:
        agreement: of pairs, [n, n], from `sign_agreement` or `gradient_cosines`.
        labels: integers [n] from 0.

    Raises:
        ValueError: labels are something else.
    """
    found, classes = _gram(agreement), np.asarray(labels)
    if classes.shape != (len(found),) or (len(found) and classes.dtype.kind not in "iu"):
        raise ValueError(
            f"labels: found {classes.dtype} of shape {classes.shape}, expected an integer for each of "
            f"{len(found)} examples"
        )
    if len(found) and classes.min() < 0:
        raise ValueError(
            f"labels: found {classes.min()}, expected integers from 0; leave examples without a class out of the sample"
        )
    count = int(classes.max(initial=-1)) + 1
    different = ~np.eye(len(found), dtype=bool)
    matrix = np.full((count, count), np.nan)
    for a in range(count):
        for b in range(count):
            matrix[a, b] = _mean(found[np.outer(classes == a, classes == b) & different])
    return matrix


def within_and_between_classes(by_class: ArrayLike) -> tuple[float, float]:
    """(mean of C(a, a), mean of C(a, b) over a != b): stiffness within classes, and between them.

    Every class, and every pair of classes, counts alike, however many examples it has.
    Source: Fort et al. 2019 (arXiv 1901.09491), the mean off the diagonal for between classes.

    Args:
        by_class: of `stiffness_by_class`, [A, A].
    """
    found = _gram(by_class)
    return _mean(np.diag(found)), _mean(found[~np.eye(len(found), dtype=bool)])


def gradient_confusion(gram: ArrayLike) -> float:
    """The smallest eta >= 0 with g_i . g_j >= -eta for all i != j; NaN for fewer than two examples, or of a NaN.

    Exact for the sample. As an estimate for all examples it is too small, the more so the fewer pairs are looked at,
    so compare samples of one size only.
    Source: Sankararaman et al. 2020 (arXiv 1904.06963), the gradient confusion bound, there of mini-batches.

    Args:
        gram: g_i . g_j, [n, n].
    """
    found = _gram(gram)
    different = found[~np.eye(len(found), dtype=bool)]
    return float(np.maximum(0.0, -different.min())) if different.size else float("nan")


def minimum_cosine(gram: ArrayLike) -> float:
    """The smallest cosine of two examples' gradients: what the paper on gradient confusion plots; NaN without a pair.

    Too large as an estimate for all examples, for the reason that `gradient_confusion` is too small.
    Source: Sankararaman et al. 2020 (arXiv 1904.06963), there of 100 pairs of mini-batches.

    Args:
        gram: g_i . g_j, [n, n].
    """
    found = gradient_cosines(gram)
    different = found[~np.eye(len(found), dtype=bool)]
    return float(np.nanmin(different)) if np.isfinite(different).any() else float("nan")


def _gram(values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise ValueError(f"found an array of shape {found.shape}, expected one [n, n], of every pair")
    return found


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
