"""Directions in the space of a model's parameters, and products of per-example gradients with them.

Index letters: n examples, D directions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mcoherence.device import sent
from mcoherence.gradients.batch.group_sums import real_rows, sum_dtype
from mcoherence.gradients.given.layer_names import layer_of
from mcoherence.gradients.given.reading import read


@dataclass(frozen=True)
class Directions:
    """D directions, each divided by a power of two so that its largest element is about 1: products keep in range.

    tensors: {parameter name: [D, *parameter shape]} where any of them is not zero, in float32 or wider.
    scales: what products are to be multiplied by, float64 [D].
    """

    tensors: dict[str, Tensor]
    scales: Tensor

    @classmethod
    def of(cls, given: Sequence[Mapping[str, Tensor]], parameters: Mapping[str, Tensor]) -> "Directions":
        """The directions {parameter name: [*parameter shape]}, where the parameters are; one left out is zero."""
        sizes = read(
            {
                (index, name): value.detach().abs().max()
                for index, one in enumerate(given)
                for name, value in one.items()
                if value.numel()
            }
        )
        largest = [
            max((size for (index, _), size in sizes.items() if index == place), default=0.0)
            for place in range(len(given))
        ]
        scales = [2.0 ** torch.tensor(size).double().log2().floor().item() if size > 0 else 1.0 for size in largest]
        tensors = {}
        for name, p in parameters.items():
            if any(name in one for one in given):
                stacked = torch.zeros((len(given), *p.shape), dtype=sum_dtype(p.dtype), device=p.device)
                for index, (one, scale) in enumerate(zip(given, scales, strict=True)):
                    if name in one:
                        value = sent(one[name].detach(), p.device)
                        stacked[index] = value.to(torch.promote_types(value.dtype, torch.float64)) / scale
                tensors[name] = stacked
        return cls(tensors, torch.tensor(scales, dtype=torch.float64))

    @property
    def count(self) -> int:
        """D."""
        return len(self.scales)

    @cached_property
    def norms_by_layer(self) -> dict[str, Tensor]:
        """{layer: |V_l|, float64 [D] on the processor} of the directions as stored, where they are not zero."""
        squared: dict[str, Tensor] = {}
        for name, tensor in self.tensors.items():
            flat = real_rows(tensor)
            of_one = torch.linalg.vector_norm(flat, dim=1).to(torch.float64).square()
            squared[layer_of(name)] = squared.get(layer_of(name), 0.0) + of_one
        if not squared:
            return {}
        return dict(zip(squared, torch.stack([*squared.values()]).sqrt().cpu(), strict=True))


def contracted(rows: Tensor, given: Tensor) -> Tensor:
    """g_i . V_d of one parameter, float64 [D, n]; the real part where they are complex.

    Args:
        rows: per-example gradients [n, *parameter shape], or flat.
        given: directions [D, *parameter shape].
    """
    flat, directions = real_rows(rows.detach()), real_rows(given)
    dtype = torch.promote_types(flat.dtype, directions.dtype)
    return (directions.to(dtype) @ flat.to(dtype).T).to(torch.float64)


def products_of_rows(chunks: Iterable[Mapping[str, Tensor]], directions: Directions) -> dict[str, Tensor]:
    """Products by layer, float64 [D, n], of per-example gradients that come in chunks {parameter name: [c, *shape]}.

    Parameters along which no direction goes are left out.
    """
    found: dict[str, list[Tensor]] = {}
    for chunk in chunks:
        of_chunk: dict[str, Tensor] = {}
        for name, rows in chunk.items():
            if name in directions.tensors:
                products, layer = contracted(rows, directions.tensors[name]), layer_of(name)
                of_chunk[layer] = of_chunk[layer] + products if layer in of_chunk else products
        for layer, products in of_chunk.items():
            found.setdefault(layer, []).append(products)
    return {layer: torch.cat(parts, dim=1) for layer, parts in found.items()}
