"""The obviously right way to per-example gradients: a loop over single examples. The oracle of this package's tests."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mcoherence.gradients.eval_mode import eval_mode


def per_example_gradients(
    model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Gradients of every example's loss in eval mode: {parameter name: Tensor [n, *parameter shape]}.

    One forward and one backward pass per example, nothing shared, nothing vectorised; zeros where a parameter does not
    take part. The mode and `.grad` of the model are left as found.

    Args:
        model: any torch model; only parameters that require a gradient are listed.
        loss_fn: loss_fn(outputs, targets) -> per-example losses [n].
        inputs: [n, ...].
        targets: [n, ...].
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    with eval_mode(model), torch.enable_grad():
        for i in range(len(inputs)):
            loss = loss_fn(model(inputs[i : i + 1]), targets[i : i + 1]).sum()
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for (name, p), gradient in zip(parameters.items(), gradients, strict=True):
                rows[name].append(torch.zeros_like(p) if gradient is None else gradient)
    return {
        name: torch.stack(rows[name]) if rows[name] else p.detach().new_zeros((0, *p.shape))
        for name, p in parameters.items()
    }
