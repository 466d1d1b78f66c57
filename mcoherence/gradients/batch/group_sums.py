"""Sums of gradients per group and parameter, with no more copies alive than they need.

Index letters: G groups, P parameters.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.layer_rules.products import sure_squared_norms


class GroupSums:
    """S_a = sum_i g_i for each group a, added up batch by batch."""

    def __init__(self, groups: int, parameters: Mapping[str, Tensor]) -> None:
        self._groups = groups
        self._parameters = parameters
        self._totals: dict[tuple[int, str], Tensor] = {}
        self._own: set[tuple[int, str]] = set()

    def add(self, group: int, sums: Mapping[str, Tensor]) -> None:
        """Add the sums of a batch of one group, {parameter name: [*parameter shape]}; none of them is changed.

        The first batch is kept as it is, the second makes a tensor of our own, and that one is added to in place.
        """
        for name, value in sums.items():
            place = (group, name)
            wide = value.to(sum_dtype(value.dtype))
            if place not in self._totals:
                self._totals[place] = wide
            elif place not in self._own:
                self._totals[place] = self._totals[place] + wide
                self._own.add(place)
            else:
                self._totals[place] += wide

    def stacked(self) -> tuple[Tensor, ...]:
        """One tensor [G, *parameter shape] per parameter, where it is, zero where a group has no gradient.

        What is stacked is let go at once, so that this is called once, at the end.
        """
        return tuple(self._stacked(name, p) for name, p in self._parameters.items())

    def _stacked(self, name: str, p: Tensor) -> Tensor:
        found = [self._totals.pop((group, name), None) for group in range(self._groups)]
        if len(found) == 1 and found[0] is not None:
            return found[0].unsqueeze(0)
        stacked = torch.zeros((self._groups, *p.shape), dtype=sum_dtype(p.dtype), device=p.device)
        for group, total in enumerate(found):
            if total is not None:
                stacked[group] = total
        return stacked


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Sums of gradients are kept in float32 or wider, whatever the model's dtype."""
    return torch.promote_types(dtype, torch.float32)


def sq_norms_of_sums(group_sums: Sequence[Tensor], groups: int) -> NDArray[np.float64]:
    """|S|^2 per group and parameter, float64 [G, P], of one tensor [G, *parameter shape] per parameter.

    Taken where the sums are, and brought to the processor at once.
    """
    squared = [sure_squared_norms(s) for s in group_sums]
    return torch.stack(squared, dim=1).cpu().numpy() if squared else np.zeros((groups, 0))


def products_of_sums(group_sums: Sequence[Tensor], groups: int) -> NDArray[np.float64]:
    """S_a . S_b per parameter, float64 [G, G, P]; the real part of complex ones.

    Taken where the sums are, and brought to the processor at once.
    """
    products = []
    for sums in group_sums:  # one in float64 at a time
        flat = real_rows(sums).to(torch.float64)
        products.append(flat @ flat.T)
    return torch.stack(products, dim=-1).cpu().numpy() if products else np.zeros((groups, groups, 0))


def real_rows(sums: Tensor) -> Tensor:
    """[G, *parameter shape] as real numbers [G, elements], the parts of complex ones beside each other."""
    flat = sums.reshape(len(sums), -1)
    return torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat
