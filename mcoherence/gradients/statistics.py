"""Sums of per-example gradients and of their squared norms, per group and parameter, in one pass over the data.

Index letters: n examples of a batch, G groups, P parameters.

The quantity is defined in eval mode: batch norm uses its running statistics and dropout is off, so that the gradient of
an example does not depend on its batch. A layer that mixes the examples of a batch even in eval mode is refused.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence import coherence
from mcoherence.gradients.eval_mode import eval_mode
from mcoherence.gradients.evidence import Evidence, bound_ratio
from mcoherence.gradients.group_sums import GroupSums
from mcoherence.gradients.grouping import batches_of_one_group
from mcoherence.gradients.layer_names import layer_of, layers_of
from mcoherence.gradients.passes import Passes
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.refusal import refuse_unsupported
from mcoherence.gradients.spot_check import spot_checked
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
    """

    groups: tuple[str, ...]
    parameters: tuple[str, ...]
    counts: NDArray[np.int64]
    sum_sq_norms: NDArray[np.float64]
    group_sums: tuple[Tensor, ...]
    evidence: Evidence = field(default_factory=Evidence)

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
        """Inner products of the groups' gradient sums, S_a . S_b, float64 [G, G, P]."""
        products = []
        for sums in self.group_sums:
            flat = sums.reshape(len(sums), -1).to(torch.float64)
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
        """|S|^2 / Q over the union of `groups` (arXiv 2008.01217); NaN where all gradients are zero."""
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

        Raises:
            ValueError: the two are of different models or groups.
        """
        if (self.groups, self.parameters) != (other.groups, other.parameters):
            raise ValueError("merge: found statistics of other groups or parameters, expected the same of both")
        sums = tuple(a + b for a, b in zip(self.group_sums, other.group_sums, strict=True))
        return GradientStatistics(
            self.groups,
            self.parameters,
            self.counts + other.counts,
            self.sum_sq_norms + other.sum_sq_norms,
            sums,
            self.evidence.merge(other.evidence),
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

    Measured in eval mode. Weights, `.grad`, the mode of every module and torch's generators are left as found.
    Groups may be mixed in a batch: examples wait until there are enough of their group for a batch of it alone.

    Parameters whose gradient no call of their own module accounts for (tied weights, modules used twice)
    are measured exactly too, at the cost of a further pass through the whole model by vmap or, where the model cannot
    be vectorised, of a loop over the examples for these parameters; the evidence names them.

    Args:
        model: any torch model whose output for an example depends on that example alone.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n]; CrossEntropyLoss(reduction="none"), say.
        batches: (inputs [n, ...], targets [n, ...]), or with `groups` (inputs, targets, group_ids int [n]).
        groups: names of the groups that group_ids count from 0; None measures one group named "all".
        spot_check: number of random examples of the first batch that are measured once more one by one and compared
            (of the first two batches, where the first is a single example); 0 for none. What it cannot find is what no
            other example shows: leave it on for a model that is not known to keep examples apart.
        tf32: whether float32 products may be TF32's on a GPU that has it; see `mcoherence.precision`.

    Raises:
        UnsupportedModelError: the per-example gradients cannot be had exactly; the message names the module.
        IdentityError: the result breaks an identity that exact statistics obey.
        ValueError: the losses are not one per example, or a group id is out of range.

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
    names = tuple(groups) if groups is not None else (WHOLE_SAMPLE,)
    refuse_unsupported(model)
    passes = Passes(model, loss_fn)
    parameters = passes.parameters
    counts = np.zeros(len(names), dtype=np.int64)
    sum_sq_norms = np.zeros((len(names), len(parameters)))
    sums = GroupSums(len(names), parameters)
    tally = _Tally(passes, spot_check)
    with float32_products(tf32), eval_mode(model), passes.capture.active():
        for group, inputs, targets in _one_group_each(tally.counted(batches), groups is not None, len(names)):
            measured = passes.measure(inputs, targets)
            norms = measured.squared_norms
            tally.uncovered.update(measured.sums.keys() - norms.keys())
            sums.add(group, measured.sums)
            del measured  # the spot check needs room for gradients of its own
            norms = tally.checked(norms, inputs, targets)
            counts[group] += len(inputs)
            for index, name in enumerate(parameters):
                if name in norms:
                    sum_sq_norms[group, index] += float(norms[name].sum())
    statistics = GradientStatistics(names, tuple(parameters), counts, sum_sq_norms, sums.stacked())
    return replace(statistics, evidence=tally.evidence(statistics).require())


@dataclass
class _Tally:
    """What is counted and checked while the batches of one call are measured.

    passes: those through the model.
    spot_check: number of examples of a batch to measure once more; 0 for none.
    asked: number of examples handed in so far.
    uncovered: names of the parameters that are in S and not in Q.
    spot_batch: size of the batch that was spot-checked last; 0 before the first.
    """

    passes: Passes
    spot_check: int
    asked: int = 0
    uncovered: set[str] = field(default_factory=set)
    spot_batch: int = 0
    spot_examples: int = 0
    spot_error: float = math.nan
    at_kink: bool = False

    def counted(self, batches: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        """The batches as they are, their examples counted as they are handed on."""
        for batch in batches:
            self.asked += len(batch[0])
            yield batch

    def checked(self, norms: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The |g_i|^2 of a batch {parameter name: float64 [n]}, put right where a spot check is due and asks for it.

        Due are the first batch and, where that is a single example, which shows nothing of a mix, the second.
        """
        n = len(inputs)
        if not self.spot_check or self.spot_batch >= min(2, n):
            return norms
        checked = spot_checked(self.passes, norms, inputs, targets, self.spot_check)
        self.spot_batch = n
        self.spot_examples += min(self.spot_check, n)
        self.spot_error = float(np.fmax(self.spot_error, checked.relative_error))
        self.at_kink |= checked.at_kink
        return checked.squared_norms

    def evidence(self, statistics: GradientStatistics) -> Evidence:
        """What the tally and the finished statistics, of which it was kept, are evidence of.

        Raises:
            IdentityError: |S|^2 / (n Q) of a group and layer is above 1.
        """
        parameters = self.passes.parameters
        return Evidence(
            examples_asked=self.asked,
            examples_measured=int(statistics.counts.sum()),
            parameters_trainable=sum(p.numel() for p in parameters.values()),
            parameters_covered=sum(p.numel() for name, p in parameters.items() if name not in self.uncovered),
            bound_ratio=bound_ratio(
                _sq_norms_of_sums(statistics.group_sums, len(statistics.groups)),
                statistics.sum_sq_norms,
                statistics.counts,
                statistics.parameters,
                torch.float64 if {s.dtype for s in statistics.group_sums} == {torch.float64} else torch.float32,
            ),
            spot_examples=self.spot_examples,
            spot_relative_error=self.spot_error,
            spot_at_kink=self.at_kink,
            by_whole_model=tuple(name for name in parameters if name in self.passes.capture.routed),
        )


def _sq_norms_of_sums(group_sums: Sequence[Tensor], groups: int) -> NDArray[np.float64]:
    """|S|^2 per group and parameter, float64 [G, P], of one tensor [G, *parameter shape] per parameter."""
    squared = [torch.linalg.vector_norm(s.reshape(len(s), -1), dim=1, dtype=torch.float64).square() for s in group_sums]
    return torch.stack(squared, dim=1).numpy() if squared else np.zeros((groups, 0))


def _one_group_each(
    batches: Iterable[tuple[Tensor, ...]], grouped: bool, count: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(group, inputs, targets) of one group each; without groups the batches as they are, less empty ones."""
    if grouped:
        return batches_of_one_group(batches, count)
    return ((0, batch[0], batch[1]) for batch in batches if len(batch[0]))
