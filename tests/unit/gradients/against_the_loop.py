"""The judge of a measured network: every number against the loop over single examples, and everything left as found.

Index letters: n examples, G groups, P parameters.
"""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import mcoherence
from mcoherence import gradient_statistics
from mcoherence.gradients.statistics import GradientStatistics

GROUPS = ("a", "b")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


Gradients = Sequence[tuple[int, dict[str, Tensor]]]  # (group, {parameter name: gradient}) of every example


def judged(model: nn.Module, loss_fn: Callable, batches: Sequence[tuple[Tensor, ...]], rel: float = 1e-7) -> str:
    """What `judged_by` the loop says of a model."""
    return judged_by(loop(model, loss_fn, batches), model, loss_fn, batches, rel)


def judged_by(
    exact: Gradients, model: nn.Module, loss_fn: Callable, batches: Sequence[tuple[Tensor, ...]], rel: float = 1e-7
) -> str:
    """What `gradient_statistics` made of a model in float64: "measured", or the error in which it refused.

    Batches are (inputs, targets), or with group ids for GROUPS; `exact` is what the loop gave for them.

    Raises:
        AssertionError: a number is not that of the loop, or something was not left as found.
        Exception: any error that is not the package's own.
    """
    found = snapshot(model)
    try:
        statistics = gradient_statistics(model, loss_fn, batches, groups=GROUPS if len(batches[0]) == 3 else None)
    except Exception as error:
        if not is_own(error):
            raise
        outcome = f"{type(error).__name__}: {error}"
    else:
        assert_equal(statistics, exact, [len(batch[0]) for batch in batches], rel)
        outcome = "measured"
    left = snapshot(model)
    assert left.keys() == found.keys()
    changed = [name for name in found if not same(found[name], left[name])]
    assert not changed, f"not left as found: {changed}; {outcome}"
    return outcome


def is_own(error: Exception) -> bool:
    """Whether an error is one of the package, or a ValueError that the package itself raised."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    inside = Path(mcoherence.__file__).parent in raised_in.parents
    return type(error).__module__.startswith("mcoherence") or (isinstance(error, ValueError) and inside)


def loop(model: nn.Module, loss_fn: Callable, batches: Sequence[tuple[Tensor, ...]]) -> Gradients:
    """(group, {parameter name: gradient}) of every example in eval mode.

    An example is passed twice in a batch and its first loss taken: a batch of one has a wrong gradient where torch's
    batch norm has one (torch 2.15, on the CPU, an output gradient with its channels last).
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    modes = {module: module.training for module in model.modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rows = []
    with torch.random.fork_rng(devices=[]):
        model.eval()
        for inputs, targets, *ids in batches:
            for i in range(len(inputs)):
                losses = loss_fn(model(inputs[[i, i]]), targets[[i, i]])
                found: Sequence[Tensor | None] = [None] * len(named)
                if losses.requires_grad and named:
                    found = torch.autograd.grad(losses[0], list(named.values()), allow_unused=True)
                gradients = {
                    name: torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
                    for (name, p), g in zip(named.items(), found, strict=True)
                }
                rows.append((int(ids[0][i]) if ids else 0, gradients))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not torch.equal(value, state[name]):
                value.copy_(state[name])
    for module, training in modes.items():
        module.training = training
    return rows


def assert_equal(statistics: GradientStatistics, exact: Gradients, sizes: Sequence[int], rel: float) -> None:
    """Q and the Gram matrix of every parameter and group, and |S|^2 by layer and in all."""
    assert statistics.evidence.examples_measured == len(exact) == sum(sizes)
    total_sq_norms, gram, counts = expected(statistics, exact)
    assert [statistics.n[name] for name in statistics.groups] == counts.tolist()
    # A gradient that vanishes by cancellation is known up to rounding of what cancelled; losses are of the order of 1.
    whole = total_sq_norms.sum()
    tiny = 1e-22 * (whole + 1e-4)
    for index, name in enumerate(statistics.parameters):
        q, s = total_sq_norms[:, index], gram[:, :, index]
        close(statistics.sum_sq_norms[:, index], q, rel * q + tiny, f"Q of {name}")
        norms = np.sqrt(counts * q)
        rounding = rel * np.sqrt(np.outer(np.diag(s), np.diag(s))) + 1e-12 * np.outer(norms, norms) + tiny
        close(statistics.gram[:, :, index], s, rounding, f"S.S of {name}")
    squared = gram.sum(axis=(0, 1))
    slack = 1e-11 * counts.sum() * whole + tiny
    close(np.array(statistics.sq_norm_of_sum()), squared.sum(), rel * squared.sum() + slack, "|S|^2 of all")
    close(np.array(statistics.sum_sq_norm()), whole, rel * whole + tiny, "Q of all")


def expected(
    statistics: GradientStatistics, exact: Gradients
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Q [G, P], S_a . S_b [G, G, P] and n [G] of the loop's gradients."""
    count, names = len(statistics.groups), statistics.parameters
    q, gram = np.zeros((count, len(names))), np.zeros((count, count, len(names)))
    for index, name in enumerate(names):
        sums = torch.zeros(count, exact[0][1][name].numel(), dtype=exact[0][1][name].dtype)
        for group, gradients in exact:
            flat = gradients[name].reshape(-1)
            q[group, index] += float(flat.abs().square().sum())
            sums[group] += flat
        gram[:, :, index] = (sums @ sums.mH).real.numpy()
    return q, gram, np.bincount([group for group, _ in exact], minlength=count)


def close(found: Any, wanted: Any, allowed: Any, what: str) -> None:
    assert np.all(np.abs(found - wanted) <= allowed), f"{what}: found {found}, expected {wanted}"


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that a measurement is to leave as it was."""
    found: dict[str, Any] = {
        "torch's generator": torch.get_rng_state(),
        "gradients are recorded": torch.is_grad_enabled(),
        "parameters": [id(p) for p in model.parameters()],
        "hooks on all modules": [
            list(getattr(nn.modules.module, name))
            for name in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
        ],
    }
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        hooks = list(value._backward_hooks or ())
        found[name] = (value.detach().clone(), value.grad, value.requires_grad, value.dtype, hooks)
        if value.grad is not None:
            found[f"{name}.grad"] = value.grad.clone()
    for name, module in model.named_modules():
        hooks = [list(getattr(module, kind)) for kind in HOOKS]
        found[f"module {name!r}"] = (module.training, hooks, sorted(vars(module)), sorted(module._parameters))
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and (one is other or torch.equal(one, other))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
