"""Squared norms of per-example gradients of parameters that are measured where the graph shows their uses (`uses`).

Index letters: n examples, t positions, D directions.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from mcoherence.gradients.alignment import EXAMPLES_FIRST, Layout, by_example
from mcoherence.gradients.directions import Directions, contracted
from mcoherence.gradients.fallback import ROWS_BUDGET
from mcoherence.gradients.graph import Users
from mcoherence.gradients.kept_calls import KeptCalls
from mcoherence.gradients.layer_rules.embedding import lookup_squared_norms
from mcoherence.gradients.layer_rules.products import (
    Rows,
    at_least_float32,
    examples_at_a_time,
    product_squared_norms,
    sure_squared_norms,
)
from mcoherence.gradients.probe import lengths
from mcoherence.gradients.uses import Lookup, Product, Spread, Use, uses_of


class ByUses:
    """What was seen of parameters at their uses in a batch.

    squared_norms: {parameter name: |g_i|^2, float64 [n]}, once its backward pass has come by.
    rows: {parameter name: the same, and their sum}, of those whose rows were formed.
    products: {parameter name: float64 [D, n]} in place of both, where there are directions.
    lengths: {(parameter name, number of its use): of the rows of the gradient there}, and of those of weighted losses.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self.forget()

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.lengths: dict[tuple[str, int], list[Tensor]] = {}
        self.probing = False
        self._gathered: dict[str, _Gathered] = {}

    def found(self, users: Users, names: AbstractSet[str]) -> dict[str, tuple[Use, ...] | None]:
        """{name: its uses in the graph, or None where they are not understood} of those of `names` that are in it."""
        leaves = {id(variable): node for node in users if (variable := getattr(node, "variable", None)) is not None}
        return {
            name: uses_of(users, leaves[id(p)], tuple(p.shape))
            for name, p in self._parameters.items()
            if name in names and id(p) in leaves
        }

    def watch(
        self,
        found: Mapping[str, tuple[Use, ...]],
        layouts: Mapping[Node, Layout],
        examples: int,
        directions: Directions | None,
        kept: KeptCalls | None,
        careful: bool,
    ) -> None:
        """Measure the parameters in the backward pass to come, by their uses and where the examples are in each."""
        for name, uses in found.items():
            if directions is not None and name not in directions.tensors:
                continue
            along = None if directions is None else directions.tensors[name]
            places = [layout_of(use, layouts) for use in uses]
            gathered = _Gathered(self._parameters[name], uses, places, examples, along, careful)
            self._gathered[name] = gathered
            if kept is not None:
                if any(isinstance(use, Spread) for use in uses):
                    gathered.kept = kept.rows, name
                else:
                    kept.complete = False
            for number, use in enumerate(uses):
                use.node.register_prehook(self._hook(name, number, gathered))

    def squared_norms(self) -> dict[str, Tensor]:
        """|g_i|^2, float64 [n], of all whose backward pass has come by."""
        return {name: one.squared_norms() for name, one in self._gathered.items() if one.came}

    def rows(self) -> dict[str, Rows]:
        """Those whose rows were formed, with the sum of these."""
        return {name: one.of_rows() for name, one in self._gathered.items() if one.rows is not None}

    def products(self) -> dict[str, Tensor]:
        """Products with directions, float64 [D, n]."""
        return {name: one.products for name, one in self._gathered.items() if one.products is not None}

    def _hook(self, name: str, number: int, gathered: "_Gathered") -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            given = output_grads[0]
            if given is None:
                return
            if self.probing:
                here = by_example(given, gathered.layouts[number], gathered.examples)
                self.lengths.setdefault((name, number), []).append(lengths(here))
            kind = given.device.type
            with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
                gathered.take(number, given.detach())

        return hook


def layout_of(use: Use, layouts: Mapping[Node, Layout]) -> Layout:
    """Where the examples are at a use; first, where it is not known."""
    return layouts.get(use.node, EXAMPLES_FIRST)


def fit(uses: Iterable[Use], layouts: Mapping[Node, Layout], examples: int) -> bool:
    """Whether the examples may be where the uses ask for them."""
    for use in uses:
        layout, shape = layout_of(use, layouts), use.node._input_metadata[0].shape
        axis, outer = layout
        if axis >= len(shape) or not shape[axis] or shape[axis] % (outer * examples) or not use.fits(layout):
            return False
    return True


