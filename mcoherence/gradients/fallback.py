"""Per-example gradients of one layer's own parameters by vmap over that layer alone, for layers without a rule.

The whole network runs once as usual; only this layer (with whatever modules it contains) runs again, once per example,
to pull its output gradient back onto its own parameters. This is exact for any module whose output for one example
depends on that example alone, and it keeps coverage total.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from mcoherence.gradients.layer_rules import trainable
from mcoherence.gradients.layer_rules.products import squared_norms


def vmap_squared_norms(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms {own parameter name: [n]} for inputs [n, ...] and output_grads [n, ...] of any layer."""
    own = {name: p.detach() for name, p in trainable(layer).items()}

    def pulled_back(example: Tensor, output_grad: Tensor) -> dict[str, Tensor]:
        _, pull_back = vjp(  # type: ignore[misc]
            lambda parameters: functional_call(layer, parameters, (example.unsqueeze(0),)), own
        )
        (gradients,) = pull_back(output_grad.unsqueeze(0))
        return dict(gradients)

    with torch.enable_grad():
        rows = vmap(pulled_back)(inputs, output_grads)
    return {name: squared_norms(value.detach()) for name, value in rows.items()}
