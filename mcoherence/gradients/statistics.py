"""Sums of per-example gradients and of their squared norms, per group and parameter, in one pass over the data.

Index letters: n examples of a batch, G groups, P parameters.

The quantity is defined in eval mode: batch norm uses its running statistics and dropout is off, so that the gradient of
an example does not depend on its batch. A layer that mixes the examples of a batch even in eval mode is refused.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence import coherence
from mcoherence.device import has_no_float64
from mcoherence.gradients.eval_mode import eval_mode
from mcoherence.gradients.evidence import Evidence
from mcoherence.gradients.fingerprint import fingerprint
from mcoherence.gradients.group_sums import GroupSums, real_rows
from mcoherence.gradients.grouping import batches_of_one_group
from mcoherence.gradients.layer_names import layer_of, layers_of
from mcoherence.gradients.passes import Passes
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.refusal import UnsupportedModelError, no_graph_kept, refuse_unsupported
from mcoherence.gradients.tally import Tally
from mcoherence.precision import float32_products

Level = Literal["model", "layer", "parameter"]
WHOLE_SAMPLE = "all"


@dataclass(frozen=True)
class GradientStatistics:
    """S_a = sum_i g_i and Q_a = sum_i |g_i|^2 for each group a of a sample, at one set of weights.

    groups: names of the G groups.
    parameters: qualified names of the P trainable parameters, in the model's order.
    counts: number of examples per group, int64 [G].
    sum_sq_norms: Q per group and parameter, float64 [G, P].
    group_sums: S per parameter, one tensor [G, *parameter shape] each, on the CPU.
    evidence: what was checked while measuring.
    fingerprint: digest of the weights and buffers that were measured; "" where it is not known.
    """

    groups: tuple[str, ...]
    parameters: tuple[str, ...]
    counts: NDArray[np.int64]
    sum_sq_norms: NDArray[np.float64]
    group_sums: tuple[Tensor, ...]
    evidence: Evidence = field(default_factory=Evidence)
    fingerprint: str = ""

    @property
    def n(self) -> dict[str, int]:
        """Number of examples by group."""
        return {group: int(count) for group, count in zip(self.groups, self.counts, strict=True)}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules that own the parameters, each once, in the model's order."""
        return layers_of(self.parameters)

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """Inner products of the groups' gradient sums, S_a . S_b, float64 [G, G, P]; the real part of complex ones."""
        products = []
        for sums in self.group_sums:
            flat = real_rows(sums).to(torch.float64)
            products.append((flat @ flat.T).numpy())
        empty = np.zeros((len(self.groups), len(self.groups), 0))
        return np.stack(products, axis=-1) if products else empty

    @overload
    def sum_sq_norm(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def sum_sq_norm(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def sum_sq_norm(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """Q over the union of `groups` (None: all): one float for the model, else {layer or parameter name: float}."""
        chosen = self._indices(groups)
        return self._by(by, self.sum_sq_norms[chosen].sum(axis=0))

    @overload
    def sq_norm_of_sum(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def sq_norm_of_sum(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def sq_norm_of_sum(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """|S|^2 over the union of `groups` (None: all): one float for the model, else {name: float}."""
        chosen = self._indices(groups)
        gram = np.moveaxis(self.gram[np.ix_(chosen, chosen)], -1, 0)
        return self._by(by, coherence.union_sq_norm_of_sum(gram))

    @overload
    def m_coherence(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def m_coherence(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def m_coherence(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """|S|^2 / Q over the union of `groups` (arXiv 2008.01217); NaN where all gradients are zero, or of nothing."""
        return self._ratio(coherence.m_coherence, by, groups)

    @overload
    def alpha(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def alpha(self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...) -> dict[str, float]: ...
    def alpha(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """m-coherence / m over the union of `groups`, in [0, 1] (arXiv 2203.10036); NaN for no examples."""
        m = int(self.counts[self._indices(groups)].sum())
        return self._ratio(lambda squared, total: coherence.alpha(squared, total, m), by, groups)

    def merge(self, other: "GradientStatistics") -> "GradientStatistics":
        """The statistics of both samples together, exactly as if they had been measured in one go.

        That no example is in both is not looked at, nor that model code and loss were the same.

        Raises:
            ValueError: the two are of different groups, parameters, precisions or weights.
        """
        if self.groups != other.groups or self.parameters != other.parameters:
            raise ValueError(
                f"merge: found statistics of other groups or parameters, expected the same of both: groups "
                f"{list(self.groups)} and {list(other.groups)}, {len(self.parameters)} and {len(other.parameters)} "
                "parameters; measure both parts with the same groups and model"
            )
        for name, one, two in zip(self.parameters, self.group_sums, other.group_sums, strict=True):
            if one.shape != two.shape or one.dtype != two.dtype:
                raise ValueError(
                    f"merge: found parameter {name!r} of shape {tuple(one.shape[1:])} and {one.dtype} in one and "
                    f"{tuple(two.shape[1:])} and {two.dtype} in the other, expected the same model and precision"
                )
        if self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            raise ValueError(
                "merge: found statistics of other weights, expected both samples to be measured at the same; "
                "sums of gradients at different weights mean nothing"
            )
        sums = tuple(a + b for a, b in zip(self.group_sums, other.group_sums, strict=True))
        return GradientStatistics(
            self.groups,
            self.parameters,
            self.counts + other.counts,
            self.sum_sq_norms + other.sum_sq_norms,
            sums,
            self.evidence.merge(other.evidence),
            self.fingerprint if self.fingerprint == other.fingerprint else "",
        )

    def _indices(self, groups: Sequence[str] | None) -> list[int]:
        if isinstance(groups, str):
            raise ValueError(f"groups: found the string {groups!r}, expected a sequence of names")
        unknown = set(groups or ()) - set(self.groups)
        if unknown:
            raise ValueError(f"groups: found {sorted(unknown)}, expected names out of {list(self.groups)}")
        return [i for i, name in enumerate(self.groups) if groups is None or name in groups]

    def _by(self, by: Level, values: NDArray[np.float64]) -> float | dict[str, float]:
        """Values per parameter [P], summed up to the level asked for."""
        if by == "model":
            return float(values.sum())
        names = {"layer": [layer_of(p) for p in self.parameters], "parameter": self.parameters}.get(by)
        if names is None:
            raise ValueError(f"by: found {by!r}, expected 'model', 'layer' or 'parameter'")
        totals: dict[str, float] = dict.fromkeys(names, 0.0)
        for name, value in zip(names, values, strict=True):
            totals[name] += float(value)
        return totals

    def _ratio(
        self, measure: Callable[[float, float], Any], by: Level, groups: Sequence[str] | None
    ) -> float | dict[str, float]:
        if by == "model":
            return float(measure(self.sq_norm_of_sum("model", groups), self.sum_sq_norm("model", groups)))
        squared, total = self.sq_norm_of_sum(by, groups), self.sum_sq_norm(by, groups)
        return {name: float(measure(squared[name], total[name])) for name in squared}


def gradient_statistics(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[tuple[Tensor, ...]],
    groups: Sequence[str] | None = None,
    *,
    spot_check: int = 1,
    tf32: bool = False,
) -> GradientStatistics:
    """Exact S and Q per group and parameter, from one forward and one backward pass per example.

    Measured in eval mode, with gradients on whatever surrounds the call. Weights, buffers, `.grad`, `requires_grad`,
    the mode of every module and the generators of torch, NumPy and Python are left as found.
    Groups may be mixed in a batch: examples wait until there are enough of their group for a batch of it alone.

    Parameters whose gradient no call of their own module accounts for (tied weights, modules used twice, hooks)
    are measured exactly too, at the cost of a further pass through the whole model by vmap or, where the model cannot
    be vectorised, of a loop over the examples for these parameters; the evidence names them.

    Args:
        model: any torch model whose output for an example depends on that example alone.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n]; CrossEntropyLoss(reduction="none"), say.
        batches: (inputs [n, ...], targets [n, ...]), or with `groups` (inputs, targets, group_ids [n]): integers, or a
            mask of two groups, in a tensor, an array or a list.
        groups: names of the groups that group_ids count from 0; None measures one group named "all".
        spot_check: number of random examples of the first batch that are measured once more one by one and compared;
            0 for none. Unless it is 0, the loss of one example of every further size of batch is compared too, and in a
            batch whose forward pass reads values of tensors (`if x.mean() > 0`), selects rows by content or draws
            random numbers, the losses of all. docs/gradients.md says what cannot be found so.
        tf32: whether float32 products may be TF32's on a GPU that has it; see `mcoherence.precision`.

    Raises:
        UnsupportedModelError: the per-example gradients cannot be had exactly; the message names the module.
        IdentityError: the result breaks an identity that exact statistics obey, or gradients are not finite.
        ValueError: there are no examples, a batch is not as above, or the losses are not one per example.

    Example:
        With the output as its loss, a linear unit's gradient is the input: here (1, 0) twice and (0, 1) once.

        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> inputs, targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.zeros(3)
        >>> batch = (inputs, targets, torch.tensor([0, 0, 1]))
        >>> statistics = gradient_statistics(model, lambda outputs, _: outputs[:, 0], [batch], groups=["two", "one"])
        >>> statistics.sq_norm_of_sum(), statistics.sum_sq_norm()  # S = (2, 1)
        (5.0, 3.0)
        >>> statistics.m_coherence(groups=["two"]), statistics.alpha(groups=["two"])
        (2.0, 1.0)
    """
    names = _group_names(groups)
    if spot_check < 0:
        raise ValueError(f"spot_check: found {spot_check}, expected a number of examples, or 0 for none")
    refuse_unsupported(model)
    model = _where_float64_is(model)
    with float32_products(tf32), eval_mode(model) as state:
        passes = Passes(model, loss_fn, state)
        parameters = passes.parameters
        counts = np.zeros(len(names), dtype=np.int64)
        sum_sq_norms = np.zeros((len(names), len(parameters)))
        sums = GroupSums(len(names), parameters)
        tally = Tally(passes, spot_check, 2 if groups is None else 3)
        digest = fingerprint(model)
        with passes.capture.active(), no_graph_kept():
            for group, inputs, targets in _one_group_each(tally.counted(batches), groups is not None, names):
                measured = tally.checked(passes.measure(inputs, targets), inputs, targets)
                tally.uncovered.update(measured.sums.keys() - measured.squared_norms.keys())
                sums.add(group, measured.sums)
                counts[group] += len(inputs)
                totals = measured.totals
                for index, name in enumerate(parameters):
                    sum_sq_norms[group, index] += totals.get(name, 0.0)
        state.require_unchanged(every_value=True)
        if fingerprint(model) != digest:
            raise UnsupportedModelError(
                "a forward pass writes to weights in eval mode, behind autograd's back (by `.data`, say), so that "
                "examples were measured at different weights; take that out of the forward pass. The weights stay as "
                "they are now"
            )
    if not counts.sum():
        raise ValueError("batches: found no examples, expected at least one; an iterator that was used before is empty")
    statistics = GradientStatistics(names, tuple(parameters), counts, sum_sq_norms, sums.stacked(), fingerprint=digest)
    return replace(statistics, evidence=tally.evidence(counts, sum_sq_norms, statistics.group_sums).require())


def _where_float64_is(model: nn.Module) -> nn.Module:
    """The model, or a copy of it on the processor where it is on an Apple GPU: squared norms are float64."""
    if not any(has_no_float64(p.device) for p in model.parameters()):
        return model
    warnings.warn("measuring on the processor: Apple's GPU has no float64", stacklevel=3)
    return copy.deepcopy(model).cpu()


def _group_names(groups: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the groups; ValueError for none, for one twice, or for a string in their place."""
    if groups is None:
        return (WHOLE_SAMPLE,)
    names = tuple(groups)
    if isinstance(groups, str) or not names or len(set(names)) < len(names):
        raise ValueError(f"groups: found {groups!r}, expected a list of different names, one or more")
    return names


def _one_group_each(
    batches: Iterable[tuple[Any, ...]], grouped: bool, names: Sequence[str]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(group, inputs, targets) of one group each; without groups the batches as they are, less empty ones."""
    if grouped:
        return batches_of_one_group(((x, y, ids) for x, y, ids in batches), names)
    return ((0, batch[0], batch[1]) for batch in batches if len(batch[0]))
