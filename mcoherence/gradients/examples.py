"""Every example by itself: squared gradient norm, and product with directions such as the sample's sum of gradients.

Index letters: n examples, D directions, L layers, P parameters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.gradients.batch_products import BatchProducts, ProductPasses, product_rounding
from mcoherence.gradients.capture import Capture
from mcoherence.gradients.directions import Directions, contracted
from mcoherence.gradients.evidence import Evidence, IdentityError, tolerance
from mcoherence.gradients.kept_calls import MOST_BYTES, KeptCalls
from mcoherence.gradients.layer_names import layer_of, layers_of
from mcoherence.gradients.passes import BatchSums
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.spot_check import Batch, apart, drawn
from mcoherence.gradients.statistics import GradientStatistics, require_number, statistics_of
from mcoherence.gradients.sweep import (
    Measuring,
    Piece,
    Totals,
    checked_batches,
    group_names,
    measured_batches,
    measuring,
    pieces,
)
from mcoherence.gradients.tally import Tally
from mcoherence.gradients.trees import usable

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

SUM = "sum"
# What may be asked for: the name of a sum, or a tensor for every parameter.
Direction = str | Mapping[str, Tensor]
Along = str | Sequence[str] | Mapping[str, Direction]


@dataclass(frozen=True, repr=False)
class ExampleStatistics:
    """What is known of each of n examples at one set of weights, in the order of the batches.

    layers: names of the L modules that own the trainable parameters, in the model's order.
    sq_norms: |g_i|^2 by layer, float64 [n, L].
    directions: names of the D directions.
    products: g_i . V_d by layer, float64 [D, n, L].
    losses: float64 [n].
    groups: names of the groups, and group_ids: int64 [n], the positions in them.
    leave_one_out: whether sums that an example is part of are taken without it.
    evidence: what was checked while measuring; fingerprint: digest of the weights and buffers.
    """

    layers: tuple[str, ...]
    sq_norms: NDArray[np.float64]
    directions: tuple[str, ...]
    products: NDArray[np.float64]
    losses: NDArray[np.float64]
    groups: tuple[str, ...]
    group_ids: NDArray[np.int64]
    leave_one_out: bool = False
    evidence: Evidence = field(default_factory=Evidence)
    fingerprint: str = ""

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.sq_norms)

    @property
    def sq_norm(self) -> NDArray[np.float64]:
        """|g_i|^2 of the whole model, float64 [n]."""
        return np.asarray(self.sq_norms.sum(axis=1))

    @property
    def sq_norm_by_layer(self) -> dict[str, NDArray[np.float64]]:
        """|g_i|^2 {layer: float64 [n]}."""
        return {layer: self.sq_norms[:, index] for index, layer in enumerate(self.layers)}

    @property
    def dot(self) -> dict[str, NDArray[np.float64]]:
        """g_i . V {direction: float64 [n]}: what example i's loss falls by, to first order, in a unit step along -V."""
        return {name: self.products[index].sum(axis=1) for index, name in enumerate(self.directions)}

    @property
    def dot_by_layer(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """g_i . V {direction: {layer: float64 [n]}}."""
        return {
            name: {layer: self.products[index, :, place] for place, layer in enumerate(self.layers)}
            for index, name in enumerate(self.directions)
        }

    def to_dataframe(self) -> "pd.DataFrame":
        """One row an example: index (its place in the batches), sq_norm, and dot_NAME for every direction."""
        from mcoherence.gradients.showing import frame_of_examples

        return frame_of_examples(self)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Norms against products with the first direction, or a histogram of norms; on a new figure without `ax`."""
        from mcoherence.gradients.showing import plot_of_examples

        return plot_of_examples(self, ax)

    def save(self, path: "Path | str") -> None:
        """Write all of it to an HDF5 file with a schema; UserError where it cannot be."""
        from mcoherence.gradients.storing import save_examples

        save_examples(path, vars(self))

    @classmethod
    def load(cls, path: "Path | str") -> "ExampleStatistics":
        """What `save` has written, to the bit; UserError in one line where the file is missing, damaged or another."""
        from mcoherence.gradients.storing import load_examples

        return cls(**load_examples(path))

    def __str__(self) -> str:
        from mcoherence.gradients.showing import text_of_examples

        return text_of_examples(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from mcoherence.gradients.showing import html_of_examples

        return html_of_examples(self)


def example_statistics(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[tuple[Any, ...]],
    along: Along | None = None,
    leave_one_out: bool = False,
    *,
    groups: Sequence[str] | None = None,
    spot_check: int = 1,
    tf32: bool = False,
) -> ExampleStatistics:
    """Exact |g_i|^2 of every example by layer, and g_i . V along directions V in the space of the parameters.

    Norms are those that `gradient_statistics` sums, in the same pass and with the same checks; the model is left as
    found. Products cost one more pass, of all directions together: the derivative of the losses along V, without
    gradients of single examples, so that memory does not grow with examples times parameters. docs/gradients.md says
    how, and what is slower.

    Args:
        model: any torch model whose output for an example depends on that example alone.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n].
        batches: (inputs [n, ...], targets [n, ...]), or with `groups` (inputs, targets, group_ids [n]). With `along`
            they are gone through twice, in the same order: a list, or a loader with shuffle=False.
        along: "sum" for S, the sum of all gradients of the sample, or "sum:GROUP" for that of a group; a list of these;
            or {name: one of these, or {parameter name: tensor of the parameter's shape}}. Parameters that a direction
            leaves out count as zero in it.
        leave_one_out: whether an example's own gradient is taken out of the sums that it is part of: g_i . (S - g_i),
            which is g_i . S - |g_i|^2. Other directions stay as they are.
        groups: names of the groups that group_ids count from 0.
        spot_check: number of examples of the first batch that are measured once more one by one, as in
            `gradient_statistics`; 0 for none.
        tf32: whether float32 products may be TF32's on a GPU that has it.

    Raises:
        UnsupportedModelError: gradients of examples cannot be had exactly; the message names the module.
        IdentityError: sum_i g_i . V is not S . V in some layer, or another identity is broken.
        ValueError: directions, batches or losses are not as above, or batches come in another order the second time.

    Example:
        With the output as its loss, a linear unit's gradient is the input: here (1, 0) twice and (0, 1) once.

        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> inputs, targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.zeros(3)
        >>> examples = example_statistics(model, lambda outputs, _: outputs[:, 0], [(inputs, targets)], along="sum")
        >>> examples.sq_norm.tolist(), examples.dot["sum"].tolist()  # S = (2, 1)
        ([1.0, 1.0, 1.0], [2.0, 2.0, 1.0])
    """
    names = group_names(groups)
    require_number(spot_check)
    wanted = _requested(along, groups)
    if wanted and iter(batches) is batches:
        raise ValueError(
            "batches: found an iterator, which can be gone through once, expected a list or a loader: products with "
            "directions take a second pass"
        )
    with measuring(model, loss_fn, tf32=tf32) as now:
        totals = Totals(len(names), now.passes.parameters)
        tally = Tally(now.passes, spot_check, 2 if groups is None else 3)
        found = _Rows(tuple(now.passes.parameters))
        kept = _Kept(now.passes.capture) if wanted else None
        for piece, measured in measured_batches(now.passes, tally, batches, groups):
            totals.add(piece.group, measured)
            found.add(piece, measured)
            if kept is not None:
                kept.add(piece)
        now.require_unchanged()
        statistics = statistics_of(names, now, totals, tally)
        rows = found.in_order()
        directions = _tensors(wanted, statistics, now)
        products = np.zeros((len(wanted), statistics.evidence.examples_measured, len(rows.layers)))
        if kept is not None:
            products = _products(now, directions, rows, kept, pieces(checked_batches(batches, groups), groups))
            kept.spot_check(now, directions, products, rows, spot_check)
            _require_sums(now, directions, statistics, rows, products)
            products *= directions.scales.numpy()[:, None, None]
            now.require_unchanged()
    if leave_one_out:
        for index, direction in enumerate(wanted.values()):
            if isinstance(direction, str):
                members = _members(direction, names, rows.group_ids)
                products[index, members] -= rows.sq_norms[members]
    return ExampleStatistics(
        statistics.layers,
        rows.sq_norms,
        tuple(wanted),
        products,
        rows.losses,
        names,
        rows.group_ids,
        leave_one_out,
        statistics.evidence,
        statistics.fingerprint,
    )


def _members(direction: str, groups: Sequence[str], group_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples are part of a sum, bool [n]."""
    if direction == SUM:
        return np.ones(len(group_ids), dtype=np.bool_)
    return np.asarray(group_ids == groups.index(_group_of(direction)))


def _group_of(direction: str) -> str:
    """The group of "sum:GROUP"."""
    return direction.removeprefix(f"{SUM}:")


@dataclass(frozen=True)
class _Ordered:
    """Examples in the order of the batches: layers [L], sq_norms [n, L], losses [n], group_ids [n]."""

    layers: tuple[str, ...]
    sq_norms: NDArray[np.float64]
    losses: NDArray[np.float64]
    group_ids: NDArray[np.int64]


class _Rows:
    """Norms and losses of single examples, batch by batch."""

    def __init__(self, parameters: tuple[str, ...]) -> None:
        self._layers = layers_of(parameters)
        self._members = {layer: [name for name in parameters if layer_of(name) == layer] for layer in self._layers}
        self._positions: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._groups: list[int] = []

    def add(self, piece: Piece, measured: BatchSums) -> None:
        """Add a batch of one group."""
        device = measured.losses.device
        zero = torch.zeros(measured.n, dtype=torch.float64, device=device)
        norms = measured.squared_norms
        by_layer = [
            sum((norms[name].to(device) for name in members if name in norms), start=zero)
            for members in self._members.values()
        ]
        self._positions.append(piece.positions)
        self._norms.append(torch.stack(by_layer, dim=1).cpu())
        self._losses.append(measured.losses.to(torch.float64).cpu())
        self._groups += [piece.group] * measured.n

    def in_order(self) -> _Ordered:
        """All of them."""
        order = torch.cat(self._positions).argsort()
        return _Ordered(
            self._layers,
            torch.cat(self._norms)[order].numpy(),
            torch.cat(self._losses)[order].numpy(),
            np.asarray(self._groups, dtype=np.int64)[order.numpy()],
        )


def _requested(along: Along | None, groups: Sequence[str] | None) -> dict[str, Direction]:
    """The directions asked for by name; ValueError for a sum of something that is not there, and for no direction."""
    if along is None:
        return {}
    names = [along] if isinstance(along, str) else along
    wanted: dict[str, Any] = dict(names) if isinstance(names, Mapping) else {str(name): name for name in names}
    for name, direction in wanted.items():
        if isinstance(direction, Tensor):
            raise ValueError(
                f"along: found a tensor for {name!r}, expected the name of a direction first: "
                "along={'weights': {parameter name: tensor}}"
            )
        if isinstance(direction, str):
            there = [SUM, *(f"{SUM}:{group}" for group in groups or ())]
            if direction not in there:
                hint = "" if groups else "; sums of groups go with groups=[names] and group ids in the batches"
                raise ValueError(f"along: found {direction!r}, expected one of {', '.join(map(repr, there))}{hint}")
        elif not isinstance(direction, Mapping):
            raise ValueError(
                f"along: found {type(direction).__name__} for {name!r}, expected 'sum', 'sum:GROUP' or "
                "{parameter name: tensor}"
            )
    return wanted


def _tensors(wanted: Mapping[str, Direction], statistics: GradientStatistics, now: Measuring) -> Directions:
    """The directions as tensors, by the names that the engine has for the parameters."""
    given = []
    for name, direction in wanted.items():
        if isinstance(direction, str):
            chosen = (
                range(len(statistics.groups)) if direction == SUM else [statistics.groups.index(_group_of(direction))]
            )
            sums = (value[list(chosen)].sum(dim=0) for value in statistics.group_sums)
            given.append(dict(zip(now.passes.parameters, sums, strict=True)))
        else:
            given.append(_of_parameters(name, direction, now))
    return Directions.of(given, now.passes.parameters)


def _of_parameters(name: str, direction: Mapping[str, Tensor], now: Measuring) -> dict[str, Tensor]:
    """A direction that the caller has given, tied parameters by any of their names.

    Frozen parameters, along which no gradient is measured, are left out.
    """
    parameters = now.passes.parameters
    by_plain = {plain: actual for actual, plain in now.names.items()}
    every = dict(now.passes.model.named_parameters(remove_duplicate=False))
    measured = {id(p): actual for actual, p in parameters.items()}
    found: dict[str, Tensor] = {}
    for key, value in direction.items():
        there = every.get(by_plain.get(key, key))
        if there is not None and not there.requires_grad:
            continue
        if there is None:
            raise ValueError(
                f"along: found {key!r} in {name!r}, expected names of the model's parameters, such as "
                f"{next(iter(by_plain))!r}; dict(model.named_parameters()) has them"
            )
        actual = measured[id(there)]
        p = parameters[actual]
        if not isinstance(value, Tensor) or value.shape != p.shape or value.layout != torch.strided:
            kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"along: found {kind} for {key!r} in {name!r}, expected a dense tensor of {tuple(p.shape)}"
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"along: found numbers in {key!r} of {name!r} that are not finite, expected finite ones")
        if actual in found and not torch.equal(found[actual], value):
            raise ValueError(
                f"along: found two different tensors for {actual!r} and {key!r} in {name!r}, which are one parameter, "
                "expected one of them, or equal ones"
            )
        found[actual] = value
    return found


class _Kept:
    """What is kept of the first pass: calls of the first batches, and the first batch of more than one example."""

    def __init__(self, capture: Capture) -> None:
        self.batches: list[tuple[Tensor, KeptCalls]] = []
        self._capture = capture
        self._capture.keeping = True
        self._room = MOST_BYTES
        self._first: Piece | None = None

    def add(self, piece: Piece) -> None:
        """Keep the batch that was measured last, as long as there is room and all parameters are seen in calls."""
        capture, kept = self._capture, self._capture.kept
        if self._first is None and len(piece.positions) > 1:
            self._first = piece
        if not capture.keeping:
            return
        self._room -= kept.size
        if self._room < 0 or capture.routed or len(piece.positions) == 1:
            capture.keeping = False
        else:
            self.batches.append((piece.positions, kept))
        if capture.routed:
            self.batches = []

    def spot_check(
        self, now: Measuring, directions: Directions, products: NDArray[np.float64], rows: _Ordered, number: int
    ) -> None:
        """Hold products of some examples of the first batch against those of the gradients that autograd gives.

        Raises:
            IdentityError: they disagree by more than rounding.
        """
        if self._first is None or not number:
            return
        passes, piece = now.passes, self._first
        chosen = drawn(len(piece.positions), number)
        places = piece.positions[chosen].numpy()
        inputs, targets = passes.at_device(piece.inputs), usable(piece.targets)
        batch = Batch(passes.model, passes.loss_fn, passes.parameters, inputs, targets)
        norms = torch.from_numpy(np.sqrt(rows.sq_norms[places].sum(axis=1)))
        for layer, exact in batch.products_within(chosen, directions).items():
            expected = exact.cpu()
            mine = torch.from_numpy(products[:, places, rows.layers.index(layer)])
            _require_close(now, directions, layer, mine - expected, expected.abs(), norms)


def _products(
    now: Measuring, directions: Directions, rows: _Ordered, kept: _Kept, again: Iterator[Piece]
) -> NDArray[np.float64]:
    """g_i . V_d by layer, V as stored, float64 [D, n, L]: of what was kept, else from a second pass over the batches.

    Args:
        now: the model.
        directions: D of them.
        rows: what the first pass gave.
        kept: of the first batches.
        again: the batches once more.
    """
    capture = now.passes.capture
    capture.keeping = False
    passes = ProductPasses(now.passes, directions)
    products = np.zeros((directions.count, *rows.sq_norms.shape))
    place = {layer: index for index, layer in enumerate(rows.layers)}
    norms = torch.from_numpy(np.sqrt(rows.sq_norms.sum(axis=1)))

    def put(positions: Tensor, by_layer: Mapping[str, Tensor]) -> None:
        for layer, value in by_layer.items():
            products[:, positions.numpy(), place[layer]] = value.cpu().numpy()

    known = set()
    for index, (positions, calls) in enumerate([] if capture.routed else kept.batches):
        by_layer = calls.products(directions, capture.careful)
        if by_layer is not None:
            put(positions, by_layer)
            known.add(index)
    if len(known) == len(kept.batches) and sum(len(positions) for positions, _ in kept.batches) == len(norms):
        return products
    came = 0
    for index, piece in enumerate(again):
        came += len(piece.positions)
        if came <= len(norms) and index not in known:
            found = passes.measure(piece.inputs, piece.targets, norms[piece.positions])
            _require_same(found, torch.from_numpy(rows.losses)[piece.positions])
            put(piece.positions, found.by_layer)
    if came != len(norms):
        raise ValueError(
            f"batches: found {came} examples in the second pass, expected the {len(norms)} of the first; hand over a "
            "list, or a loader that gives the same each time"
        )
    return products


def _require_same(found: BatchProducts, losses: Tensor) -> None:
    """Raise ValueError unless the losses are those of the first pass."""
    if apart(found.losses.to(torch.float64).cpu(), losses, found.losses.dtype).any():
        raise ValueError(
            "batches: found other losses in the second pass than in the first, expected the same examples in the same "
            "order; use shuffle=False and no random augmentation, or hand over a list of batches"
        )


def _require_sums(
    now: Measuring,
    directions: Directions,
    statistics: GradientStatistics,
    rows: _Ordered,
    products: NDArray[np.float64],
) -> None:
    """Raise IdentityError unless the products with a direction, as it is stored, add up to S . V in every layer."""
    sums: dict[str, Tensor] = {}
    for name, value in zip(now.passes.parameters, statistics.group_sums, strict=True):
        if name in directions.tensors:
            product = contracted(value.sum(dim=0, keepdim=True), directions.tensors[name].cpu())[:, 0]
            sums[layer_of(name)] = sums.get(layer_of(name), 0.0) + product
    norms = torch.from_numpy(np.sqrt(rows.sq_norms.sum(axis=1))).sum()
    for layer, expected in sums.items():
        of_layer = torch.from_numpy(products[:, :, rows.layers.index(layer)])
        off = (of_layer.sum(dim=1) - expected)[:, None]
        _require_close(now, directions, layer, off, of_layer.abs().sum(dim=1, keepdim=True), norms)


def _require_close(
    now: Measuring, directions: Directions, layer: str, off: Tensor, sizes: Tensor, norms: Tensor
) -> None:
    """Raise IdentityError if products of a layer are off by more than rounding explains.

    Args:
        now: the model.
        directions: as they are stored.
        layer: its name.
        off: differences between products that should be equal, [D, k].
        sizes: of the products, [D, k].
        norms: |g_i| of the examples that are behind each, [k] or one for all.
    """
    dtypes = [p.dtype for name, p in now.passes.parameters.items() if layer_of(name) == layer]
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    of_direction = directions.norms_by_layer[layer][:, None]
    allowed = tolerance(coarsest) * sizes + product_rounding(coarsest) * of_direction * norms
    if not bool((off.abs() <= allowed).all()):
        raise IdentityError(
            f"layer {layer!r}: products of gradients with a direction are {float(off.abs().max()):.3g} off those of "
            "the gradients that autograd gives, beyond rounding; please report it, with the layer's type"
        )
