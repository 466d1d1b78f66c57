"""How far the training accuracy on noisy labels goes beyond what a network that does not memorise would reach.

Labels are uniform or permuted at random: a label that is selected for randomisation is any of the C classes with the
same chance, the true one among them. Source: arXiv 2002.10657, winsorised SGD and its overfit measure.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


def overfit(train_accuracy: ArrayLike, test_accuracy: ArrayLike, noise: ArrayLike, classes: ArrayLike) -> Float64Array:
    """Ta - [eps / C + (1 - eps) va]: training accuracy beyond what the test accuracy accounts for.

    A network that is right on a clean training label as often as on a test label, and on a randomised one by chance,
    has 0.

    Args:
        train_accuracy: ta, with the labels trained on, any shape [...].
        test_accuracy: va, with clean labels, a shape that broadcasts with it.
        noise: eps, the fraction of labels selected for randomisation.
        classes: C, their number.
    """
    ta, va, eps, count = (
        np.asarray(value, dtype=np.float64) for value in (train_accuracy, test_accuracy, noise, classes)
    )
    return np.asarray(ta - (eps / count + (1.0 - eps) * va))


def proper_accuracy(noise: ArrayLike, classes: ArrayLike) -> Float64Array:
    """1 - eps + eps / C: what a network that predicts every true label scores on the noisy ones, in expectation.

    Args:
        noise: eps, the fraction of labels selected for randomisation.
        classes: C, their number.
    """
    eps, count = np.asarray(noise, dtype=np.float64), np.asarray(classes, dtype=np.float64)
    return np.asarray(1.0 - eps + eps / count)
