"""nn.Linear: the weight gradient of one example is sum_t b_t a_t^T, the bias gradient sum_t b_t."""

from torch import Tensor, nn

from mcoherence.gradients.layer_rules import layer_rule, trainable
from mcoherence.gradients.layer_rules.products import product_squared_norms, squared_norms


@layer_rule(nn.Linear)
def linear(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for inputs [n, *, d] and output_grads [n, *, p], any number of position axes."""
    n = inputs.shape[0]
    a = inputs.reshape(n, -1, inputs.shape[-1])
    b = output_grads.reshape(n, -1, output_grads.shape[-1])
    norms = {}
    for name in trainable(layer):
        norms[name] = product_squared_norms(a, b) if name == "weight" else squared_norms(b.sum(dim=1))
    return norms
