"""From the examples' gradients by a tensor that they share to those by the parameters that it is computed of.

Index letter: c examples of a chunk.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from mcoherence.gradients.given.alone import dense
from mcoherence.gradients.graph.operations import is_plain_lookup, of_table, table_gradients
from mcoherence.gradients.graph.uses import is_kept


def pulled_back(source: GradientEdge, leaves: Sequence[Tensor], rows: Tensor) -> Sequence[Tensor | None]:
    """Gradients [c, *shape of the leaf] from those [c, *shape] by what is computed of them, in its dtype."""
    node: Any = source.node
    given = rows.to(node._input_metadata[source.output_nr].dtype)
    if _is_lookup_of(node, leaves):
        index = node._saved_indices.expand(len(rows), *node._saved_indices.shape)
        return [table_gradients(of_table(node), (index,), given)]
    try:
        found = torch.autograd.grad(source, leaves, given, retain_graph=True, allow_unused=True, is_grads_batched=True)
        return [None if one is None else dense(one) for one in found]
    except RuntimeError:  # a function that somebody has written for single gradients
        ones = [torch.autograd.grad(source, leaves, one, retain_graph=True, allow_unused=True) for one in given]
        return [None if of_leaf[0] is None else dense(torch.stack(of_leaf)) for of_leaf in zip(*ones, strict=True)]


def _is_lookup_of(node: Any, leaves: Sequence[Tensor]) -> bool:
    """Whether it is a table looked up for all examples, where batched autograd takes several times as long."""
    if node.name() != "EmbeddingBackward0" or len(leaves) != 1 or not is_plain_lookup(node):
        return False
    return getattr(node.next_functions[0][0], "variable", None) is leaves[0] and is_kept(
        node, "_raw_saved_indices", "indices"
    )


def numbers_below(sources: Sequence[Node]) -> dict[Node, int]:
    """How many numbers the operations between shared tensors and their parameters make, {node: elements}."""
    made: dict[Node, int] = {}
    waiting = list(sources)
    while waiting:
        node: Any = waiting.pop()
        if node not in made:
            made[node] = sum(math.prod(one.shape) for one in node._input_metadata)
            waiting += [below for below, _ in node.next_functions if below is not None]
    return made
