"""A second backward pass that tells whether row i of a layer's output gradient is that of example i alone.

Index letters: n examples.

The losses are weighted, w_i for example i, no two alike. Where row i takes part in the loss of example i and in no
other, its gradient is w_i times what it was, and its squared length w_i^2 times. A row of another example, of several,
or a hook that changes gradients otherwise than by a factor, gives something else: sum_j w_j g_ij is w_i sum_j g_ij only
if all other g_ij are zero, but for weights made to measure. All rows of all layers are checked so, and nothing is
estimated.
"""

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from mcoherence.device import sent
from mcoherence.gradients.given.reading import read

Place = TypeVar("Place", bound=Hashable)  # that a gradient arrives at: a layer, or a use of a parameter

# Powers of two change no digit of a gradient; where there are more examples than that, halves, quarters ... between.
_EXPONENTS = {torch.float64: 400, torch.float16: 3}  # from -400 to 400
_EXPONENT = 50
# Relative error of a squared length that rounding may make where weights are not powers of two.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}


def weights(n: int, dtype: torch.dtype) -> Tensor:
    """So many different weights, float64 [n], in no order that an operation would make."""
    most = _EXPONENTS.get(dtype, _EXPONENT)
    steps = 1
    while n > steps * (2 * most + 1):
        steps *= 2
    k = torch.randperm(steps * (2 * most + 1), generator=torch.Generator("cpu").manual_seed(n), device="cpu")[:n]
    exponents, parts = torch.div(k, steps, rounding_mode="floor") - most, torch.remainder(k, steps)
    return torch.ldexp(1.0 + parts.to(torch.float64) / steps, exponents)


def lengths(rows: Tensor) -> Tensor:
    """|row_i| of rows [n, ...], float64 [n]."""
    flat = rows.detach().reshape(len(rows), -1)
    real = torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat
    norms: Tensor = torch.linalg.vector_norm(real.to(torch.float64), dim=1)
    return norms


def are_of_one_example_each(plain: Tensor, weighted: Tensor, given: Tensor, dtype: torch.dtype) -> Tensor:
    """Whether rows of these lengths, float64 [n], grew by the weights `given`, [n], and by nothing else; bool [].

    The answer is where the rows are. The weights are on the processor, so that none of this waits for a GPU.
    """
    if len(plain) != len(given) or len(weighted) != len(given):
        return torch.tensor(False)
    if len(given) > 1:
        ordered = given.sort().values
        apart = float((ordered[1:] / ordered[:-1]).min()) - 1.0
    else:
        apart = 1.0
    expected, allowed = plain * sent(given, plain.device), min(_TOLERANCE.get(dtype, 0.1), apart / 4)
    return ((weighted - expected).abs() <= allowed * expected).all()


class Probe:
    """What a probe of a batch of n examples asks autograd for, and with which weights.

    edges: what to ask for.
    weights: of the losses, float64 [n].
    """

    def __init__(self, edges: list[Any], dtypes: list[torch.dtype], examples: int) -> None:
        self.edges = edges
        narrow = [dtype for dtype in dtypes if dtype in (torch.float16, torch.bfloat16, torch.float32)]
        self._dtype = min(narrow, key=lambda dtype: torch.finfo(dtype).max, default=torch.float64)
        self.weights = weights(examples, self._dtype)

    def failed(self, seen: Mapping[Place, list[Tensor]]) -> set[Place]:
        """Places whose lengths of rows, of the plain losses and of the weighted ones, are not those of the examples."""
        known = read(
            {
                place: are_of_one_example_each(of_rows[0], of_rows[1], self.weights, self._dtype)
                for place, of_rows in seen.items()
                if self.edges and len(of_rows) == 2
            }
        )
        return {place for place in seen if not known.get(place)}
