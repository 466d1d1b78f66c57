"""The examples' gradients by an argument that they share, operation by operation.

Index letters: n examples, c examples of a chunk, k entries of an example along the axis of the examples.

Known are the gradient of the operation's output and what the operation has saved of the examples, both with the
examples first. What the argument is computed of does not matter here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mcoherence.gradients.graph.layout import EXAMPLES_FIRST, Layout, may_hold
from mcoherence.gradients.graph.sharing import is_bilinear
from mcoherence.gradients.graph.uses import is_kept
from mcoherence.gradients.layer_rules.channels import MANY_POSITIONS, channel_rows
from mcoherence.gradients.layer_rules.kernels import kernel_gradients

# (settings, saved tensors and output gradients [c, k, *others]) -> gradients [c, *shape of the argument]
Rows = Callable[[Any, tuple[Tensor, ...], Tensor], Tensor]


def _no_settings(node: Any) -> None:
    return None


def _first(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 0


def _second(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 1


def _third(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 2


@dataclass(frozen=True)
class Operation:
    """How the gradients by a shared argument are had of an operation.

    rows: of its settings, of what it has saved of the examples, and of the gradient of its output.
    saved: names of what it has saved of the examples.
    fits: whether it is one that is understood, and the examples are where they have to be in its output.
    settings: what else is to be known of the node.
    others: names of saved tensors among that.
    """

    rows: Rows
    saved: tuple[str, ...] = ()
    fits: Callable[[Any, Layout, int], bool] = _first
    settings: Callable[[Any], Any] = _no_settings
    others: tuple[str, ...] = ()

    def is_ready(self, node: Any, layout: Layout, examples: int) -> bool:
        """Whether what the node has saved is there still, and the operation and the layout are as they have to be."""
        kept = (is_kept(node, f"_raw_saved_{name}", name) for name in (*self.saved, *self.others))
        if not all(kept) or not self.fits(node, layout, examples):
            return False
        shapes = [tuple(value.shape) for value in self.saved_by(node)]
        return all(may_hold(shape, layout, examples) for shape in shapes)

    def saved_by(self, node: Any) -> tuple[Tensor, ...]:
        """What the node has saved of the examples."""
        found = (getattr(node, f"_saved_{name}") for name in self.saved)
        return tuple(value[0] if isinstance(value, tuple) else value for value in found)


# Settings are the factor of the product.


def _factor(node: Any) -> Any:
    return getattr(node, "_saved_alpha", 1)


def _right_of_matrices(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return _times(saved[0].transpose(1, 2) @ grads, factor)


def _left_of_matrices(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return _times(grads.transpose(1, 2) @ saved[0], factor)


def _right_of_batched(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, k, b, i] and [c, k, b, o] -> [c, b, i, o]."""
    return _times(saved[0].permute(0, 2, 3, 1) @ grads.transpose(1, 2), factor)


