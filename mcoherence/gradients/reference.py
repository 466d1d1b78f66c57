"""The obviously right way to per-example gradients: a loop over single examples. The oracle of this package's tests."""

import torch
from torch import Tensor, nn

from mcoherence.gradients.given.alone import loss_and_gradients
from mcoherence.gradients.given.eval_mode import eval_mode
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.model_state import state_kept
from mcoherence.gradients.given.trees import Tree, length, rows
from mcoherence.gradients.given.wrappers import plain_names, unwrapped
from mcoherence.precision import float32_products


def per_example_gradients(model: nn.Module, loss_fn: LossFunction, inputs: Tree, targets: Tree) -> dict[str, Tensor]:
    """Gradients of every example's loss in eval mode: {parameter name: Tensor [n, *parameter shape]}.

    One forward and one backward pass per example, nothing shared, nothing vectorised; zeros where a parameter does not
    take part. The model is left as found.

    An example is passed as a batch that holds it twice, of which the first loss counts: torch 2.15 gives a wrong input
    gradient for eval-mode batch norm of a batch of one (BatchNorm2d on a CPU, with an output gradient that is laid out
    channels-last).

    Args:
        model: any torch model; only parameters that require a gradient are listed. Wrappers (DistributedDataParallel,
            torch.compile) are taken off, and so are their prefixes of the names.
        loss_fn: loss_fn(outputs, targets) -> per-example losses [n].
        inputs: [n, ...], or a tuple, list or dict of such tensors (`given.trees`).
        targets: [n, ...], likewise.

    Example:
        With half the squared error as its loss, a linear unit's gradient is (output - target) times the input.

        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> inputs, targets = torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([0.0, 5.0])
        >>> gradients = per_example_gradients(model, lambda out, t: (out[:, 0] - t) ** 2 / 2, inputs, targets)
        >>> {name: rows.tolist() for name, rows in gradients.items()}
        {'weight': [[[1.0, 0.0]], [[-2.0, -4.0]]]}
    """
    model = unwrapped(model)
    plain = plain_names(model)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found: dict[str, list[Tensor]] = {name: [] for name in parameters}
    with float32_products(), eval_mode(model), state_kept(loss_fn):
        for i in range(length(inputs)):
            one = slice(i, i + 1)
            _, gradients = loss_and_gradients(model, loss_fn, parameters, rows(inputs, one), rows(targets, one))
            for name, gradient in gradients.items():
                found[name].append(gradient)
    return {
        plain[name]: torch.stack(found[name]) if found[name] else p.detach().new_zeros((0, *p.shape))
        for name, p in parameters.items()
    }
