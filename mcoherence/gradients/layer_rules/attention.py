"""nn.MultiheadAttention as self-attention: two affine maps with an attention without parameters between them.

The output gradient of the call is pulled back through the output map and the attention once more, for the whole batch;
what arrives at the two maps is then measured as for nn.Linear.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mcoherence.gradients.layer_rules.linear import linear_squared_norms
from mcoherence.gradients.layer_rules.registry import NotModelledError, layer_rule

_ARGUMENTS = (
    "query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal",
)  # fmt: skip


def self_attention_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The one tensor that is query, key and value of an unmasked call; None for any other call."""
    call = dict(zip(_ARGUMENTS, args, strict=False)) | dict(kwargs)
    query = call.get("query")
    same = isinstance(query, Tensor) and call.get("key") is query and call.get("value") is query
    masked = call.get("key_padding_mask") is not None or call.get("attn_mask") is not None or call.get("is_causal")
    return query if same and not masked else None


@layer_rule(nn.MultiheadAttention, call_input=self_attention_input)
def self_attention(layer: nn.Module, inputs: Tensor, output_grads: Tensor) -> dict[str, Tensor]:
    """Squared norms, those of the child out_proj included, for inputs and output_grads [n, t, d].

    Raises:
        NotModelledError: positions before examples (batch_first=False), kdim or vdim, bias_k or add_zero_attn.
    """
    assert isinstance(layer, nn.MultiheadAttention)
    plain = layer._qkv_same_embed_dim and layer.bias_k is None and not layer.add_zero_attn
    if not (plain and layer.batch_first and inputs.dim() == 3 and type(layer.out_proj).forward is nn.Linear.forward):
        raise NotModelledError("attention that is not plain self-attention with batch_first=True")
    n, t, d = inputs.shape
    dtype = inputs.dtype
    with torch.enable_grad():
        bias = None if layer.in_proj_bias is None else layer.in_proj_bias.detach().to(dtype)
        projected = F.linear(inputs, layer.in_proj_weight.detach().to(dtype), bias).requires_grad_()
        query, key, value = projected.reshape(n, t, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, t, d)
        pulled_back = output_grads @ layer.out_proj.weight.detach().to(dtype)
        (projected_grads,) = torch.autograd.grad(attended, projected, pulled_back)
    maps = {
        "in_proj_": linear_squared_norms(("weight", "bias"), inputs, projected_grads),
        "out_proj.": linear_squared_norms(("weight", "bias"), attended.detach(), output_grads),
    }
    names = [name for name, p in layer.named_parameters() if p.requires_grad]
    norms = {prefix + name: value for prefix, both in maps.items() for name, value in both.items()}
    return {name: norms[name] for name in names}
