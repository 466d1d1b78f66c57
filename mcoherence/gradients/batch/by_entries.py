"""Squared norms of per-example gradients of parameters by what is computed of them and meets the examples (`entries`).

Index letters: n examples, c examples of a chunk, D directions.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mcoherence.gradients.batch.directions import Directions, contracted
from mcoherence.gradients.batch.fallback import ROWS_BUDGET, ROWS_BUDGET_ELSEWHERE
from mcoherence.gradients.graph.alignment import layouts
from mcoherence.gradients.graph.entries import Arrived, Entries, Entry, Followed
from mcoherence.gradients.graph.layout import Layout, by_example
from mcoherence.gradients.graph.probe import lengths
from mcoherence.gradients.graph.pulling_back import numbers_below, pulled_back
from mcoherence.gradients.graph.walk import Users, leaves_of
from mcoherence.gradients.layer_rules.products import Rows, at_least_float32, sure_squared_norms
from mcoherence.precision import without_autocast

# Elements of rows that are formed and handed on at a time by a processor. Seen on an AMD EPYC for ten networks with
# weights that are functions of others: a quarter as many, or 16 times, take up to 1.5 times as long for some.
AT_A_TIME = 2**20

# What several functions of a parameter have in common is differentiated for each of them.
MOST_TIMES = 4


class UnfollowedError(Exception):
    """It has not been followed in the forward pass what tensors are computed of."""


class ByEntries:
    """What was seen of parameters where what is computed of them meets the examples of a batch.

    lengths: {(parameter name, number of its entry): of the rows of the gradient there}, and of those of weighted
        losses.
    probing: whether to take them.
    failed: names of parameters of which something could not be had after all.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._handles: list[Any] = []
        self.forget()

    def forget(self) -> None:
        """Drop what was seen of the batch before."""
        self.let_go()
        self.lengths: dict[tuple[str, int], list[Tensor]] = {}
        self.probing = False
        self.failed: set[str] = set()
        self._gathered: dict[str, _Gathered] = {}
        self._sources: list[_Source] = []
        self._busy = False

    def let_go(self) -> None:
        """Take the hooks off, by which the graph and what was seen of it would hold each other."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def found(
        self,
        users: Users,
        names: Collection[str],
        where: Mapping[Node, Layout],
        examples: int,
        followed: Followed | None,
    ) -> dict[str, tuple[Entry, ...] | None]:
        """{name: its entries, or None where they are not understood or dear} of those of `names` in the graph.

        Raises:
            UnfollowedError: that hangs on what is computed of weights alone, and nobody has followed it.
        """
        found, all_entries = {}, self._entries(users, where, examples, followed)
        for name, leaf in leaves_of(users, {name: self._parameters[name] for name in names}).items():
            entries = all_entries.of(leaf)
            found[name] = None if entries is None or self._are_dear(name, entries, examples) else entries
        if all_entries.unfollowed:
            raise UnfollowedError
        return found

    def are_fixed(self, users: Users, names: Collection[str], examples: int, followed: Followed | None) -> bool:
        """Whether what is computed of these parameters alone, within a call, is known to be the same for any examples.

        Args:
            users: the graph below the call's output [n, ...].
            names: of the parameters.
            examples: their number, n.
            followed: what the tensors of the pass were computed of, if that is known.

        Raises:
            UnfollowedError: that is to be known first.
        """
        leaves = leaves_of(users, {name: self._parameters[name] for name in names}).values()
        within = self._entries(users, layouts(users, leaves, examples)[0], examples, followed)
        fixed = all(within.are_fixed(leaf) for leaf in leaves)
        if within.unfollowed:
            raise UnfollowedError
        return fixed

    def _entries(self, users: Users, where: Mapping[Node, Layout], examples: int, followed: Followed | None) -> Entries:
        return Entries(users, where, examples, {id(p) for p in self._parameters.values()}, followed)

    def _are_dear(self, name: str, entries: Sequence[Entry], examples: int) -> bool:
        """Whether rows of several functions of a parameter are too large, or much is computed again for each."""
        sources = {(one.source.node, one.source.output_nr) for one in entries}
        if len(sources) == 1:
            return False
        below = {node: sum(numbers_below([node]).values()) for node, _ in sources}
        again, once = sum(below[node] for node, _ in sources), sum(numbers_below(list(below)).values())
        return examples * self._parameters[name].numel() > ROWS_BUDGET or again > MOST_TIMES * once

    def watch(
        self, found: Mapping[str, tuple[Entry, ...]], examples: int, directions: Directions | None, careful: bool
    ) -> None:
        """Measure these parameters in the backward pass to come."""
        sources: dict[tuple[Node, int], _Source] = {}
        for name, entries in found.items():
            if directions is not None and name not in directions.tensors:
                continue
            along = None if directions is None else directions.tensors[name]
            self._gathered[name] = gathered = _Gathered(self._parameters[name], examples, along)
            for number, entry in enumerate(entries):
                key = entry.source.node, entry.source.output_nr
                source = sources.setdefault(key, _Source(entry.source, examples, careful))
                source.add(entry, gathered, (name, number))
        by_node: dict[Node, list[tuple[_Source, Entry]]] = {}
        for source in sources.values():
            for entry in source.entries.values():
                by_node.setdefault(entry.node, []).append((source, entry))
        self._sources = list(sources.values())
        self._handles = [node.register_prehook(self._hook(of_node, examples)) for node, of_node in by_node.items()]
        # Autograd comes to a source when all that it will bring has come to its entries.
        self._handles += [one.node.register_prehook(self._end(one)) for one in self._sources if not one.is_leaf]

    def rows(self) -> dict[str, Rows]:
        """What is known of the rows of those of which all has come."""
        return {name: rows for name, one in self._came().items() if (rows := one.finished()) is not None}

    def products(self) -> dict[str, Tensor]:
        """Products with directions, float64 [D, n]."""
        return {name: one.products for name, one in self._came().items() if one.products is not None}

    def _came(self) -> dict[str, "_Gathered"]:
        for source in self._sources:
            if source.is_leaf:
                source.pull_back()
        self.failed.update(name for name, one in self._gathered.items() if one.sources)  # a gradient has not come
        return {name: one for name, one in self._gathered.items() if name not in self.failed}

    def _hook(self, of_node: Sequence[tuple["_Source", Entry]], examples: int) -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            given = None if output_grads[0] is None else output_grads[0].detach()
            with without_autocast("cpu" if given is None else given.device.type):
                for source, entry in of_node:
                    with self._failing(source):
                        if self.probing and given is not None:
                            here = lengths(by_example(given, entry.layout, examples))
                            for place in source.names[entry.node, entry.argument]:
                                self.lengths.setdefault(place, []).append(here)
                        source.take(entry, given)

        return hook

    def _end(self, source: "_Source") -> Any:
        def hook(output_grads: tuple[Tensor | None, ...]) -> None:
            if self._busy:  # what is pulled back from another source comes by here too
                return
            given = next((one for one in output_grads if one is not None), None)
            with without_autocast("cpu" if given is None else given.device.type), self._failing(source):
                source.pull_back()

        return hook

    @contextmanager
    def _failing(self, source: "_Source") -> Iterator[None]:
        """Note whose parameters are not to be had where something fails inside: the whole model tells a real error."""
        self._busy = True
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception:
            self.failed.update(name for names in source.names.values() for name, _ in names)
        finally:
            self._busy = False


class _Source:
    """A tensor that all examples share, and what has come to its entries.

    entries: {(node, argument): the entry}.
    names: {(node, argument): names of parameters, with the entry's number among theirs}.
    """

    def __init__(self, edge: GradientEdge, examples: int, careful: bool) -> None:
        self._edge, self._examples, self._careful = edge, examples, careful
        self.entries: dict[tuple[Node, int], Entry] = {}
        self.names: dict[tuple[Node, int], list[tuple[str, int]]] = {}
        self._gathered: list[_Gathered] = []
        self._came: set[tuple[Node, int]] = set()
        self._done = False
        self._arrived: list[Arrived] = []
        self._rows: Tensor | None = None  # [n, *shape], of entries where it is smaller than what has arrived

    @property
    def node(self) -> Node:
        """The node that it comes from."""
        return self._edge.node

    @property
    def is_leaf(self) -> bool:
        """Whether it is a parameter itself."""
        return getattr(self._edge.node, "variable", None) is not None

    def add(self, entry: Entry, gathered: "_Gathered", place: tuple[str, int]) -> None:
        """One of its entries, and a parameter that it is computed of."""
        key = entry.node, entry.argument
        self.entries[key] = entry
        self.names.setdefault(key, []).append(place)
        if gathered not in self._gathered:
            self._gathered.append(gathered)
            gathered.add(self)

    def take(self, entry: Entry, output_grads: Tensor | None) -> None:
        """The gradient that has arrived at an entry; only the first counts."""
        key = entry.node, entry.argument
        if key in self._came:
            return
        self._came.add(key)
        if output_grads is not None:
            self._keep(entry.arrived(output_grads, self._examples, self._wide))
        if len(self._came) == len(self.entries):
            self.pull_back()

    def _keep(self, arrived: Arrived) -> None:
        if len(self.entries) > 1 and self._examples * math.prod(arrived.shape) <= arrived.size:
            rows = arrived.rows(slice(None))
            self._rows = rows if self._rows is None else self._rows + rows
        else:
            self._arrived.append(arrived)

    def pull_back(self) -> None:
        """Hand on to the parameters what has arrived, once."""
        if self._done:
            return
        self._done = True
        for part in self._parts():
            rows = [] if self._rows is None else [self._rows[part]]
            for one in self._arrived:
                rows = [rows[0] + one.rows(part)] if rows else [one.rows(part)]
            found: Sequence[Tensor | None] = rows
            if not self.is_leaf:
                found = pulled_back(self._edge, [one.parameter for one in self._gathered], rows[0])
            for gathered, value in zip(self._gathered, found, strict=True):
                if value is not None:
                    gathered.take(part, self._wide(value))
        self._arrived, self._rows = [], None
        for gathered in self._gathered:
            gathered.sources.discard(self)

    def _parts(self) -> list[slice]:
        """The examples in chunks; none where nothing has arrived."""
        if not self._arrived and self._rows is None:
            return []
        device = self._rows.device if self._rows is not None else self._arrived[0].given.device
        budget = AT_A_TIME if device.type == "cpu" else ROWS_BUDGET_ELSEWHERE
        elements = max(numbers_below([self._edge.node]).values()) + sum(one.parameter.numel() for one in self._gathered)
        size = max(1, budget // max(1, elements))
        return [slice(start, min(start + size, self._examples)) for start in range(0, self._examples, size)]

    def _wide(self, values: Tensor) -> Tensor:
        return values.to(torch.float64) if self._careful else at_least_float32(values)


def _by_stride(rows: Tensor) -> list[int]:
    """The axes of an example's gradient as they lie in memory: a sum in another order takes ten times as long."""
    return sorted(range(rows.dim() - 1), key=lambda axis: -rows.stride(1 + axis))


class _Gathered:
    """The gradients of the examples by one parameter so far.

    along: directions [D, *parameter shape], whose products are taken in place of norms.
    sources: those that it has something to get from yet.
    products: with directions, float64 [D, n].
    """

    def __init__(self, parameter: Tensor, examples: int, along: Tensor | None) -> None:
        self.parameter, self._examples, self._along = parameter, examples, along
        self.sources: set[_Source] = set()
        self.products: Tensor | None = None
        self._of_several = False
        self._norms: list[Tensor] = []
        self._total: Tensor | None = None
        self._rows: Tensor | None = None  # [n, *parameter shape], the sum over several sources

    def add(self, source: _Source) -> None:
        """One more source."""
        self._of_several = bool(self.sources)
        self.sources.add(source)

    def take(self, part: slice, rows: Tensor) -> None:
        """Gradients [c, *parameter shape] of the examples of a part, from one of its sources."""
        if self._along is not None:
            if self.products is None:
                size = len(self._along), self._examples
                self.products = torch.zeros(size, dtype=torch.float64, device=rows.device)
            self.products[:, part] += contracted(rows.reshape(len(rows), -1), self._along.reshape(len(self._along), -1))
        elif self._of_several:
            if self._rows is None:
                self._rows = rows.new_zeros(self._examples, *self.parameter.shape)
            self._rows[part] += rows
        else:
            axes = _by_stride(rows)
            in_memory = rows.permute([0, *(1 + axis for axis in axes)])
            self._norms.append(sure_squared_norms(in_memory))
            total = in_memory.sum(dim=0).permute([axes.index(axis) for axis in range(len(axes))])
            self._total = total if self._total is None else self._total + total

    def finished(self) -> Rows | None:
        """What is kept of the rows; None where something is yet to come, or nothing has."""
        if self.sources:
            return None
        if self._rows is not None:
            return Rows(sure_squared_norms(self._rows), self._rows.sum(dim=0))
        return None if self._total is None else Rows(torch.cat(self._norms), self._total)
