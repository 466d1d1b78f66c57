"""The Gram matrix of the gradients of a sample's examples, and what is known from it: `example_gram`.

Index letters: n examples, A classes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mcoherence.coherence import Float64Array
from mcoherence.gradients import pairs
from mcoherence.gradients.batch.evidence import IdentityError, tolerance
from mcoherence.gradients.batch.group_sums import real_rows
from mcoherence.gradients.given.alone import loss_and_gradients
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.pieces import Piece
from mcoherence.gradients.given.trees import length, rows
from mcoherence.gradients.statistics import GradientStatistics, statistics_of
from mcoherence.gradients.sweep.sample_pass import (
    WHOLE_SAMPLE,
    Measuring,
    Totals,
    measured_batches,
    measuring,
    require_known_order,
)
from mcoherence.gradients.sweep.tally import Tally

# Elements of per-example gradients alive at a time, at most, beside those of two examples.
ELEMENTS = 2**26

Agreement = Literal["sign", "cosine"]
_AGREEMENTS: dict[str, Callable[[ArrayLike], Float64Array]] = {
    "sign": pairs.sign_agreement,
    "cosine": pairs.gradient_cosines,
}


@dataclass(frozen=True, eq=False)
class ExampleGram:
    """Inner products of the gradients of n examples at one set of weights, in the order of the batches.

    products: g_i . g_j, float64 [n, n]. NumPy takes the whole for this array.

    Methods that take `of` are of the signs of the products or of the cosines of the gradients. All of them are
    functions of an array too, in `mcoherence.gradients.pairs`.

    Example:
        >>> gram = ExampleGram(np.array([[1.0, 1.0, -2.0], [1.0, 1.0, -2.0], [-2.0, -2.0, 4.0]]))
        >>> gram.stiffness("cosine"), gram.gradient_confusion()  # 1, 1 and -2 along a line
        (-0.3333333333333333, 2.0)
    """

    products: NDArray[np.float64]

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.products)

    @property
    def sq_norm(self) -> NDArray[np.float64]:
        """|g_i|^2, float64 [n]."""
        return np.diag(self.products)

    @property
    def cosines(self) -> Float64Array:
        """cos(g_i, g_j), float64 [n, n]; NaN where a gradient is zero."""
        return pairs.gradient_cosines(self.products)

    def stiffness(self, of: Agreement) -> float:
        """The mean over pairs of different examples, S_sign or S_cos of Fort et al. 2019 (arXiv 1901.09491)."""
        return pairs.stiffness(_agreement(of)(self.products))

    def stiffness_by_class(self, labels: ArrayLike, of: Agreement) -> Float64Array:
        """C(a, b), float64 [A, A]: the same over pairs of classes a and b; labels are integers [n] from 0."""
        return pairs.stiffness_by_class(_agreement(of)(self.products), labels)

    def within_and_between_classes(self, labels: ArrayLike, of: Agreement) -> tuple[float, float]:
        """Stiffness within classes and between them: the means of C(a, a), and of C(a, b) over a != b."""
        return pairs.within_and_between_classes(self.stiffness_by_class(labels, of))

    def gradient_confusion(self) -> float:
        """The smallest eta >= 0 with g_i . g_j >= -eta for all i != j (Sankararaman et al. 2020, arXiv 1904.06963)."""
        return pairs.gradient_confusion(self.products)

    def minimum_cosine(self) -> float:
        """The smallest cosine of two examples' gradients; NaN without a pair."""
        return pairs.minimum_cosine(self.products)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.products, dtype=dtype) if copy else np.asarray(self.products, dtype=dtype)

    def __repr__(self) -> str:
        return f"inner products of the gradients of {self.n} examples: {self.products!r}"


