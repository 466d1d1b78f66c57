"""Rules of the operations that layers and losses come down to.

Index letter: n examples of a batch.
"""

from collections.abc import Sequence

from mcoherence.gradients.independence.axes import Constant, Examples, Found, Kind, NotKnownError, broadcast
from mcoherence.gradients.independence.axis_operations import apart_from
from mcoherence.gradients.independence.operation_call import (
    OperationCall,
    of_examples,
    require,
    require_constant,
    rule,
    same_for_all,
)


@rule("mm", "addmm", "bmm", "baddbmm", "mv")
def _product(call: OperationCall) -> Sequence[Found | None]:
    *added, left, right = (name for name in _FACTORS if name in call.arguments)
    dims = call.results[0].dim()
    # The last axis of the one and the last but one of the other are summed over.
    factors = (call.of(left), call.tensor(left).dim() - 1), (call.of(right), max(0, call.tensor(right).dim() - 2))
    kind = _kind_of_product(factors, dims)
    for name in added:
        kind = broadcast([(call.of(name), call.tensor(name).shape), (kind, call.results[0].shape)], dims)
    return [kind]


_FACTORS = ("self", "mat1", "batch1", "mat2", "batch2", "vec")  # what is added first, if anything


def _kind_of_product(factors: tuple[tuple[Kind, int], tuple[Kind, int]], dims: int) -> Kind:
    """Of a product.

    Args:
        factors: (kind, axis that is summed over) of each.
        dims: number of axes of the product; the first of three is that of several products.
    """
    (one, summed), (other, summed_of_other) = factors
    if isinstance(one, Examples) and isinstance(other, Examples):
        require(dims == 3 and one.axis == 0 and other == one)
        return one
    if isinstance(one, Constant) and isinstance(other, Constant):
        alone = (one.same - {summed}) | (other.same - {summed_of_other})
        return Constant(alone if dims < 3 else (alone - {0}) | (one.same & other.same & {0}))
    for kind, over, constant in ((one, summed, other), (other, summed_of_other, one)):
        if isinstance(kind, Examples) and isinstance(constant, Constant):
            require(kind.axis != over and (dims < 3 or kind.axis > 0 or 0 in constant.same))
            return kind
    raise NotKnownError


@rule("convolution")
def _convolution(call: OperationCall) -> Sequence[Found | None]:
    require_constant(call, "weight", "bias")
    kind = of_examples(call, "input")
    require(kind.axis == 0 and call.tensor("input").dim() == call.tensor("weight").dim())
    return [kind]


@rule("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(call: OperationCall) -> Sequence[Found | None]:
    kind = of_examples(call, "input")
    beside = ("weight", "bias", "running_mean", "running_var")
    if kind.axis == 1:  # as in instance norm: each channel is of one example and has statistics of its own
        given = [one for name in beside if (one := call[name]) is not None]
        require(all(call.kind(one) == Examples(0, kind.inner) for one in given))
    else:
        require_constant(call, *beside)
        require(not call.arguments.get("training", False) and call["running_mean"] is not None)
    return [kind, *_hidden(call)]


def _hidden(call: OperationCall) -> list[None]:
    """Of the results but the first, which are kept for a backward pass."""
    return [None] * (len(call.results) - 1)


@rule("native_layer_norm", "_fused_rms_norm")
def _layer_norm(call: OperationCall) -> Sequence[Found | None]:
    require_constant(call, *(name for name in ("weight", "bias") if name in call.arguments))
    kind = of_examples(call, "input")
    require(kind.axis < call.tensor("input").dim() - len(call["normalized_shape"]))
    return same_for_all(call, kind)


@rule("native_group_norm")
def _group_norm(call: OperationCall) -> Sequence[Found | None]:
    require_constant(call, "weight", "bias")
    kind = of_examples(call, "input")
    require(kind.axis == 0)
    return same_for_all(call, kind)


@rule("embedding")
def _embedding(call: OperationCall) -> Sequence[Found | None]:
    require_constant(call, "weight")
    require(not call["scale_grad_by_freq"])  # the gradient of an example would tell how often others take its row
    return [call.of("indices")]


@rule(
    *("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"),
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d"),
)
def _pool2d(call: OperationCall) -> Sequence[Found | None]:
    name = next(iter(call.arguments))
    return same_for_all(call, apart_from(call, (-2, -1), name))


@rule("nll_loss_forward", "nll_loss2d_forward")
def _nll_loss(call: OperationCall) -> Sequence[Found | None]:
    require_constant(call, "weight")
    kind = of_examples(call, "self")
    require(call["reduction"] == 0 and kind.axis == 0 and call.of("target") == kind)
    require(call.tensor("self").dim() > 1)
    return [kind, *_hidden(call)]


@rule("_scaled_dot_product_flash_attention_for_cpu")
def _attention(call: OperationCall) -> Sequence[Found | None]:
    kind = of_examples(call, "query")
    require(kind.axis == 0 and call.of("key") == kind and call.of("value") == kind and not call["dropout_p"])
    mask = call["attn_mask"]
    if mask is not None:
        shape = (*call.tensor("query").shape[:3], call.tensor("key").shape[2])
        require(broadcast([(call.kind(mask), mask.shape), (kind, shape)], 4) == kind)
    return same_for_all(call, kind)


@rule("mkldnn_rnn_layer")
def _recurrent(call: OperationCall) -> Sequence[Found | None]:
    require_constant(call, "weight0", "weight1", "weight2", "weight3")
    kind = of_examples(call, "input")
    require(kind == Examples(1) and not call["batch_sizes"])  # time steps come first, whatever batch_first says
    for name in ("hx_", "cx_"):
        first = call.of(name)
        dims = call.tensor(name).dim()
        require(first == Examples(dims - 2) if isinstance(first, Examples) else dims - 2 in first.same)
    dims = call.results[1].dim()
    return [kind, Examples(dims - 2), Examples(dims - 2), *[None] * (len(call.results) - 3)]
