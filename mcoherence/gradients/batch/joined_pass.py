"""One pass of several batches through a model that keeps examples apart (`example_wise`).

A loss function is anybody's code. It may depend on how many examples it is given, or on the batch as a whole, and keep
or write to what it is given. So it is handed the outputs of one batch after the other, as without joining, and is
differentiated before it is asked again. The model then has one backward pass, from these gradients.

Index letters: N examples of all batches, n of one of them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mcoherence.device import sent
from mcoherence.gradients.batch.example_wise import layer_settings
from mcoherence.gradients.batch.layers import has_node_hooks
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.given.losses import LossFunction, require_losses
from mcoherence.gradients.given.reading import read
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.given.trees import fresh, outputs_of, usable
from mcoherence.gradients.graph.alignment import in_doubt
from mcoherence.gradients.graph.untraced import Untraced
from mcoherence.gradients.graph.walk import users_below
from mcoherence.gradients.graph.watching import Watch
from mcoherence.gradients.layer_rules.products import least


class StaysApartError(Exception):
    """Batches that were joined are to be measured one by one."""


class NetworkChangedError(UnsupportedModelError):
    """The loss function changes the network while it is measured."""


NETWORK_CHANGED = (
    "the loss function changes the network while it is measured (a setting, a layer or a hook), expected one that "
    "leaves it as it is; change the network between two calls"
)


@dataclass(frozen=True)
class PartLosses:
    """The losses of one of the batches.

    losses: [n].
    output_grads: gradient of their sum with respect to the batch's outputs, [n, ...].
    overwritten: a truth value, [], whether the loss wrote over its outputs unseen, which the model may have saved.
    may_mix: whether examples may have met in it where no gradient shows it.
    """

    losses: Tensor
    output_grads: Tensor
    overwritten: Tensor
    may_mix: bool


def measure_joined(passes: Passes, inputs: Tensor, targets: Sequence[Tensor]) -> BatchSums:
    """Sums of gradients and squared norms of several batches as one.

    Args:
        passes: through a model that is example-wise.
        inputs: of all batches, [N, ...].
        targets: of each batch, [n, ...].

    Raises:
        StaysApartError: the batches are not known to come out as by themselves.
        NetworkChangedError: the loss function has changed the network; asked again it would be another one.
        UnsupportedModelError, IdentityError, ValueError: as those of `Passes.measure`, and what the loss raises. Which
            batch is at fault, a pass of each will tell.
    """
    sizes, settings = [len(one) for one in targets], layer_settings(passes.model)
    inputs = passes.at_device(inputs)
    with torch.enable_grad():
        outputs = _outputs(passes, inputs)
        with passes.drawing:
            rows = torch.split(outputs, sizes)
            own = [fresh(usable(one)) for one in targets]
            parts = [losses_of_part(passes.loss_fn, *of_part) for of_part in zip(rows, own, strict=True)]
        hooks = has_node_hooks(passes.model) or any(p._backward_hooks for p in passes.parameters.values())
        if hooks or layer_settings(passes.model) != settings:
            raise NetworkChangedError(NETWORK_CHANGED)
        if passes.drawing.happened:
            raise StaysApartError
        batch = BatchSums(
            len(inputs),
            {},
            {},
            {},
            torch.cat([part.losses for part in parts]),
            may_mix=any(one.may_mix for one in parts),
        )
        output_grads = torch.cat([part.output_grads for part in parts])
        while (found := _differentiated(passes, outputs, output_grads, batch, inputs)) is None:
            outputs = _outputs(passes, inputs)
    doubts = [*(part.overwritten for part in parts), _lose_squares(passes, found, sizes)]
    if passes.capture.routed or read({"any": torch.stack(doubts).any()})["any"]:
        raise StaysApartError
    return found


def _outputs(passes: Passes, inputs: Tensor) -> Tensor:
    """What the model gives for the inputs, [N, ...]."""
    own = fresh(inputs)
    with passes.capture.recording(len(inputs)):
        outputs = outputs_of(passes.model, own)
    passes.require_unchanged()
    if not isinstance(outputs, Tensor) or not outputs.requires_grad or not outputs.dim() or len(outputs) != len(inputs):
        raise StaysApartError
    return outputs


def _differentiated(
    passes: Passes, outputs: Tensor, output_grads: Tensor, batch: BatchSums, inputs: Tensor
) -> BatchSums | None:
    passes.require_unchanged()
    if not passes.capture.route(outputs, example_wise=True):
        raise StaysApartError
    if not passes.capture.by_calls:
        raise StaysApartError
    return passes.differentiated(outputs, output_grads, batch, inputs)


def losses_of_part(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> PartLosses:
    """The losses of one batch, from its rows [n, ...] of the outputs, and from its targets [n, ...].

    Raises:
        StaysApartError: it is not known that the losses depend on these outputs alone, each on its own row.
        ValueError: they are not one per example.
    """
    rows = outputs.detach().clone().requires_grad_()
    of_part = rows.clone()  # no leaf, as what a model gives is none
    node, version = of_part.grad_fn, of_part._version
    with Watch(untraced=Untraced(len(rows), {}, [targets])) as watch:
        losses = loss_fn(of_part, targets)
    require_losses(losses, len(rows))
    if watch.hooks or watch.differentiates or watch.values_read or of_part._version != version:
        raise StaysApartError
    overwritten = (of_part.detach() != rows.detach()).any()  # or NaN
    gradient = None
    if losses.requires_grad:
        below = users_below([losses.grad_fn], {})
        assert node is not None
        if any(leaf is not rows for leaf in below.variables.values()) or in_doubt(below, [node], len(losses)):
            raise StaysApartError
        (gradient,) = torch.autograd.grad(losses.sum(), rows, allow_unused=True)
    if gradient is None:
        gradient = torch.zeros_like(rows)
    return PartLosses(losses.detach().clone(), gradient, overwritten, watch.may_mix())


def _lose_squares(passes: Passes, measured: BatchSums, sizes: Sequence[int]) -> Tensor:
    """Whether squares may have left the range of their dtype in one of the batches of these sizes alone, [].

    So it may be where all of them are 0 in one, and not in others.
    """
    alive = [name for name, total in measured.totals.items() if total > 0.0]
    if not alive:
        return torch.zeros((), dtype=torch.bool, device=measured.losses.device)
    together = torch.stack([measured.squared_norms[name] for name in alive])
    bounds = [sys.float_info.min] * len(alive)
    if not passes.capture.careful:
        own = [passes.parameters[name] for name in alive]
        bounds = [least(max(sizes) * p.numel(), p.dtype) for p in own]
    of_parts = torch.stack([part.sum(dim=1) for part in torch.split(together, list(sizes), dim=1)])
    return (of_parts < sent(torch.tensor(bounds, dtype=of_parts.dtype), of_parts.device)).any()