@dataclass
class _Gathered:
    """What the uses of one parameter gave so far.

    along: directions [D, *parameter shape], whose products are taken in place of norms.
    kept: where the rows are to be put, and under which name.
    rows: [n, elements], the sum over spreads.
    factors: of the products so far, [n, t, p] and [n, t, d].
    looked_up: gradients of the lookups so far, [n, t, d], by number of the use.
    of_lookups: what the products' gradient has in the rows that are looked up, [n, all lookups' t, d].
    """

    parameter: Tensor
    uses: tuple[Use, ...]
    layouts: list[Layout]
    examples: int
    along: Tensor | None
    careful: bool
    kept: tuple[dict[str, Tensor], str] | None = None
    came: set[int] = field(default_factory=set)
    rows: Tensor | None = None
    factors: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    looked_up: dict[int, Tensor] = field(default_factory=dict)
    of_lookups: Tensor | None = None
    of_products: Tensor | None = None
    products: Tensor | None = None

    def __post_init__(self) -> None:
        self._index = {
            number: use.index(self.layouts[number], self.examples)
            for number, use in enumerate(self.uses)
            if isinstance(use, Lookup)
        }
        self._product_count = sum(isinstance(use, Product) for use in self.uses)

    def take(self, number: int, output_grads: Tensor) -> None:
        """The gradient that has arrived at a use; only the first counts."""
        if number in self.came:
            return
        self.came.add(number)
        use, layout, given = self.uses[number], self.layouts[number], self._wide(output_grads)
        if isinstance(use, Spread):
            self._take_rows(use, use.rows(given, layout, self.examples))
        elif isinstance(use, Product):
            self._take_factors(*map(self._wide, use.factors(given, layout, self.examples)))
        else:
            grads = use.grads(given, layout, self.examples)
            if self.along is None:
                self.looked_up[number] = grads
            else:
                self._add([(grads * self._wide(one)[self._index[number]]).sum(dim=(1, 2)) for one in self.along])

    def _take_rows(self, use: Spread, rows: Tensor) -> None:
        size = max(1, ROWS_BUDGET // max(1, self.parameter.numel()))
        whole = torch.cat([use.pulled_back(part, self.parameter) for part in torch.split(rows, size)])
        if self.along is not None:
            products = contracted(whole, self.along)
            self.products = products if self.products is None else self.products + products
        else:
            self.rows = whole if self.rows is None else self.rows + whole

    def _take_factors(self, left: Tensor, right: Tensor) -> None:
        if self.along is not None:
            self._add([(left * (right @ self._wide(one).T)).sum(dim=(1, 2)) for one in self.along])
            return
        if self._index:
            index = torch.cat(list(self._index.values()), dim=1)
            size = examples_at_a_time(left.device, index.shape[1] * left.shape[1])
            parts = []
            for of, b, a in zip(*(torch.split(value, size) for value in (index, left, right)), strict=True):
                chosen = b.gather(2, of.unsqueeze(1).expand(-1, b.shape[1], -1))
                parts.append(chosen.transpose(1, 2) @ a)
            found = torch.cat(parts)
            self.of_lookups = found if self.of_lookups is None else self.of_lookups + found
        if self._product_count == 1:  # nothing to wait for
            self.of_products = product_squared_norms(right, left)
        else:
            self.factors.append((left, right))

    def _add(self, products: list[Tensor]) -> None:
        found = torch.stack(products).to(torch.float64)
        self.products = found if self.products is None else self.products + found

    def squared_norms(self) -> Tensor:
        """|g_i|^2, float64 [n]."""
        if self.rows is not None:
            return self.of_rows().squared_norms
        if self.factors:
            left, right = (torch.cat(values, dim=1) for values in zip(*self.factors, strict=True))
            self.of_products, self.factors = product_squared_norms(right, left), []
        norms = self.of_products
        if self.looked_up:
            numbers = sorted(self.looked_up)
            grads = torch.cat([self.looked_up[number] for number in numbers], dim=1)
            index = torch.cat([self._index[number] for number in numbers], dim=1)
            of_lookups = lookup_squared_norms(index, grads, self.parameter.shape[0])
            norms = of_lookups if norms is None else norms + of_lookups
            if self.of_lookups is not None:
                if len(numbers) < len(self._index):  # some were not reached
                    starts = dict(zip(self._index, self._starts(), strict=True))
                    ends = {number: starts[number] + self._index[number].shape[1] for number in numbers}
                    parts = [self.of_lookups[:, starts[number] : ends[number]] for number in numbers]
                    self.of_lookups = torch.cat(parts, dim=1)
                norms = (norms + 2 * (self.of_lookups * grads).sum(dim=(1, 2), dtype=torch.float64)).clamp_min(0.0)
            self.looked_up = {}
        assert norms is not None
        self.of_products = norms
        return norms

    def of_rows(self) -> Rows:
        """The rows' norms and sum."""
        assert self.rows is not None
        if self.kept is not None:
            kept, name = self.kept
            kept[name] = self.rows
        return Rows(sure_squared_norms(self.rows), self.rows.sum(dim=0).reshape(self.parameter.shape))

    def _starts(self) -> list[int]:
        starts, start = [], 0
        for index in self._index.values():
            starts.append(start)
            start += index.shape[1]
        return starts

    def _wide(self, values: Tensor) -> Tensor:
        return values.to(torch.float64) if self.careful else at_least_float32(values)
