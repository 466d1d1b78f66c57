"""Every example by itself: squared gradient norm, and product with directions such as the sample's sum of gradients.

Index letters: n examples, D directions, L layers, P parameters.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mcoherence.gradients.batch.evidence import Evidence
from mcoherence.gradients.example_products import FirstPass, products_of, require_sums
from mcoherence.gradients.example_rows import ExampleRows, OrderedExamples
from mcoherence.gradients.given.layer_names import layer_of
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.own_left_out import products_with_others
from mcoherence.gradients.pairs import share_helped
from mcoherence.gradients.requested_directions import Along, Direction, members_of, requested, tensors_of
from mcoherence.gradients.rounding import share_of_products
from mcoherence.gradients.statistics import require_number, statistics_of
from mcoherence.gradients.sweep.sample_pass import (
    Totals,
    checked_batches,
    group_names,
    indices_of_groups,
    measured_batches,
    measuring,
    pieces,
    require_known_order,
)
from mcoherence.gradients.sweep.tally import Tally

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class ExampleStatistics:
    """What is known of each of n examples at one set of weights, in the order of the batches.

    layers: names of the L modules that own the trainable parameters, in the model's order.
    sq_norms: |g_i|^2 by layer, float64 [n, L].
    directions: names of the D directions.
    products: g_i . V_d by layer, float64 [D, n, L].
    losses: float64 [n].
    groups: names of the groups, and group_ids: int64 [n], the positions in them.
    own_left_out: names of the directions that are sums taken without the example's own gradient (`leave_one_out`).
    evidence: what was checked while measuring; fingerprint: digest of the weights and buffers.
    device, fp32_precision: what computed them, as of `GradientStatistics`.
    """

    layers: tuple[str, ...]
    sq_norms: NDArray[np.float64]
    directions: tuple[str, ...]
    products: NDArray[np.float64]
    losses: NDArray[np.float64]
    groups: tuple[str, ...]
    group_ids: NDArray[np.int64]
    own_left_out: tuple[str, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    fingerprint: str = ""
    device: str = ""
    fp32_precision: str = ""

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
        """g_i . V {direction: float64 [n]}: what example i's loss falls by, to first order, in a unit step along -V.

        V is the sum without g_i for the directions in `own_left_out`.
        """
        return {name: self.products[index].sum(axis=1) for index, name in enumerate(self.directions)}

    @property
    def dot_by_layer(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """g_i . V {direction: {layer: float64 [n]}}."""
        return {
            name: {layer: self.products[index, :, place] for place, layer in enumerate(self.layers)}
            for index, name in enumerate(self.directions)
        }

    def share_helped(self, direction: str, groups: Sequence[str] | None = None) -> float:
        """The share of the examples of `groups` (None: all) whose loss a step along -V lowers: those with g_i . V > 0.

        Without `leave_one_out` an example helps itself; with it, the share is an unbiased one for a step on the others.
        NaN of no examples.

        Raises:
            ValueError: there is no such direction or group.
        """
        if direction not in self.directions:
            raise ValueError(f"direction: found {direction!r}, expected one of {list(self.directions)} (`along`)")
        chosen = np.isin(self.group_ids, indices_of_groups(groups, self.groups))
        return share_helped(self.dot[direction][chosen])

    def to_dataframe(self) -> "pd.DataFrame":
        """One row an example: index (its place in the batches), loss, sq_norm, and its product with every direction.

        Columns of products are dot_NAME, or dot_NAME_of_others for a sum without the own gradient (`own_left_out`).
        """
        from mcoherence.gradients.showing import frame_of_examples

        return frame_of_examples(self)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Norms against products with the first direction, or a histogram of norms; on a new figure without `ax`."""
        from mcoherence.gradients.showing import plot_of_examples

        return plot_of_examples(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it to an HDF5 file with a schema; UserError where it cannot be."""
        from mcoherence.gradients.storing import save_examples

        save_examples(path, vars(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ExampleStatistics":
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
            which is g_i . S - |g_i|^2; 0 where that is rounding of |g_i| |S|. Other directions stay as they are.
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

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> inputs, targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.zeros(3)
        >>> examples = example_statistics(model, lambda outputs, _: outputs[:, 0], [(inputs, targets)], along="sum")
        >>> examples.sq_norm.tolist(), examples.dot["sum"].tolist()  # S = (2, 1)
        ([1.0, 1.0, 1.0], [2.0, 2.0, 1.0])
    """
    names = group_names(groups)
    require_number(spot_check)
    require_known_order(batches)
    wanted = requested(along, groups)
    if wanted and iter(batches) is batches:
        raise ValueError(
            "batches: found an iterator, which can be gone through once, expected a list or a loader: products with "
            "directions take a second pass"
        )
    with measuring(model, loss_fn, tf32=tf32) as now:
        totals = Totals(len(names), now.passes.parameters)
        tally = Tally(now.passes, spot_check, 2 if groups is None else 3)
        found = ExampleRows(tuple(now.passes.parameters))
        kept = FirstPass(now.passes.capture) if wanted else None
        for piece, measured in measured_batches(now.passes, tally, batches, groups):
            totals.add(piece.group, measured)
            found.add(piece, measured)
            if kept is not None:
                kept.add(piece)
        now.require_unchanged()
        statistics = statistics_of(names, now, totals, tally)
        rows = found.in_order()
        directions = tensors_of(wanted, statistics, now, model)
        products = np.zeros((len(wanted), statistics.evidence.examples_measured, len(rows.layers)))
        if kept is not None:
            products = products_of(now, directions, rows, kept, pieces(checked_batches(batches, groups), groups))
            kept.spot_check(now, directions, products, rows, spot_check)
            require_sums(now, directions, statistics, rows, products)
            products *= directions.scales.numpy()[:, None, None]
            now.require_unchanged()
    own_left_out: tuple[str, ...] = ()
    if leave_one_out:
        products = _without_own(products, wanted, names, rows, now.passes.parameters)
        own_left_out = tuple(name for name, direction in wanted.items() if isinstance(direction, str))
    return ExampleStatistics(
        layers=statistics.layers,
        sq_norms=rows.sq_norms,
        directions=tuple(wanted),
        products=products,
        losses=rows.losses,
        groups=names,
        group_ids=rows.group_ids,
        own_left_out=own_left_out,
        evidence=statistics.evidence,
        fingerprint=statistics.fingerprint,
        device=statistics.device,
        fp32_precision=statistics.fp32_precision,
    )


def _without_own(
    products: NDArray[np.float64],
    wanted: Mapping[str, Direction],
    groups: Sequence[str],
    rows: OrderedExamples,
    parameters: Mapping[str, nn.Parameter],
) -> NDArray[np.float64]:
    """Products [D, n, L] with an example's own gradient taken out of the sums that it is part of."""
    dtypes = {layer: [p.dtype for name, p in parameters.items() if layer_of(name) == layer] for layer in rows.layers}
    rounding = np.array([share_of_products(*dtypes[layer]) for layer in rows.layers])
    left = products.copy()
    for index, direction in enumerate(wanted.values()):
        if isinstance(direction, str):
            members = members_of(direction, groups, rows.group_ids)
            left[index, members] = products_with_others(products[index, members], rows.sq_norms[members], rounding)
    return left
