"""Sums of per-example gradients and of their squared norms, per group and parameter, in one pass over the data.

Index letters: n examples of a batch, G groups, P parameters.

The quantity is defined in eval mode: batch norm uses its running statistics and dropout is off, so that the gradient of
an example does not depend on its batch. A layer that mixes the examples of a batch even in eval mode is refused.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence import coherence
from mcoherence.gradients import noise
from mcoherence.gradients.batch.evidence import Evidence
from mcoherence.gradients.batch.group_sums import products_of_sums
from mcoherence.gradients.given.layer_names import layer_of, layers_of
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.rounding import share_of_sums
from mcoherence.gradients.sweep.sample_pass import (
    WHOLE_SAMPLE as WHOLE_SAMPLE,  # readers of results know it by this path
)
from mcoherence.gradients.sweep.sample_pass import (
    Measuring,
    Totals,
    group_names,
    indices_of_groups,
    measured_batches,
    measuring,
)
from mcoherence.gradients.sweep.tally import Tally

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Level = Literal["model", "layer", "parameter"]


@dataclass(frozen=True, repr=False)
class GradientStatistics:
    """S_a = sum_i g_i and Q_a = sum_i |g_i|^2 for each group a of a sample, at one set of weights.

    groups: names of the G groups.
    parameters: qualified names of the P trainable parameters, in the model's order.
    counts: number of examples per group, int64 [G].
    sum_sq_norms: Q per group and parameter, float64 [G, P].
    group_sums: S per parameter, one tensor [G, *parameter shape] each, on the device that they were measured on.
    evidence: what was checked while measuring.
    fingerprint: digest of the weights and buffers that were measured; "" where it is not known.
    device: that computed them, such as "cuda (NVIDIA H200)"; fp32_precision: "ieee", or "tf32" where float32 products
    might be that; both "" where they are not known, and of all parts of what was merged.
    """

    groups: tuple[str, ...]
    parameters: tuple[str, ...]
    counts: NDArray[np.int64]
    sum_sq_norms: NDArray[np.float64]
    group_sums: tuple[Tensor, ...]
    evidence: Evidence = field(default_factory=Evidence)
    fingerprint: str = ""
    device: str = ""
    fp32_precision: str = ""

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
        return products_of_sums(self.group_sums, len(self.groups))

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
        """m-coherence / n over the union of `groups`, in [0, 1] (arXiv 2203.10036); NaN for no examples."""
        return self._of_examples(coherence.alpha, by, groups)

    @overload
    def gradient_diversity(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def gradient_diversity(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def gradient_diversity(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """Q / |S|^2 over the union of `groups`; `mcoherence.gradients.noise` has it and the next four."""
        return self._ratio(noise.gradient_diversity, by, groups)

    @overload
    def gradient_variance(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def gradient_variance(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def gradient_variance(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """tr(Sigma), the variance of an example's gradient, unbiased, 0 where it is rounding; NaN for n < 2."""
        return self._of_examples(partial(noise.gradient_variance, rounding=self._rounding), by, groups)

    @overload
    def mean_gradient_sq_norm(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def mean_gradient_sq_norm(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def mean_gradient_sq_norm(
        self, by: Level = "model", groups: Sequence[str] | None = None
    ) -> float | dict[str, float]:
        """|G|^2, the squared norm of the expected gradient, unbiased; NaN for fewer than two examples."""
        return self._of_examples(noise.mean_gradient_sq_norm, by, groups)

    @overload
    def noise_scale(self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...) -> float: ...
    @overload
    def noise_scale(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def noise_scale(self, by: Level = "model", groups: Sequence[str] | None = None) -> float | dict[str, float]:
        """tr(Sigma) / |G|^2, the simple gradient noise scale; NaN where the estimate of |G|^2 is not above 0."""
        return self._of_examples(
            lambda squared, total, n: noise.noise_scale(
                noise.gradient_variance(squared, total, n, self._rounding),
                noise.mean_gradient_sq_norm(squared, total, n),
            ),
            by,
            groups,
        )

    @overload
    def gradient_signal_to_noise_ratio(
        self, by: Literal["model"] = ..., groups: Sequence[str] | None = ...
    ) -> float: ...
    @overload
    def gradient_signal_to_noise_ratio(
        self, by: Literal["layer", "parameter"], groups: Sequence[str] | None = ...
    ) -> dict[str, float]: ...
    def gradient_signal_to_noise_ratio(
        self, by: Level = "model", groups: Sequence[str] | None = None
    ) -> float | dict[str, float]:
        """GSNR of the sample by model, layer or tensor: alpha / (1 - alpha); infinite without variance."""
        return self._of_examples(partial(noise.gradient_signal_to_noise_ratio, rounding=self._rounding), by, groups)

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
        sums = tuple(a + b.to(a.device) for a, b in zip(self.group_sums, other.group_sums, strict=True))
        return GradientStatistics(
            groups=self.groups,
            parameters=self.parameters,
            counts=self.counts + other.counts,
            sum_sq_norms=self.sum_sq_norms + other.sum_sq_norms,
            group_sums=sums,
            evidence=self.evidence.merge(other.evidence),
            fingerprint=self.fingerprint if self.fingerprint == other.fingerprint else "",
            device=_of_both(self.device, other.device),
            fp32_precision=_of_both(self.fp32_precision, other.fp32_precision),
        )

    def to_dataframe(self, by: Level = "layer") -> "pd.DataFrame":
        """One row for each group and layer (or parameter, or the model): n, Q, |S|^2, m-coherence, alpha."""
        from mcoherence.gradients.showing import frame_of_statistics

        return frame_of_statistics(self, by)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Alpha by layer, for each group; on a new figure without `ax`."""
        from mcoherence.gradients.showing import plot_of_statistics

        return plot_of_statistics(self, ax)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it, S included, to an HDF5 file with a schema: once read again, it can be merged."""
        from mcoherence.gradients.storing import save_sums

        save_sums(path, vars(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "GradientStatistics":
        """What `save` has written, to the bit; UserError in one line where the file is missing, damaged or another."""
        from mcoherence.gradients.storing import load_sums

        return cls(**load_sums(path))

    def __str__(self) -> str:
        from mcoherence.gradients.showing import text_of_statistics

        return text_of_statistics(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from mcoherence.gradients.showing import html_of_statistics

        return html_of_statistics(self)

    def _indices(self, groups: Sequence[str] | None) -> list[int]:
        return indices_of_groups(groups, self.groups)

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

    def _of_examples(
        self, measure: Callable[[float, float, int], Any], by: Level, groups: Sequence[str] | None
    ) -> float | dict[str, float]:
        """A measure of |S|^2, Q and n."""
        n = int(self.counts[self._indices(groups)].sum())
        return self._ratio(lambda squared, total: measure(squared, total, n), by, groups)

    @property
    def _rounding(self) -> float:
        """The share of Q that is rounding."""
        return share_of_sums(*(sums.dtype for sums in self.group_sums))

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
    batches: Iterable[tuple[Any, ...]],
    groups: Sequence[str] | None = None,
    *,
    spot_check: int = 1,
    tf32: bool = False,
) -> GradientStatistics:
    """Exact S and Q per group and parameter, from one forward and one backward pass per example.

    Measured in eval mode, with gradients on whatever surrounds the call. Weights, buffers, `.grad`, `requires_grad`,
    the mode of every module and the generators of torch, NumPy and Python are left as found.
    Groups may be mixed in a batch: examples wait until there are enough of their group for a batch of it alone. Small
    batches that follow each other go through an `nn.Sequential` of torch's own layers together (docs/gradients.md says
    when).

    Parameters whose gradient no call of their own module accounts for (tied weights, modules used twice, hooks)
    are measured exactly too, at the cost of a further pass through the whole model by vmap or, where the model cannot
    be vectorised, of a loop over the examples for these parameters; the evidence names them.

    Args:
        model: any torch model whose output for an example depends on that example alone; one that is wrapped for
            several devices or compiled is measured within its wrapper, by its own names.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n]; CrossEntropyLoss(reduction="none"), say.
        batches: (inputs [n, ...], targets [n, ...]), or with `groups` (inputs, targets, group_ids [n]): integers, or a
            mask of two groups, in a tensor, an array or a list. Inputs and targets may be tuples, lists and dicts of
            such tensors; a tuple is handed to the model as its arguments, a dict as its keyword arguments, if they fit
            its forward, else the whole as one.
        groups: names of the groups that group_ids count from 0; None measures one group named "all".
        spot_check: number of random examples of the first batch that are measured once more one by one and compared;
            0 for none. Unless it is 0, the loss of one example of every further size of batch is compared too; in a
            batch whose forward pass selects rows by content or draws random numbers, the losses of all; and in one that
            reads values of tensors (`if mask.all()`), those of the examples that would read others alone.
            docs/gradients.md says what cannot be found so.
        tf32: whether float32 products may be TF32's on a GPU that has it; see `mcoherence.precision`.

    Raises:
        UnsupportedModelError: the per-example gradients cannot be had exactly; the message names the module.
        IdentityError: the result breaks an identity that exact statistics obey, or gradients are not finite.
        ValueError: there are no examples, a batch is not as above, or the losses are not one per example.

    Example:
        With the output as its loss, a linear unit's gradient is the input: here (1, 0) twice and (0, 1) once.

        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> inputs, targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.zeros(3)
        >>> batch = (inputs, targets, torch.tensor([0, 0, 1]))
        >>> statistics = gradient_statistics(model, lambda outputs, _: outputs[:, 0], [batch], groups=["two", "one"])
        >>> statistics.sq_norm_of_sum(), statistics.sum_sq_norm()  # S = (2, 1)
        (5.0, 3.0)
        >>> statistics.m_coherence(groups=["two"]), statistics.alpha(groups=["two"])
        (2.0, 1.0)
    """
    names = group_names(groups)
    require_number(spot_check)
    with measuring(model, loss_fn, tf32=tf32) as now:
        totals = Totals(len(names), now.passes.parameters)
        tally = Tally(now.passes, spot_check, 2 if groups is None else 3)
        for piece, measured in measured_batches(now.passes, tally, batches, groups):
            totals.add(piece.group, measured)
        now.require_unchanged()
    return statistics_of(names, now, totals, tally)


def statistics_of(groups: tuple[str, ...], now: Measuring, totals: Totals, tally: Tally) -> GradientStatistics:
    """The statistics of what was added up, with the evidence of the tally; errors of `gradient_statistics`."""
    totals.require_examples()
    parameters = tuple(now.names[name] for name in now.passes.parameters)
    sums = totals.sums.stacked()
    evidence = tally.evidence(totals.counts, totals.sum_sq_norms, sums).require()
    evidence = replace(evidence, by_whole_model=tuple(now.names[name] for name in evidence.by_whole_model))
    return GradientStatistics(
        groups=groups,
        parameters=parameters,
        counts=totals.counts,
        sum_sq_norms=totals.sum_sq_norms,
        group_sums=sums,
        evidence=evidence,
        fingerprint=now.fingerprint,
        device=now.device,
        fp32_precision=now.fp32_precision,
    )


def _of_both(one: str, other: str) -> str:
    """What two parts say, each once; a part says several things where it was merged of some."""
    return "; ".join(dict.fromkeys(said for part in (one, other) for said in part.split("; ") if said))


def require_number(spot_check: int) -> None:
    """Raise ValueError unless it is a number of examples."""
    if spot_check < 0:
        raise ValueError(f"spot_check: found {spot_check}, expected a number of examples, or 0 for none")
