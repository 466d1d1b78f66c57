"""The loss and the gradient of a single example: what everything else is held against.

An example is passed as a batch that holds it twice, of which the first loss counts: torch 2.15 gives a wrong input
gradient for eval-mode batch norm of a batch of one (BatchNorm2d on a CPU, with an output gradient that is laid out
channels-last).
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mcoherence.device import is_of_device
from mcoherence.errors import first_line
from mcoherence.gradients.given.losses import LossFunction, require_real
from mcoherence.gradients.given.reading import read
from mcoherence.gradients.given.refusal import MIXED, UnsupportedModelError
from mcoherence.gradients.given.trees import Tree, concatenated, fresh, leaves, outputs_of


def loss_and_gradients(
    model: Callable[[Tree], Any],
    loss_fn: LossFunction,
    parameters: Mapping[str, Tensor],
    inputs: Tree,
    targets: Tree,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss [1] of one example and its gradient {parameter name: [*shape]}; zeros where one takes no part.

    The model is run as it is: the caller sees to its mode.

    Args:
        model: any torch model, or what runs it.
        loss_fn: loss_fn(outputs, targets) -> per-example losses [n].
        parameters: those of the model to differentiate by, by name.
        inputs: [1, ...].
        targets: [1, ...].
    """
    with torch.enable_grad():
        loss = loss_alone(model, loss_fn, inputs, targets)
        gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if loss.requires_grad and parameters:
            gradients = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
    named = zip(parameters.items(), gradients, strict=True)
    return loss.detach(), {name: torch.zeros_like(p) if g is None else dense(g) for (name, p), g in named}


def loss_alone(model: Callable[[Tree], Any], loss_fn: LossFunction, inputs: Tree, targets: Tree) -> Tensor:
    """The loss [1] of one example, inputs [1, ...] and targets [1, ...], passed twice over as a batch of two.

    Raises:
        UnsupportedModelError: the model does not take a batch of that size; says so.
    """
    return loss_of_twins(model, loss_fn, twice(inputs), twice(targets))


def twice(one: Tree) -> Tree:
    """The batch [2, ...] that holds an example [1, ...] twice."""
    return concatenated([one, one])


def loss_of_twins(model: Callable[[Tree], Any], loss_fn: LossFunction, inputs: Tree, targets: Tree) -> Tensor:
    """`loss_alone` of the example that is `twice` in a batch, inputs [2, ...] and targets [2, ...]."""
    try:
        losses = loss_fn(outputs_of(model, inputs), targets)
    except Exception as error:
        of_device = is_of_device(error)
        if of_device:
            raise
        raise UnsupportedModelError(
            f"the model or the loss fails on one example, passed as a batch of two that are the same, shape "
            f"{_shape(inputs)}, with {type(error).__name__}: {first_line(error)}; let it "
            "take batches of any size (no fixed one, no .squeeze() of the axis of examples), or pass spot_check=0, "
            "with which single examples are left out where they can be"
        ) from error
    if losses.shape != (2,):
        raise ValueError(
            f"loss_fn: found losses of shape {tuple(losses.shape)} for two examples, expected one per example, (2,); "
            'use reduction="none", and no .squeeze() of the axis of examples'
        )
    require_real(losses)
    return losses[:1]


def require_same_alone(
    model: Callable[[Tree], Any], loss_fn: LossFunction, inputs: Tree, targets: Tree, loss: Tensor
) -> None:
    """Raise UnsupportedModelError if the loss [1] of an example is another in a batch of its own than `loss_alone`.

    A model that fails on a batch of one is let be: then there is no other loss.
    """
    try:
        single = loss_fn(outputs_of(model, fresh(inputs)), fresh(targets))
    except Exception as error:
        of_device = is_of_device(error)
        if of_device:
            raise
        return
    allowed = 1e-6 if loss.dtype == torch.float64 else 1e-2 if loss.dtype == torch.float32 else 0.3
    if isinstance(single, Tensor) and single.shape == (1,):
        one, two = read({0: single.detach()[0], 1: loss.detach()[0]}).values()
        if abs(one - two) > allowed * max(abs(one), abs(two), 1e-2):
            raise UnsupportedModelError(
                f"the loss of an example is {one:.6g} in a batch of its own and {two:.6g} in one that holds it twice; "
                f"{MIXED}"
            )


def _shape(inputs: Tree) -> str:
    return ", ".join(str(tuple(leaf.shape)) for leaf in leaves(inputs))


def dense(gradient: Tensor) -> Tensor:
    """The gradient without the sparse layout that nn.Embedding(sparse=True) gives it."""
    return gradient.to_dense() if gradient.is_sparse else gradient
