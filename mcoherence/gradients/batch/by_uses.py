"""Squared norms of per-example gradients of parameters whose uses the graph shows (`graph.uses`).

Index letters: n examples, t positions, D directions.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from mcoherence.gradients.batch.directions import Directions, contracted
from mcoherence.gradients.batch.kept_calls import KeptCalls
from mcoherence.gradients.graph.layout import EXAMPLES_FIRST, Layout, by_example, may_hold
from mcoherence.gradients.graph.probe import lengths
from mcoherence.gradients.graph.uses import Lookup, Product, Spread, Use, uses_of
from mcoherence.gradients.graph.walk import Users, leaves_of
from mcoherence.gradients.layer_rules.embedding import lookup_squared_norms
from mcoherence.gradients.layer_rules.products import (
    Rows,
    at_least_float32,
    examples_at_a_time,
    prefers_product_rows,
    product_rows,
    product_squared_norms,
    sure_squared_norms,
)
from mcoherence.precision import without_autocast


class ByUses:
    """What was seen of parameters at their uses in a batch.

    squared_norms: {parameter name: |g_i|^2, float64 [n]}, once its backward pass has come by.
    rows: {parameter name: the same, and their sum}, of those whose rows were formed.
    products: {parameter name: float64 [D, n]} in place of both, where there are directions.
    lengths: {(parameter name, number of its use): of the rows of the gradient there}, and of those of weighted losses.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._handles: list[Any] = []
        self._hooks: dict[Node, Any] = {}
        self._entries: dict[Node, list[tuple[str, int, _Gathered]]] = {}
        self.forget()

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.let_go()
        self.lengths: dict[tuple[str, int], list[Tensor]] = {}
        self.probing = False
        self._gathered: dict[str, _Gathered] = {}

    def found(self, users: Users, names: AbstractSet[str]) -> dict[str, tuple[Use, ...] | None]:
        """{name: its uses in the graph, or None where they are not understood} of those of `names` that are in it."""
        leaves = leaves_of(users, {name: p for name, p in self._parameters.items() if name in names})
        return {name: uses_of(users, leaf, tuple(self._parameters[name].shape)) for name, leaf in leaves.items()}

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
        by_node: dict[Node, list[tuple[str, int, _Gathered]]] = {}
        for name, uses in found.items():
            if directions is not None and name not in directions.tensors:
                continue
            along = None if directions is None else directions.tensors[name]
            places = [layout_of(use, layouts) for use in uses]
            gathered = _Gathered(self._parameters[name], uses, places, examples, along, careful)
            self._gathered[name] = gathered
            if kept is not None:
                if isinstance(uses[0], Spread):
                    gathered.kept = kept.rows, name
                else:
                    kept.complete = False
            for number, use in enumerate(uses):
                by_node.setdefault(use.node, []).append((name, number, gathered))
        self._entries = by_node
        self._hooks = {node: self._hook(entries) for node, entries in by_node.items()}
        self._handles = [node.register_prehook(hook) for node, hook in self._hooks.items()]

    def let_go(self) -> None:
        """Take the hooks off, by which the graph and what was seen of it would hold each other."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._hooks, self._entries = [], {}, {}

    def summed(self) -> set[str]:
        """Names of the parameters whose gradients are summed here, and need not be by autograd."""
        return {name for name, one in self._gathered.items() if one.summing}

    def hand(self, node: Node, output_grads: Tensor | None) -> None:
        """The gradient of the output of a node that autograd has not gone through, but up to."""
        # For the sake of another parameter, autograd may have gone through it nevertheless.
        if any(number not in gathered.came for _, number, gathered in self._entries.get(node, ())):
            self._hooks[node]((output_grads,))

    def squared_norms(self) -> dict[str, Tensor]:
        """|g_i|^2, float64 [n], of those whose backward pass has come by and whose rows were not formed."""
        return {name: one.squared_norms() for name, one in self._gathered.items() if one.came and not one.is_spread}

    def rows(self) -> dict[str, Rows]:
        """Those whose rows were formed, with the sum of these."""
        return {name: one.of_rows() for name, one in self._gathered.items() if one.is_spread and one.came}

    def sums(self) -> dict[str, Tensor]:
        """Sums of the gradients of those that are summed here."""
        return {name: one.sum() for name, one in self._gathered.items() if one.summing and one.came}

    def products(self) -> dict[str, Tensor]:
        """Products with directions, float64 [D, n]."""
        found = {name: one.finished_products() for name, one in self._gathered.items()}
        return {name: products for name, products in found.items() if products is not None}

    def _hook(self, entries: list[tuple[str, int, "_Gathered"]]) -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            given = output_grads[0]
            if given is None:
                return
            given = given.detach()
            with without_autocast(given.device.type):
                for name, number, gathered in entries:
                    if self.probing:
                        here = by_example(given, gathered.layouts[number], gathered.examples)
                        self.lengths.setdefault((name, number), []).append(lengths(here))
                    gathered.take(number, given)

        return hook


def layout_of(use: Use, layouts: Mapping[Node, Layout]) -> Layout:
    """Where the examples are at a use; first, where it is not known."""
    return layouts.get(use.node, EXAMPLES_FIRST)


def fit(uses: Sequence[Use], layouts: Mapping[Node, Layout], examples: int) -> bool:
    """Whether the examples may be where the uses ask for them."""
    places = ((use, layout_of(use, layouts)) for use in uses)
    return all(
        may_hold(tuple(use.node._input_metadata[0].shape), layout, examples) and use.fits(layout)
        for use, layout in places
    )


class _Gathered:
    """What the uses of one parameter gave so far.

    What arrives at several uses is kept until all have come, and then taken together where it is alike: the steps of a
    recurrent layer are so many small operations.

    along: directions [D, *parameter shape], whose products are taken in place of norms.
    came: numbers of the uses that a gradient has arrived at.
    kept: where the rows are to be put, and under which name.
    summing: whether gradients are summed here.
    products: with directions, float64 [D, n].
    """

    def __init__(
        self,
        parameter: Tensor,
        uses: tuple[Use, ...],
        layouts: list[Layout],
        examples: int,
        along: Tensor | None,
        careful: bool,
    ) -> None:
        self.parameter, self.uses, self.layouts, self.examples = parameter, uses, layouts, examples
        self.careful = careful
        self._matrix = tuple(parameter.shape) if isinstance(uses[0], Spread) else uses[0].shape  # the parameter as one
        self.along = None if along is None else along.reshape(len(along), *self._matrix)
        self.kept: tuple[dict[str, Tensor], str] | None = None
        self.came: set[int] = set()
        self.products: Tensor | None = None
        self.is_spread = isinstance(uses[0], Spread)
        alike = len({(use.kind(), layout) for use, layout in zip(uses, layouts, strict=True)}) == 1
        plain = not isinstance(uses[0], Spread) or all(isinstance(use, Spread) and use.is_plain() for use in uses)
        self._together = len(uses) > 1 and alike and plain and not isinstance(uses[0], Lookup)
        self.summing = self._together and along is None
        self._index = {
            number: use.index(layout, examples)
            for number, (use, layout) in enumerate(zip(uses, layouts, strict=True))
            if isinstance(use, Lookup)
        }
        self._product_count = sum(isinstance(use, Product) for use in uses)
        if len(uses) == 1 and isinstance(uses[0], Product) and along is None:
            rows = uses[0].node._input_metadata[0].shape[0] // examples
            self.summing = prefers_product_rows(parameter.device, rows, *uses[0].shape)
        self._given: list[Tensor] = []  # of uses that are taken together, and the rows that they multiply
        self._saved: list[Tensor] = []
        self._rows: Tensor | None = None  # [n, elements], the sum over spreads
        self._factors: list[tuple[Tensor, Tensor]] = []  # of the products so far, [n, t, p] and [n, t, d]
        self._looked_up: dict[int, Tensor] = {}  # gradients of the lookups so far, [n, t, d]
        self._of_lookups: Tensor | None = None  # what the products give to the rows looked up, [n, all t, d]
        self._norms: Tensor | None = None
        self._sum: Tensor | None = None

    def take(self, number: int, output_grads: Tensor) -> None:
        """The gradient that has arrived at a use; only the first counts."""
        if number in self.came:
            return
        self.came.add(number)
        use, layout = self.uses[number], self.layouts[number]
        if self._together:
            self._given.append(output_grads)
            if isinstance(use, Product):
                self._saved.append(use.saved())
            if len(self.came) == len(self.uses):
                self._finish()
            return
        given = self._wide(output_grads)
        if isinstance(use, Spread):
            self._take_rows(use.rows(given, layout, self.examples))
        elif isinstance(use, Product):
            self._take_factors(*use.factors(given, self._wide(use.saved()), layout, self.examples))
        else:
            grads = use.grads(given, layout, self.examples)
            if self.along is None:
                self._looked_up[number] = grads
            else:
                self._add([(grads * self._wide(one)[self._index[number]]).sum(dim=(1, 2)) for one in self.along])

    def _finish(self) -> None:
        """What was kept of uses that are alike, and of which some may not have been reached."""
        if not self._given:
            return
        use, layout = self.uses[0], self.layouts[0]
        given, saved = self._given, self._saved
        self._given, self._saved = [], []
        if isinstance(use, Spread):
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for one in given:
                by_shape.setdefault(one.shape, []).append(one)
            for ones in by_shape.values():
                whole = self._wide(torch.stack(ones)).sum(dim=0) if len(ones) > 1 else self._wide(ones[0])
                self._take_rows(use.rows(whole, layout, self.examples))
        elif isinstance(use, Product):
            of_steps = all(len(one) == self.examples for one in given)
            grads, rows = (
                torch.stack(ones, dim=1)
                if of_steps
                else torch.cat([by_example(one, layout, self.examples) for one in ones], dim=1)
                for ones in (given, saved)
            )
            self._take_factors(*use.ordered(self._wide(rows), self._wide(grads)))

    def _take_rows(self, rows: Tensor) -> None:
        if self.along is not None:
            products = contracted(rows, self.along)
            self.products = products if self.products is None else self.products + products
        else:
            self._rows = rows if self._rows is None else self._rows + rows

    def _take_factors(self, left: Tensor, right: Tensor) -> None:
        if self.along is not None:
            along = self._wide(self.along).to(torch.promote_types(right.dtype, self.along.dtype))
            self._add([(left * (right.to(along.dtype) @ one.T)).sum(dim=(1, 2)) for one in along])
            return
        if self._index:
            found = self._rows_looked_up(left, right)
            self._of_lookups = found if self._of_lookups is None else self._of_lookups + found
        if self.summing and not self._together:
            self._norms, self._sum = product_rows(right, left)
            return
        if self.summing:
            self._sum = left.flatten(0, 1).T @ right.flatten(0, 1)
        if self._product_count == 1 or self._together:  # nothing to wait for
            self._norms = product_squared_norms(right, left)
        else:
            self._factors.append((left, right))

    def _rows_looked_up(self, left: Tensor, right: Tensor) -> Tensor:
        """The gradient of a product in the rows that the lookups choose, [n, all t, d]; in chunks of examples."""
        index = torch.cat(list(self._index.values()), dim=1)
        size = examples_at_a_time(left.device, index.shape[1] * left.shape[1])
        parts = []
        for of, b, a in zip(*(torch.split(value, size) for value in (index, left, right)), strict=True):
            chosen = b.gather(2, of.unsqueeze(1).expand(-1, b.shape[1], -1))
            parts.append(chosen.transpose(1, 2) @ a)
        return torch.cat(parts)

    def _add(self, products: list[Tensor]) -> None:
        found = torch.stack(products).to(torch.float64)
        self.products = found if self.products is None else self.products + found

    def squared_norms(self) -> Tensor:
        """|g_i|^2, float64 [n]."""
        if self.is_spread:
            return self.of_rows().squared_norms
        self._finish()
        if self._factors:
            left, right = (torch.cat(values, dim=1) for values in zip(*self._factors, strict=True))
            self._norms, self._factors = product_squared_norms(right, left), []
        if self._looked_up:
            self._norms, self._looked_up = self._with_lookups(self._norms), {}
        assert self._norms is not None
        return self._norms

    def _with_lookups(self, of_products: Tensor | None) -> Tensor:
        numbers = sorted(self._looked_up)
        grads = torch.cat([self._looked_up[number] for number in numbers], dim=1)
        index = torch.cat([self._index[number] for number in numbers], dim=1)
        norms = lookup_squared_norms(index, grads, self._matrix[0])
        if of_products is None:
            return norms
        assert self._of_lookups is not None
        parts = torch.split(self._of_lookups, [one.shape[1] for one in self._index.values()], dim=1)
        reached = torch.cat([part for number, part in zip(self._index, parts, strict=True) if number in numbers], dim=1)
        cross = (reached * grads).sum(dim=(1, 2), dtype=torch.float64)
        return (of_products + norms + 2 * cross).clamp_min(0.0)

    def finished_products(self) -> Tensor | None:
        """Products with directions, float64 [D, n], of all uses that a gradient has arrived at; None of none."""
        self._finish()
        return self.products

    def of_rows(self) -> Rows:
        """The rows' norms and sum."""
        self._finish()
        assert self._rows is not None
        if self.kept is not None:
            kept, name = self.kept
            kept[name] = self._rows
        return Rows(sure_squared_norms(self._rows), self.sum())

    def sum(self) -> Tensor:
        """The sum over examples, of the parameter's shape."""
        self._finish()
        if self.is_spread:
            assert self._rows is not None
            return self._rows.sum(dim=0).reshape(self.parameter.shape)
        assert self._sum is not None
        return self._sum.reshape(self.parameter.shape)

    def _wide(self, values: Tensor) -> Tensor:
        return values.to(torch.float64) if self.careful else at_least_float32(values)
