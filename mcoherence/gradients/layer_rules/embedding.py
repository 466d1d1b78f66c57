"""nn.Embedding: an example's gradient has a row per distinct index, the sum of that index's output gradients."""

import torch
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.products import looked_up_squared_norms, squared_norms
from mcoherence.gradients.layer_rules.registry import NotModelledError, layer_rule, weight_and_bias


@layer_rule(nn.Embedding, linear_in_parameters=True)
def embedding(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms for indices [n, *] and output_grads [n, *, d]; the padding index has no gradient.

    Positions are summed by (example, index) before squaring, without forming [n, vocabulary, d].

    Raises:
        NotModelledError: max_norm (the call changes the weights) or scale_grad_by_freq (the batch changes a gradient).
    """
    assert isinstance(layer, nn.Embedding)
    if layer.max_norm is not None or layer.scale_grad_by_freq:
        raise NotModelledError("Embedding with max_norm or scale_grad_by_freq")
    if "weight" not in weight_and_bias(layer):
        return {}
    n = inputs.shape[0]
    index = inputs.reshape(n, -1).to(torch.int64)
    b = output_grads.reshape(n, -1, layer.embedding_dim)
    if layer.padding_idx is not None:
        b = b * (index != layer.padding_idx).unsqueeze(-1)
    return {"weight": lookup_squared_norms(index, b, layer.num_embeddings)}


def lookup_squared_norms(index: Tensor, output_grads: Tensor, vocabulary: int) -> Tensor:
    """|g_i|^2, float64 [n], of a table that is looked up at `index` [n, t], for output_grads [n, t, d]."""
    n = len(index)
    if index.device.type != "cpu":
        return looked_up_squared_norms(index, output_grads)
    d = output_grads.shape[-1]
    key = (torch.arange(n, device=index.device).unsqueeze(1) * vocabulary + index).flatten()
    if vocabulary <= index.shape[1]:  # no more than what came in; to sort takes several times as long
        rows = output_grads.new_zeros(n * vocabulary, d).index_add_(0, key, output_grads.reshape(-1, d))
        return squared_norms(rows.reshape(n, -1))
    distinct, position = torch.unique(key, return_inverse=True)
    rows = output_grads.new_zeros(len(distinct), d).index_add_(0, position, output_grads.reshape(-1, d))
    norms = squared_norms(rows)
    example = torch.div(distinct, vocabulary, rounding_mode="floor")
    return norms.new_zeros(n).index_add_(0, example, norms)