def example_gram(
    model: nn.Module, loss_fn: LossFunction, batches: Iterable[tuple[Any, ...]], *, tf32: bool = False
) -> ExampleGram:
    """g_i . g_j of all pairs of a sample of some hundreds of examples; the model is left as found.

    Gradients are taken one example after the other and multiplied block by block: time grows with n^2 where n times the
    number of parameters is more than 67 million, memory does not grow with n times parameters.

    Args:
        model: any torch model whose output for an example depends on that example alone.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n].
        batches: (inputs [n, ...], targets [n, ...]).
        tf32: whether float32 products may be TF32's on a GPU that has it.

    Raises:
        UnsupportedModelError: the model cannot be measured, or it or the loss mixes examples; the message says which.
        IdentityError: the products do not add up to what the batches have; a bug to report.
        ValueError: batches or losses are not as above.

    Example:
        With the output as its loss, a linear unit's gradient is the input: here (1, 0) and (1, 2).

        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.zeros(2))
        >>> example_gram(model, lambda outputs, _: outputs[:, 0], [batch]).products.tolist()
        [[1.0, 1.0], [1.0, 5.0]]
    """
    require_known_order(batches)
    with measuring(model, loss_fn, tf32=tf32) as now:
        examples, sample = _examples_and_sums(now, batches)
        elements = sum(p.numel() for p in now.passes.parameters.values())
        size = max(1, ELEMENTS // (2 * max(1, elements)))
        starts = range(0, len(examples), size)
        gram = np.zeros((len(examples), len(examples)))
        for first in starts:
            one = _gradients(now, examples[first : first + size])
            for second in range(first, len(examples), size):
                other = one if second == first else _gradients(now, examples[second : second + size])
                block = sum((a.double() @ b.double().T for a, b in zip(one, other, strict=True)), start=torch.zeros(()))
                gram[first : first + size, second : second + size] = block.cpu().numpy()
                gram[second : second + size, first : first + size] = block.T.cpu().numpy()
        now.require_unchanged()
        _require_sums_of(gram, sample, now)
    return ExampleGram(gram)


def _examples_and_sums(now: Measuring, batches: Iterable[tuple[Any, ...]]) -> tuple[list[Piece], GradientStatistics]:
    """The examples in their order, and the statistics of their batches, with all checks of networks and losses."""
    examples: list[Piece] = []
    totals, tally = Totals(1, now.passes.parameters), Tally(now.passes, 1, 2)
    for piece, measured in measured_batches(now.passes, tally, batches, None):
        totals.add(piece.group, measured)
        piece = piece.copied()  # a loader may write the next examples to the same tensors
        for i in range(length(piece.inputs)):
            one = slice(i, i + 1)
            examples.append(Piece(0, rows(piece.inputs, one), rows(piece.targets, one), piece.positions[one]))
    in_order = sorted(examples, key=lambda one: int(one.positions))  # batches that wait come after others
    return in_order, statistics_of((WHOLE_SAMPLE,), now, totals, tally)


def _require_sums_of(gram: NDArray[np.float64], sample: GradientStatistics, now: Measuring) -> None:
    """Raise IdentityError unless a Gram matrix adds up to Q on its diagonal and to |S|^2 in the whole."""
    allowed = max(tolerance(p.dtype) for p in now.passes.parameters.values()) * float(np.trace(gram))
    for what, found, expected in (
        ("squared norms", float(np.trace(gram)), sample.sum_sq_norm()),
        ("products", float(gram.sum()), sample.sq_norm_of_sum()),
    ):
        # The sum of n^2 products is known no better than n times the sum of the norms.
        if abs(found - expected) > allowed * (1 if what == "squared norms" else len(gram)):
            raise IdentityError(
                f"the {what} of single examples add up to {found:.6g}, those of their batches to {expected:.6g}; "
                "please report the network and the loss"
            )


def _gradients(now: Measuring, examples: list[Piece]) -> list[Tensor]:
    """Per-example gradients as real numbers, [n, elements] of every parameter."""
    passes = now.passes
    found: dict[str, list[Tensor]] = {name: [] for name in passes.parameters}
    for one in examples:
        inputs = passes.at_device(one.inputs)
        _, gradients = loss_and_gradients(passes.model, passes.loss_fn, passes.parameters, inputs, one.targets)
        for name, gradient in gradients.items():
            found[name].append(gradient)
    return [real_rows(torch.stack(parts)) for parts in found.values()]


def _agreement(of: str) -> Callable[[ArrayLike], Float64Array]:
    """The function that makes an agreement of pairs of their inner products."""
    if of not in _AGREEMENTS:
        raise ValueError(f"of: found {of!r}, expected 'sign' or 'cosine'")
    return _AGREEMENTS[of]
