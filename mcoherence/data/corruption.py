"""Label corruption with an exact count, seeded, with two masks: selected and changed.

The two are kept apart because a redrawn label can equal the old one: about 1/C of the selected labels stay the same,
and what "corrupt" means in the papers' figures is "changed" (arXiv 2003.07422, released code).
"""

import numpy as np
from numpy.typing import NDArray

from mcoherence.errors import UserError

SCHEMES = ("uniform", "permute")


def corrupt_labels(
    labels: NDArray[np.integer], num_classes: int, fraction: float, seed: int, scheme: str = "uniform"
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Corrupted labels int64 [N], and the masks selected and changed, bool [N].

    round(fraction * N) labels are selected without replacement (half to even), so that the count is exact.

    Args:
        labels: true labels, integers in [0, num_classes), shape [N].
        num_classes: number of classes C.
        fraction: share of the labels to select, in [0, 1].
        seed: the same seed gives the same selection and the same new labels.
        scheme: "uniform" redraws each selected label uniformly over all C classes (arXiv 2003.07422);
            "permute" permutes the selected labels among themselves, so that class counts stay (arXiv 2002.10657).

    Raises:
        UserError: the fraction or the scheme is not one of the above, or a label is out of range.
    """
    original = np.asarray(labels, dtype=np.int64)
    if not 0.0 <= fraction <= 1.0:
        raise UserError(f"label corruption: found fraction {fraction}, expected a number in [0, 1]")
    if scheme not in SCHEMES:
        raise UserError(f"label corruption: found scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
    if original.size and not (original.min() >= 0 and original.max() < num_classes):
        raise UserError(f"label corruption: found a label outside 0..{num_classes - 1}; check num_classes")

    generator = np.random.Generator(np.random.PCG64(seed))
    count = round(fraction * original.size)
    chosen = generator.choice(original.size, size=count, replace=False)
    corrupted = original.copy()
    if scheme == "uniform":
        corrupted[chosen] = generator.integers(0, num_classes, size=count)
    else:
        corrupted[chosen] = original[generator.permutation(chosen)]
    selected = np.zeros(original.size, dtype=np.bool_)
    selected[chosen] = True
    return corrupted, selected, corrupted != original
