"""Label corruption with an exact count, seeded, with two masks: selected and changed.

The two are kept apart because a redrawn label can equal the old one: about 1/C of the selected labels stay the same,
and what "corrupt" means in the papers' figures is "changed" (arXiv 2003.07422, released code).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.arguments import class_labels, share, whole_number
from mcoherence.data.random_streams import LABEL_CORRUPTION, random_stream
from mcoherence.errors import UserError, meant

SCHEMES = ("uniform", "permute", "symmetric", "pair", "class_conditional")

# Row c: the distribution of the new label of a selected example of class c; or the new class of each class named.
Transition = Sequence[Sequence[float]] | NDArray[np.floating] | Mapping[int, int]

# Whole numbers [N]: an array, a tensor of torch or a list.
Labels = NDArray[np.integer] | Sequence[int] | Any


def corrupt_labels(
    labels: Labels,
    num_classes: int,
    fraction: float,
    seed: int,
    scheme: str = "uniform",
    transition: Transition | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Corrupted labels int64 [N], and the masks selected and changed, bool [N].

    round(fraction * N) labels are selected without replacement (half to even), so that the count is exact.

    Example:
        >>> zeros = np.zeros(4, dtype=np.int64)
        >>> labels, selected, changed = corrupt_labels(zeros, num_classes=2, fraction=0.5, seed=0, scheme="symmetric")
        >>> int(selected.sum()), int(changed.sum()), sorted(labels.tolist())
        (2, 2, [0, 0, 1, 1])

    Args:
        labels: true labels, integers in [0, num_classes), shape [N]: an array, a tensor or a list. What could be meant
            in two ways is refused: a column [N, 1], one-hot labels, floating-point numbers, truth values.
        num_classes: number of classes C.
        fraction: share of the labels to select, in [0, 1].
        seed: not negative. The same seed gives the same selection, whatever the scheme, and the same new labels.
        scheme: what becomes of the selected labels:
            "uniform" redraws each uniformly over all C classes (arXiv 2003.07422);
            "permute" permutes them among themselves, so that class counts stay (arXiv 2002.10657);
            "symmetric" redraws each uniformly over the C - 1 other classes (van Rooyen et al., arXiv 1505.07634);
            "pair" moves each to the next class, the last to the first (Han et al., arXiv 1804.06872);
            "class_conditional" draws each from the row of its class in `transition` (Patrini et al., arXiv 1609.03683).
        transition: for "class_conditional" alone: a matrix [C, C] whose rows are distributions, or a mapping from class
            to new class ("asymmetric" noise), in which a class that is not named keeps its labels.

    Raises:
        UserError: an argument is not one of the above, or a label is out of range.
    """
    num_classes = whole_number("label corruption: num_classes", num_classes, least=1)
    original = class_labels("label corruption", labels, num_classes)
    fraction = share("label corruption", fraction)
    if scheme not in SCHEMES:
        near = meant(scheme, SCHEMES)
        raise UserError(f"label corruption: found scheme {scheme!r}{near}, expected one of {', '.join(SCHEMES)}")
    if scheme in ("symmetric", "pair") and num_classes < 2:
        raise UserError(f"label corruption: found {num_classes} class, expected at least 2 for scheme {scheme}")
    if (transition is not None) != (scheme == "class_conditional"):
        found = "no transition" if transition is None else "a transition"
        raise UserError(
            f"label corruption: found {found} with scheme {scheme}, expected one with class_conditional only"
        )

    generator = random_stream(seed, LABEL_CORRUPTION)
    chosen = generator.choice(original.size, size=round(fraction * original.size), replace=False)
    before = original[chosen]
    corrupted = original.copy()
    if scheme == "uniform":
        corrupted[chosen] = generator.integers(0, num_classes, size=chosen.size)
    elif scheme == "permute":
        corrupted[chosen] = generator.permutation(before)
    elif scheme == "symmetric":
        corrupted[chosen] = (before + generator.integers(1, num_classes, size=chosen.size)) % num_classes
    elif scheme == "pair":
        corrupted[chosen] = (before + 1) % num_classes
    elif transition is not None:
        corrupted[chosen] = _drawn(before, _transition_matrix(transition, num_classes), generator)
    selected = np.zeros(original.size, dtype=np.bool_)
    selected[chosen] = True
    return corrupted, selected, corrupted != original


def _transition_matrix(transition: Transition, num_classes: int) -> NDArray[np.float64]:
    """The transition as a matrix [C, C] whose rows add up to 1."""
    if isinstance(transition, Mapping):
        classes = [*transition, *transition.values()]
        outside = [found for found in classes if isinstance(found, bool) or found not in range(num_classes)]
        if outside:
            raise UserError(f"label corruption: transition: found class {outside[0]!r}, expected 0..{num_classes - 1}")
        matrix = np.eye(num_classes)
        for source, target in transition.items():
            matrix[source] = np.eye(num_classes)[target]
        return matrix
    try:
        matrix = np.asarray(transition, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"label corruption: transition: found rows that are no {num_classes} numbers each, expected {num_classes} "
            f"rows of {num_classes}, a row and a column per class"
        ) from error
    if matrix.shape != (num_classes, num_classes):
        found = f"{len(matrix)} rows of {matrix.shape[1]} numbers" if matrix.ndim == 2 else "no matrix"
        raise UserError(
            f"label corruption: transition: found {found}, "
            f"expected {num_classes} rows of {num_classes}, a row and a column per class"
        )
    sums = matrix.sum(axis=1)
    if not (np.all(matrix >= 0) and np.allclose(sums, 1.0, rtol=0.0, atol=1e-6)):
        worst = int(np.argmax(np.where((matrix >= 0).all(axis=1), np.abs(sums - 1.0), np.inf)))
        raise UserError(
            f"label corruption: transition: row {worst} is {matrix[worst].tolist()}, "
            "expected probabilities that add up to 1"
        )
    distributions: NDArray[np.float64] = matrix / sums[:, None]
    return distributions


def _drawn(before: NDArray[np.int64], matrix: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """A new class for each of `before` [n], from its row of `matrix` [C, C]; by inversion, one class at a time."""
    uniform = generator.random(before.size)
    after = np.empty_like(before)
    for label in np.unique(before):
        cumulative = np.cumsum(matrix[label])
        mine = before == label
        # Divided by its end, which rounding can leave short of 1; a class of probability 0 is never drawn.
        after[mine] = np.searchsorted(cumulative / cumulative[-1], uniform[mine], side="right")
    return after