def _left_of_batched(factor: Any, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return _times(grads.permute(0, 2, 3, 1) @ saved[0].transpose(1, 2), factor)


def _times(rows: Tensor, factor: Any) -> Tensor:
    return rows if factor == 1 else rows * factor


def _vector(settings: None, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return (saved[0] * grads.unsqueeze(-1)).sum(dim=1)


def _bilinear(settings: None, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return torch.einsum("cko,cki,ckj->coij", grads, *saved)


def _of_kernel(node: Any) -> dict[str, Any]:
    options = ("stride", "padding", "dilation", "groups", "transposed", "output_padding")
    found = {name: getattr(node, f"_saved_{name}") for name in options}
    weight: Any = node.next_functions[1][0]
    return found | {"shape": tuple(weight._input_metadata[node.next_functions[1][1]].shape)}


def _kernel(settings: dict[str, Any], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    return kernel_gradients(saved[0], grads, **settings)


def _over_positions(settings: object, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """[c, k, channels, *positions] -> [c, channels]."""
    return grads.flatten(3).sum(dim=(1, 3)) if grads.dim() > 3 else grads.sum(dim=1)


def _of_batch_norm(node: Any) -> tuple[Tensor, Tensor, float]:
    """The running mean and variance, [channels] each, and eps."""
    return node._saved_running_mean, node._saved_running_var, node._saved_eps


def _batch_norm_weight(settings: tuple[Tensor, Tensor, float], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    (inputs,), (mean, variance, eps) = saved, settings
    if grads.device.type == "cpu" and grads.shape[3:].numel() >= MANY_POSITIONS:
        of_weight, _ = channel_rows(inputs.flatten(0, 1), grads.flatten(0, 1), mean, variance, eps)
        return of_weight.reshape(*grads.shape[:3]).sum(dim=1)
    mean, scale = (
        value.to(grads.dtype).reshape(-1, *[1] * (grads.dim() - 3)) for value in (mean, (variance + eps).rsqrt())
    )
    return _over_positions(None, (), (inputs - mean) * scale * grads)


def _is_eval(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and not node._saved_training


def _before_normalized(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] < len(node._input_metadata[0].shape) - _normalized_axes(node)


def _normalized_axes(node: Any) -> int:
    return len(node._saved_normalized_shape)


def _layer_norm_weight(axes: int, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    inputs, mean, scale = saved
    return _over_others(axes, (), (inputs - mean) * scale * grads)


def _over_others(axes: int, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """Over all but the examples' axis and those of the weight, which are last."""
    return grads.flatten(1, grads.dim() - axes - 1).sum(dim=1)


def _groups(node: Any) -> int:
    return int(node._saved_group)


def _group_norm_weight(groups: int, saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    inputs, mean, scale = saved
    grouped = inputs.reshape(*inputs.shape[:2], groups, -1)
    normalized = (grouped - mean.unsqueeze(-1)) * scale.unsqueeze(-1)
    return _over_positions(None, (), normalized.reshape(grads.shape) * grads)


def of_table(node: Any) -> tuple[int, int]:
    """Rows of the table, and the one that takes no gradient, or -1."""
    if node.name() == "IndexBackward0":
        return node._saved_self_sym_sizes[0], -1
    size, padding = node._saved_weight_sym_argsize_0, node._saved_padding_idx
    return size, padding if padding < size else -1


def _has_one_index(node: Any, layout: Layout, examples: int) -> bool:
    """Of w[index]: whether there is one index, of numbers, along the first axis."""
    indices = node._saved_indices
    return (
        layout[0] == 0
        and len(indices) == 1
        and indices[0] is not None
        and indices[0].dtype not in (torch.bool, torch.uint8)
    )


def is_plain_lookup(node: Any, layout: Layout = EXAMPLES_FIRST, examples: int = 1) -> bool:
    """Whether a table is looked up along the examples, and nothing is done to a gradient but to add it up."""
    return layout[0] == 0 and not node._saved_scale_grad_by_freq


def table_gradients(settings: tuple[int, int], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    """Gradients [c, rows, *row] of a table, from indices [c, *positions] and gradients [c, *positions, *row]."""
    size, padding = settings
    positions, width = saved[0][:1].numel(), math.prod(grads.shape[saved[0].dim() :])
    index = saved[0].reshape(len(grads), positions) % max(size, 1)
    given = grads.reshape(*index.shape, width)
    if padding >= 0:
        given = given * (index != padding).unsqueeze(-1)
    first = torch.arange(len(grads), device=index.device).unsqueeze(1) * size
    found = given.new_zeros(len(grads) * size, given.shape[2])
    return found.index_add_(0, (index + first).flatten(), given.flatten(0, 1)).reshape(len(grads), size, width)


def _repeats(node: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(node._saved_self_sym_sizes), tuple(node._saved_repeats)


def _is_repeated_for_examples(node: Any, layout: Layout, examples: int) -> bool:
    """Whether each example gets the whole, and along no other axis more than one entry is repeated."""
    (sizes, repeats), (axis, outer) = _repeats(node), layout
    if axis != 0 or len(sizes) != len(repeats):
        return False
    if any(1 not in pair for pair in zip(sizes[1:], repeats[1:], strict=True)):
        return False
    return sizes[0] == 1 or (outer == 1 and repeats[0] % examples == 0)


def _repeated(settings: tuple[tuple[int, ...], tuple[int, ...]], saved: tuple[Tensor, ...], grads: Tensor) -> Tensor:
    sizes, repeats = settings
    spread = [2 + place for place, count in enumerate(repeats[1:]) if count != 1]
    given = grads.sum(dim=spread, keepdim=True) if spread else grads
    copies = given.shape[1] // max(sizes[0], 1)
    return given.reshape(len(grads), copies, *sizes).sum(dim=1)


def _is_bilinear(node: Any, layout: Layout, examples: int) -> bool:
    return layout[0] == 0 and is_bilinear(node)


_OF_BATCH_NORM = ("running_mean", "running_var")
_OF_NORM = ("input", "result1", "result2")
OPERATIONS: dict[tuple[str, int], Operation] = {
    ("MmBackward0", 0): Operation(_left_of_matrices, ("mat2",), _second, _factor),
    ("MmBackward0", 1): Operation(_right_of_matrices, ("self",), _first, _factor),
    ("AddmmBackward0", 1): Operation(_left_of_matrices, ("mat2",), _second, _factor),
    ("AddmmBackward0", 2): Operation(_right_of_matrices, ("mat1",), _first, _factor),
    ("BmmBackward0", 0): Operation(_left_of_batched, ("mat2",), _third, _factor),
    ("BmmBackward0", 1): Operation(_right_of_batched, ("self",), _second, _factor),
    ("BaddbmmBackward0", 1): Operation(_left_of_batched, ("batch2",), _third, _factor),
    ("BaddbmmBackward0", 2): Operation(_right_of_batched, ("batch1",), _second, _factor),
    ("MvBackward0", 1): Operation(_vector, ("self",)),
    ("TrilinearBackward0", 1): Operation(_bilinear, ("i1", "i3"), _is_bilinear),
    ("EmbeddingBackward0", 0): Operation(table_gradients, ("indices",), is_plain_lookup, of_table),
    ("IndexBackward0", 0): Operation(table_gradients, ("indices",), _has_one_index, of_table),
    ("RepeatBackward0", 0): Operation(_repeated, (), _is_repeated_for_examples, _repeats),
    ("ConvolutionBackward0", 1): Operation(_kernel, ("input",), _first, _of_kernel),
    ("ConvolutionBackward0", 2): Operation(_over_positions),
    ("NativeBatchNormBackward0", 1): Operation(
        _batch_norm_weight, ("input",), _is_eval, _of_batch_norm, _OF_BATCH_NORM
    ),
    ("NativeBatchNormBackward0", 2): Operation(_over_positions, (), _is_eval),
    ("NativeLayerNormBackward0", 1): Operation(_layer_norm_weight, _OF_NORM, _before_normalized, _normalized_axes),
    ("NativeLayerNormBackward0", 2): Operation(_over_others, (), _before_normalized, _normalized_axes),
    ("NativeGroupNormBackward0", 1): Operation(_group_norm_weight, _OF_NORM, _first, _groups),
    ("NativeGroupNormBackward0", 2): Operation(_over_positions),
}
