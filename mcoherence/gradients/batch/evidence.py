"""Identities that exact statistics obey and wrong ones break, checked while measuring and kept with the result.

Index letters: n examples, G groups, P parameters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.given.layer_names import by_layer, layers_of
from mcoherence.gradients.given.reading import read
from mcoherence.gradients.layer_rules.products import Rows


class IdentityError(ArithmeticError):
    """Statistics that break an identity which exact ones obey; the message names it and the layer."""


@dataclass(frozen=True)
class Evidence:
    """What was checked in one or more calls of `gradient_statistics`.

    examples_asked, examples_measured: examples handed in, and examples in n.
    parameters_trainable, parameters_covered: numbers of elements that require a gradient, and that Q and S account for.
    bound_ratio: the largest |S|^2 / (n Q) of a layer and group; at most 1 up to rounding (Cauchy-Schwarz).
    spot_examples: examples that were measured once more by the loop over single examples.
    spot_relative_error: the largest relative error of |g_i|^2 of a parameter there; NaN without such examples.
    spot_at_kink: whether one of these was at a kink of an activation, where rounding decides between two gradients;
        float64 showed that it was that (spot_check.py).
    by_whole_model: names of the parameters that were measured through the whole model for want of a rule that sees
        all of their uses.
    """

    examples_asked: int = 0
    examples_measured: int = 0
    parameters_trainable: int = 0
    parameters_covered: int = 0
    bound_ratio: float = 0.0
    spot_examples: int = 0
    spot_relative_error: float = math.nan
    by_whole_model: tuple[str, ...] = ()
    spot_at_kink: bool = False

    def merge(self, other: "Evidence") -> "Evidence":
        """The evidence of both together: the worse of the two wherever they do not add up."""
        return Evidence(
            self.examples_asked + other.examples_asked,
            self.examples_measured + other.examples_measured,
            max(self.parameters_trainable, other.parameters_trainable),
            min(self.parameters_covered, other.parameters_covered),
            max(self.bound_ratio, other.bound_ratio),
            self.spot_examples + other.spot_examples,
            float(np.fmax(self.spot_relative_error, other.spot_relative_error)),
            tuple(dict.fromkeys(self.by_whole_model + other.by_whole_model)),
            self.spot_at_kink or other.spot_at_kink,
        )

    def as_json(self) -> dict[str, Any]:
        """The fields by name, None where there is no number."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Evidence":
        """The evidence of which `fields` is `as_json`."""
        error = fields["spot_relative_error"]
        others = {"spot_relative_error": math.nan if error is None else error}
        return cls(**{**fields, **others, "by_whole_model": tuple(fields["by_whole_model"])})

    def require(self) -> "Evidence":
        """This evidence, if counts agree.

        Raises:
            IdentityError: examples or parameters are missing.
        """
        if self.examples_asked != self.examples_measured:
            raise IdentityError(f"measured {self.examples_measured} examples, expected {self.examples_asked}")
        if self.parameters_trainable != self.parameters_covered:
            raise IdentityError(
                f"covered {self.parameters_covered} elements of parameters, expected all {self.parameters_trainable}"
            )
        return self


def merged(evidence: Sequence[Evidence]) -> Evidence:
    """The evidence of several calls together; of none, one that says so."""
    return reduce(Evidence.merge, evidence) if evidence else Evidence()


def tolerance(dtype: torch.dtype) -> float:
    """Relative error of squared norms up to which two exact ways may differ by rounding.

    Wide for float32, where TF32 products (1e-3) and activations at a kink count too; an unsound rule errs by far more.
    """
    return {torch.float64: 1e-6, torch.float32: 2e-2}.get(dtype.to_real(), 0.3)


@dataclass(frozen=True)
class SumsOfRows:
    """What per-example gradients add up to.

    totals: {parameter name: sum_i |g_i|^2}.
    astray: names of the parameters whose gradients do not add up to that of the batch.
    """

    totals: dict[str, float]
    astray: list[str]


def sums_of_rows(rows: Mapping[str, Rows], batch_gradients: Mapping[str, Tensor], whole: float) -> SumsOfRows:
    """What the rows of some parameters add up to; the device is asked once.

    Args:
        rows: by parameter name.
        batch_gradients: of the summed loss, by name, those of other parameters maybe among them.
        whole: sum of |g_i|^2 of all others, beside which a gradient that vanishes by cancellation is rounding.
    """
    totals = {("total", name): value.squared_norms.sum() for name, value in rows.items()}
    distances = {("distance", name): distance_from_sum(batch_gradients[name], value) for name, value in rows.items()}
    found = read(totals | distances)
    whole += sum(found[key] for key in totals)
    return SumsOfRows(
        {name: found["total", name] for name in rows},
        [
            name
            for name, value in rows.items()
            if not is_sum_of_rows(
                found["distance", name],
                found["total", name],
                whole,
                len(value.squared_norms),
                batch_gradients[name],
            )
        ],
    )


