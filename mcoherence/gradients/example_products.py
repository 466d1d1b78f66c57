"""Products of the gradients of single examples with directions: the second pass over the batches, and its checks.

Index letters: n examples, D directions, L layers.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.gradients.batch.batch_products import ProductPasses, product_rounding
from mcoherence.gradients.batch.capture import Capture
from mcoherence.gradients.batch.directions import Directions, contracted
from mcoherence.gradients.batch.evidence import IdentityError, tolerance
from mcoherence.gradients.batch.kept_calls import MOST_BYTES, KeptCalls
from mcoherence.gradients.checks.batch_again import batch_again
from mcoherence.gradients.checks.chosen_examples import drawn
from mcoherence.gradients.checks.inner_precision import coarsest_dtype
from mcoherence.gradients.checks.same_losses import differ
from mcoherence.gradients.example_rows import MOST_WAITING_BYTES, OrderedExamples
from mcoherence.gradients.given.layer_names import layer_of
from mcoherence.gradients.given.pieces import Piece
from mcoherence.gradients.statistics import GradientStatistics
from mcoherence.gradients.sweep.sample_pass import Measuring


class FirstPass:
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
            self._first = piece.copied()
        if not capture.keeping:
            return
        self._room -= kept.size
        if self._room < 0 or capture.routed or not kept.complete or len(piece.positions) == 1:
            capture.keeping = False
        else:
            self.batches.append((piece.positions, kept))
        if capture.routed:
            self.batches = []

    def spot_check(
        self, now: Measuring, directions: Directions, products: NDArray[np.float64], rows: OrderedExamples, number: int
    ) -> None:
        """Hold products of some examples of the first batch against those of the gradients that autograd gives.

        Raises:
            IdentityError: they disagree by more than rounding.
        """
        if self._first is None or not number:
            return
        piece = self._first
        chosen = drawn(len(piece.positions), number)
        places = piece.positions[chosen].numpy()
        batch = batch_again(now.passes, piece.inputs, piece.targets)
        norms = torch.from_numpy(np.sqrt(rows.sq_norms[places].sum(axis=1)))

        def violations(by_layer: Mapping[str, Tensor], inner: torch.dtype | None = None) -> Iterator[str]:
            together = torch.stack([*by_layer.values()]).cpu() if by_layer else ()
            for layer, expected in zip(by_layer, together, strict=True):
                mine = torch.from_numpy(products[:, places, rows.layers.index(layer)])
                yield from _violation(now, directions, layer, mine - expected, expected.abs(), norms, inner)

        # The examples alone take a fraction of the batch's pass; at the kink of an activation only that tells.
        if any(violations(batch.products_alone(chosen, directions))):
            for violation in violations(batch.products_within(chosen, directions), coarsest_dtype(batch)):
                raise IdentityError(violation)


def products_of(
    now: Measuring, directions: Directions, rows: OrderedExamples, kept: FirstPass, again: Iterator[Piece]
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
    found = _Products(directions.count, rows)
    norms = torch.from_numpy(np.sqrt(rows.sq_norms.sum(axis=1)))
    known = np.zeros(len(norms), dtype=np.bool_)
    for positions, calls in [] if capture.routed else kept.batches:
        by_layer = calls.products(directions, capture.careful)
        if by_layer is not None:
            found.put(positions, by_layer)
            known[positions.numpy()] = True
    if known.all():
        return found.gathered()
    came = 0
    for piece in again:
        came += len(piece.positions)
        if came <= len(norms) and not known[piece.positions.numpy()].all():
            again_measured = passes.measure(piece.inputs, piece.targets, norms[piece.positions])
            found.put(piece.positions, again_measured.by_layer, again_measured.losses)
    if came != len(norms):
        raise ValueError(
            f"batches: found {came} examples in the second pass, expected the {len(norms)} of the first; hand over a "
            "list, or a loader that gives the same each time"
        )
    return found.gathered()


class _Products:
    """Products g_i . V_d, float64 [D, n, L], gathered batch by batch; on a GPU they wait until there are many."""

    def __init__(self, directions: int, rows: OrderedExamples) -> None:
        self._products = np.zeros((directions, *rows.sq_norms.shape))
        self._rows = rows
        self._waiting: list[tuple[NDArray[np.int64], list[str], Tensor]] = []
        self._losses: list[tuple[Tensor, Tensor]] = []

    def put(self, positions: Tensor, by_layer: Mapping[str, Tensor], losses: Tensor | None = None) -> None:
        """Take in the products of a batch, and its losses where a second pass gave them."""
        if losses is not None:
            self._losses.append((positions, losses))
        if by_layer:
            together = torch.stack([*by_layer.values()], dim=-1)  # of all layers: each copy waits
            self._waiting.append((positions.numpy(), list(by_layer), together))
        waiting = [*(one for *_, one in self._waiting), *(one for _, one in self._losses)]
        if any(one.device.type == "cpu" for one in waiting) or sum(one.nbytes for one in waiting) > MOST_WAITING_BYTES:
            self._fetch()

    def gathered(self) -> NDArray[np.float64]:
        """All of them."""
        self._fetch()
        return self._products

    def _fetch(self) -> None:
        if self._losses:
            positions = torch.cat([one for one, _ in self._losses])
            losses = torch.cat([one for _, one in self._losses])
            _require_same(losses.to(torch.float64).cpu(), torch.from_numpy(self._rows.losses)[positions], losses.dtype)
        if self._waiting:
            flat = torch.cat([one.reshape(-1) for *_, one in self._waiting]).cpu()
            parts = torch.split(flat, [one.numel() for *_, one in self._waiting])
            for (places, layers, one), part in zip(self._waiting, parts, strict=True):
                columns = [self._rows.layers.index(layer) for layer in layers]
                self._products[:, places[:, None], columns] = part.reshape(one.shape).numpy()
        self._waiting, self._losses = [], []


def _require_same(found: Tensor, losses: Tensor, dtype: torch.dtype) -> None:
    """Raise ValueError unless losses, computed in that dtype, are those of the first pass."""
    if differ(found, losses, dtype).any():
        raise ValueError(
            "batches: found other losses in the second pass than in the first, expected the same examples in the same "
            "order; use shuffle=False and no random augmentation, or hand over a list of batches"
        )


def require_sums(
    now: Measuring,
    directions: Directions,
    statistics: GradientStatistics,
    rows: OrderedExamples,
    products: NDArray[np.float64],
) -> None:
    """Raise IdentityError unless the products with a direction, as it is stored, add up to S . V in every layer."""
    sums: dict[str, Tensor] = {}
    for name, value in zip(now.passes.parameters, statistics.group_sums, strict=True):
        if name in directions.tensors:
            product = contracted(value.sum(dim=0, keepdim=True), directions.tensors[name])[:, 0]
            sums[layer_of(name)] = sums.get(layer_of(name), 0.0) + product
    norms = torch.from_numpy(np.sqrt(rows.sq_norms.sum(axis=1))).sum()
    together = torch.stack([*sums.values()]).cpu() if sums else ()
    for layer, expected in zip(sums, together, strict=True):
        of_layer = torch.from_numpy(products[:, :, rows.layers.index(layer)])
        off = (of_layer.sum(dim=1) - expected)[:, None]
        for violation in _violation(now, directions, layer, off, of_layer.abs().sum(dim=1, keepdim=True), norms):
            raise IdentityError(violation)


def _violation(
    now: Measuring,
    directions: Directions,
    layer: str,
    off: Tensor,
    sizes: Tensor,
    norms: Tensor,
    inner: torch.dtype | None = None,
) -> Iterator[str]:
    """What is wrong, in words, if products of a layer are off by more than rounding explains; else nothing.

    Args:
        now: the model.
        directions: as they are stored.
        layer: its name.
        off: differences between products that should be equal, [D, k].
        sizes: of the products, [D, k].
        norms: |g_i| of the examples that are behind each, [k] or one for all.
        inner: another dtype that the model computes in.
    """
    dtypes = [p.dtype for name, p in now.passes.parameters.items() if layer_of(name) == layer]
    dtypes += [inner] if inner is not None else []
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    of_direction = directions.norms_by_layer[layer][:, None]
    allowed = tolerance(coarsest) * sizes + product_rounding(coarsest) * of_direction * norms
    if not bool((off.abs() <= allowed).all()):
        yield (
            f"layer {layer!r}: products of gradients with a direction are {float(off.abs().max()):.3g} off those of "
            "the gradients that autograd gives, beyond rounding; please report it, with the layer's type"
        )
