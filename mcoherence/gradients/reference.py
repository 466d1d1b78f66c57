"""The obviously right way to per-example gradients: a loop over single examples. The oracle of this package's tests."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mcoherence.gradients.eval_mode import eval_mode
from mcoherence.precision import float32_products

LossFunction = Callable[[Tensor, Tensor], Tensor]


def per_example_gradients(
    model: nn.Module, loss_fn: LossFunction, inputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Gradients of every example's loss in eval mode: {parameter name: Tensor [n, *parameter shape]}.

    One forward and one backward pass per example, nothing shared, nothing vectorised; zeros where a parameter does not
    take part. The mode and `.grad` of the model are left as found.

    Args:
        model: any torch model; only parameters that require a gradient are listed.
        loss_fn: loss_fn(outputs, targets) -> per-example losses [n].
        inputs: [n, ...].
        targets: [n, ...].

    Example:
        With half the squared error as its loss, a linear unit's gradient is (output - target) times the input.

        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> inputs, targets = torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([0.0, 5.0])
        >>> gradients = per_example_gradients(model, lambda out, t: (out[:, 0] - t) ** 2 / 2, inputs, targets)
        >>> {name: rows.tolist() for name, rows in gradients.items()}
        {'weight': [[[1.0, 0.0]], [[-2.0, -4.0]]]}
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    with float32_products(), eval_mode(model):
        for i in range(len(inputs)):
            _, gradients = loss_and_gradients(model, loss_fn, parameters, inputs[i : i + 1], targets[i : i + 1])
            for name, gradient in gradients.items():
                rows[name].append(gradient)
    return {
        name: torch.stack(rows[name]) if rows[name] else p.detach().new_zeros((0, *p.shape))
        for name, p in parameters.items()
    }


def loss_and_gradients(
    model: Callable[[Tensor], Tensor],
    loss_fn: LossFunction,
    parameters: Mapping[str, Tensor],
    inputs: Tensor,
    targets: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The losses [n] and the gradients of their sum {parameter name: [*shape]}; zeros where one takes no part.

    The model is run as it is: the caller sees to its mode.

    Args:
        model: any torch model, or what runs it.
        loss_fn: loss_fn(outputs, targets) -> per-example losses [n].
        parameters: those of the model to differentiate by, by name.
        inputs: [n, ...].
        targets: [n, ...].
    """
    with torch.enable_grad():
        losses = loss_fn(model(inputs), targets)
        gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if losses.requires_grad and parameters:
            gradients = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
    named = zip(parameters.items(), gradients, strict=True)
    return losses.detach(), {name: torch.zeros_like(p) if g is None else _dense(g) for (name, p), g in named}


def _dense(gradient: Tensor) -> Tensor:
    """The gradient without the sparse layout that nn.Embedding(sparse=True) gives it."""
    return gradient.to_dense() if gradient.is_sparse else gradient
