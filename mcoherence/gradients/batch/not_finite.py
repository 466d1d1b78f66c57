"""Gradients that are not finite, told by the first parameter and example that have them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mcoherence.gradients.batch.evidence import IdentityError
from mcoherence.gradients.given.trees import Tree, leaves


def require_finite(
    squared_norms: Mapping[str, Tensor],
    sums: Mapping[str, Tensor],
    losses: Tensor,
    inputs: Tree,
    parameters: Mapping[str, Tensor],
) -> None:
    """Raise IdentityError if a squared norm or a sum of a batch is not finite, naming parameter, example and cause.

    Args:
        squared_norms: {parameter name: |g_i|^2, float64 [n]}.
        sums: {parameter name: sum_i g_i}, of parameters of which there is no squared norm as yet.
        losses: [n].
        inputs: [n, ...], or a tree of them.
        parameters: by name.
    """
    wrong = next((name for name in parameters if not _is_known_finite(squared_norms.get(name), sums.get(name))), None)
    if wrong is None:
        return
    if weights := [name for name, p in parameters.items() if not _is_finite(p)]:
        cause = f"the weights {weights[0]!r} are not finite: the training has diverged"
        example = 0
    else:
        example = _first(squared_norms.get(wrong), losses)
        if not all(_is_finite(leaf[example]) for leaf in leaves(inputs)):
            cause = "its inputs are not finite"
        elif not _is_finite(losses[example]):
            cause = f"its loss is {float(losses[example])}"
        else:
            kind = str(losses.dtype).removeprefix("torch.")
            cause = f"its loss is finite: some derivative is not (a root or logarithm of 0), or leaves {kind}'s range"
    raise IdentityError(
        f"gradients are not finite: parameter {wrong!r}, example {example} of a batch of {len(losses)}; {cause}; "
        "look at it, or leave it out"
    )


def _first(squared_norms: Tensor | None, losses: Tensor) -> int:
    """The first example whose gradient, or else whose loss, is not finite; 0 where that is not known."""
    for values in (squared_norms, losses):
        if values is not None and not _is_finite(values):
            return int((~values.isfinite()).nonzero()[0])
    return 0


def _is_known_finite(squared_norms: Tensor | None, total: Tensor | None) -> bool:
    if squared_norms is not None:
        return _is_finite(squared_norms.sum())
    return total is None or _is_finite(total)


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
