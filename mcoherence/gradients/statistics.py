"""Sums of per-example gradients and of their squared norms, per group and parameter, in one pass over the data.

Index letters: n examples of a batch, G groups, P parameters.

The quantity is defined in eval mode: batch norm uses its running statistics and dropout is off, so that the gradient of
an example does not depend on its batch. A layer that mixes the examples of a batch even in eval mode is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence import coherence
from mcoherence.gradients.capture import Capture, UnsupportedModelError
from mcoherence.gradients.eval_mode import eval_mode

LossFunction = Callable[[Tensor, Tensor], Tensor]
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
    """

    groups: tuple[str, ...]
    parameters: tuple[str, ...]
    counts: NDArray[np.int64]
    sum_sq_norms: NDArray[np.float64]
    group_sums: tuple[Tensor, ...]

    @property
    def n(self) -> dict[str, int]:
        """Number of examples by group."""
        return {group: int(count) for group, count in zip(self.groups, self.counts, strict=True)}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules that own the parameters, each once, in the model's order."""
        return tuple(dict.fromkeys(layer_of(parameter) for parameter in self.parameters))

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """Inner products of the groups' gradient sums, S_a . S_b, float64 [G, G, P]."""
        products = []
        for sums in self.group_sums:
            flat = sums.flatten(1).to(torch.float64)
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
        return self._by(by, self.gram[np.ix_(chosen, chosen)].sum(axis=(0, 1)))

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


def layer_of(parameter: str) -> str:
    """The qualified name of the module that owns a parameter: "conv1" for "conv1.weight", "" for the model itself."""
    return parameter.rpartition(".")[0]


def gradient_statistics(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[tuple[Tensor, ...]],
    groups: Sequence[str] | None = None,
) -> GradientStatistics:
    """Exact S and Q per group and parameter, from one forward and one backward pass per example.

    Measured in eval mode. Weights, `.grad`, the mode of every module and torch's generators are left as found.
    A batch that holds several groups is passed through the model group by group; give batches of one group each where
    speed matters.

    Args:
        model: any torch model whose output for an example depends on that example alone.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n]; CrossEntropyLoss(reduction="none"), say.
        batches: (inputs [n, ...], targets [n, ...]), or with `groups` (inputs, targets, group_ids int [n]).
        groups: names of the groups that group_ids count from 0; None measures one group named "all".

    Raises:
        UnsupportedModelError: the per-example gradients cannot be had exactly; the message names the module.
        ValueError: the losses are not one per example, or a group id is out of range.
    """
    names = tuple(groups) if groups is not None else (WHOLE_SAMPLE,)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _refuse_unsupported(model)
    counts = np.zeros(len(names), dtype=np.int64)
    sum_sq_norms = np.zeros((len(names), len(parameters)))
    sums = [
        p.new_zeros((len(names), *p.shape), dtype=_sum_dtype(p.dtype), requires_grad=False) for p in parameters.values()
    ]

    capture = Capture(model)
    with eval_mode(model), torch.enable_grad(), capture.active():
        for group, inputs, targets in _batches_of_one_group(batches, groups is not None, len(names)):
            gradients, squared_norms = _one_pass(model, loss_fn, capture, parameters, inputs, targets)
            counts[group] += len(inputs)
            for index, gradient in enumerate(gradients):
                if gradient is not None:
                    sums[index][group] += gradient
            for index, name in enumerate(parameters):
                if name in squared_norms:
                    sum_sq_norms[group, index] += float(squared_norms[name].sum())
    return GradientStatistics(names, tuple(parameters), counts, sum_sq_norms, tuple(s.cpu() for s in sums))


def _one_pass(
    model: nn.Module,
    loss_fn: LossFunction,
    capture: Capture,
    parameters: dict[str, nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
) -> tuple[Sequence[Tensor | None], dict[str, Tensor]]:
    """Sum of the gradients per parameter (None: takes no part), and |g_i|^2 by parameter name, of one batch."""
    device = next(iter(parameters.values())).device
    capture.start_batch()
    losses = loss_fn(model(inputs.to(device)), targets.to(device))
    if losses.shape != (len(inputs),):
        raise ValueError(
            f"loss_fn: found losses of shape {tuple(losses.shape)}, expected one per example, ({len(inputs)},); "
            'use reduction="none"'
        )
    gradients = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
    squared_norms = capture.collected()
    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and name not in squared_norms:
            raise UnsupportedModelError(
                f"parameter {name!r} takes part in the loss without a call of the module that owns it; "
                "call that module, or move the parameter into a module of its own"
            )
    return gradients, squared_norms


def _batches_of_one_group(
    batches: Iterable[tuple[Tensor, ...]], grouped: bool, count: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(group, inputs, targets) for every group present in every batch; empty batches are passed over."""
    for batch in batches:
        inputs, targets = batch[0], batch[1]
        ids = batch[2] if grouped else torch.zeros(len(inputs), dtype=torch.int64)
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < count):
            raise ValueError(f"group_ids: found {int(ids.min())}..{int(ids.max())}, expected 0..{count - 1}")
        for group in torch.unique(ids).tolist():
            members = ids == group
            if bool(members.all()):
                yield group, inputs, targets
            else:
                yield group, inputs[members.to(inputs.device)], targets[members.to(targets.device)]


def _refuse_unsupported(model: nn.Module) -> None:
    """Raise UnsupportedModelError for tied parameters and for layers that mix the examples of a batch in eval mode."""
    owners: dict[int, list[str]] = {}
    for module_name, module in model.named_modules():
        for name, p in module.named_parameters(recurse=False):
            if p.requires_grad:
                owners.setdefault(id(p), []).append(f"{module_name}.{name}" if module_name else name)
    tied = [" = ".join(names) for names in owners.values() if len(names) > 1]
    if tied:
        raise UnsupportedModelError(f"tied parameters {'; '.join(tied)}: their uses share one gradient; untie them")
    mixing = [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if mixing:
        raise UnsupportedModelError(
            f"batch norm without running statistics: {', '.join(mixing)}; it mixes the examples of a batch even in "
            "eval mode, so that no example has a gradient of its own; use track_running_stats=True or another norm"
        )


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Sums of gradients are kept in float32 or wider, whatever the model's dtype."""
    return torch.promote_types(dtype, torch.float32)