def distance_from_sum(batch_gradient: Tensor, rows: Rows) -> Tensor:
    """|sum_i g_i - gradient of the batch's summed loss| of one parameter, float64 []; for `is_sum_of_rows`."""
    distance: Tensor = torch.linalg.vector_norm(_wide(rows.total - batch_gradient.to(rows.total.dtype)))
    return distance


def is_sum_of_rows(distance: float, total: float, whole: float, n: int, batch_gradient: Tensor) -> bool:
    """Whether per-example gradients add up to the gradient of the batch's summed loss, up to rounding.

    Args:
        distance: of their sum from it, see `distance_from_sum`.
        total: sum of |g_i|^2 of the same parameter.
        whole: sum of |g_i|^2 of the whole model, as far as known; a gradient that vanishes by cancellation, such as
            that of a constant added to every logit, is rounding of that.
        n: number of examples.
        batch_gradient: of the parameter; its values are not looked at.
    """
    rounding = 100 * torch.finfo(batch_gradient.dtype).eps
    allowed = tolerance(batch_gradient.dtype) ** 2 * total + rounding**2 * whole
    return bool(distance**2 <= n * allowed + batch_gradient.numel() * (n * _least(batch_gradient.dtype)) ** 2)


# Of the length of all gradients: what is longer is held against the bound, in half precision too.
MOST_ROUNDING = 1e-3


def bound_ratio(
    sq_norms_of_sums: NDArray[np.float64],
    sum_sq_norms: NDArray[np.float64],
    counts: NDArray[np.int64],
    parameters: Sequence[str],
    dtype: torch.dtype,
) -> float:
    """The largest |S|^2 / (n Q) over groups and layers, and over whatever axes come before them; 0 of nothing.

    A layer whose gradients vanish by cancellation, such as a constant added to every logit, has rounding of the others'
    as its own, of which the ratio may be anything. It counts as 0.

    Args:
        sq_norms_of_sums: |S|^2 by parameter, float64 [..., G, P].
        sum_sq_norms: Q by parameter, float64 [..., G, P].
        counts: n, int64 [..., G].
        parameters: names [P].
        dtype: the widest of the model's parameters, for the rounding to expect.

    Raises:
        IdentityError: the ratio is above 1, or not a number.
    """
    squared, bounds = by_layer(sq_norms_of_sums, parameters), counts[..., None] * by_layer(sum_sq_norms, parameters)
    floor = float(torch.finfo(dtype).tiny)
    finite = np.isfinite(squared) & np.isfinite(bounds)
    whole = np.where(finite, bounds, 0.0).sum(axis=-1, keepdims=True)
    rounding = min(100 * torch.finfo(dtype).eps, MOST_ROUNDING) ** 2 * whole
    ratios = np.divide(squared, bounds, out=np.zeros_like(bounds), where=~(bounds <= np.maximum(floor, rounding)))
    broken = ~finite | ((bounds > floor) & (squared > (1.0 + tolerance(dtype)) * bounds + rounding))
    if broken.any():
        worst = layers_of(parameters)[int(np.argwhere(broken)[0][-1])]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (squared / bounds)[broken][0]
        raise IdentityError(
            f"layer {worst!r}: |S|^2 / (n Q) is {found:.6g}, expected at most 1; "
            "gradients that are not finite, or per-example gradients that were not seen in full"
        )
    return float(ratios.max(initial=0.0))


def spot_errors(
    measured: Mapping[str, Tensor], exact: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]
) -> dict[str, float]:
    """Largest relative error of |g_i|^2 over k examples, by parameter.

    Relative to the parameter's own |g_i|^2, plus rounding of that of the whole model: a gradient that vanishes by
    cancellation is known no better.

    Args:
        measured: {name: |g_i|^2, float64 [k]}; a parameter that is missing has the gradient 0.
        exact: {name: |g_i|^2, float64 [k]} from the loop.
        dtypes: {name: dtype of the parameter}, for the rounding to expect.
    """
    if not exact:
        return {}
    found = [measured[name] if name in measured else torch.zeros_like(expected) for name, expected in exact.items()]
    together = torch.stack([torch.stack([*exact.values()]), torch.stack(found)]).cpu()  # in one copy from a GPU
    whole = sum(together[0])
    errors = {}
    for name, expected, mine in zip(exact, *together, strict=True):
        rounding = torch.finfo(dtypes[name])
        scale = expected + whole * rounding.eps
        error = (mine - expected).abs() / scale.clamp_min(max(_least(dtypes[name]) ** 2, 1e-300))
        errors[name] = float(error.max()) if len(error) else 0.0
    return errors


def _least(dtype: torch.dtype) -> float:
    """The least number above 0 of a dtype: what a gradient may be off by where it is as small as that."""
    return float(torch.finfo(dtype).smallest_normal) * float(torch.finfo(dtype).eps)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float64))
