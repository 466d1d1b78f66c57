"""Inputs and targets of several tensors: dicts, tuples and lists of tensors, nested at will, examples first in each.

Index letter: n examples of a batch.

How a model is called follows from what its forward takes: the parts of a tuple or list as its positional arguments, the
entries of a mapping as its keyword arguments, if they fit its signature; else the whole as its one argument.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from mcoherence.device import sent
from mcoherence.errors import first_line

# A tensor [n, ...], None where a part is missing, or a tuple, list or mapping of trees.
Tree = Any


def leaves(tree: Tree) -> list[Tensor]:
    """The tensors of a tree, in their order; other things in it are passed over."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple | list) else []


def length(tree: Tree) -> int:
    """The number n of examples in a tree: the length of its first tensor."""
    return len(leaves(tree)[0])


def mapped(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """The tree with `function` of every tensor in its place; mappings of all kinds become dicts."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: mapped(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named one
        return type(tree)(*(mapped(function, part) for part in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, part) for part in tree)
    return tree


def rows(tree: Tree, index: Any) -> Tree:
    """The chosen examples: every tensor indexed along its first axis by a slice, a mask or positions."""
    if isinstance(index, Tensor):
        if index.dtype == torch.bool:  # made of positions where it is: to count them on a GPU is to wait for it
            index = index.nonzero()[:, 0]
        return mapped(lambda leaf: leaf[sent(index, leaf.device)], tree)
    return mapped(lambda leaf: leaf[index], tree)


def concatenated(trees: Sequence[Tree]) -> Tree:
    """Trees of the same form as one: every tensor concatenated with its counterparts along the axis of examples."""
    parts = [iter(leaves(tree)) for tree in trees]
    return mapped(lambda _: torch.cat([next(part) for part in parts]), trees[0])


def refilled(tree: Tree, values: Sequence[Tensor]) -> Tree:
    """The tree with other tensors in the places of its own, in their order."""
    given: Iterator[Tensor] = iter(values)
    return mapped(lambda _: next(given), tree)


def forms(tree: Tree) -> str:
    """Where tensors stand in the tree, and their shapes by example and dtypes.

    Two trees of the same form can be concatenated. Plain tensors of theirs may differ in values, in devices, and in
    whether they require a gradient.
    """
    return repr(mapped(lambda leaf: (tuple(leaf.shape[1:]), leaf.dtype), tree))


def joinable(tree: Tree) -> tuple[Any, ...] | None:
    """What trees have in common that can be joined without a trace: form, devices, and what requires a gradient.

    None where a tensor says something besides, which is then of its batch as a whole: one with attributes of its own,
    or of a subclass.
    """
    found = leaves(tree)
    if not all(map(is_plain, found)):
        return None
    return (forms(tree), *((leaf.device, leaf.requires_grad) for leaf in found))


def is_plain(leaf: Tensor) -> bool:
    """Whether a tensor says nothing but its values."""
    return type(leaf) is Tensor and not vars(leaf)


def on_device(tree: Tree, device: torch.device) -> Tree:
    """The tree there, apart from any graph, and `usable`; what requires a gradient still does, as checkpoints ask."""
    return usable(mapped(lambda leaf: sent(leaf.detach(), device).requires_grad_(leaf.requires_grad), tree))


def usable(tree: Tree) -> Tree:
    """The tree as it is, but copies of tensors made in inference mode, which autograd cannot use."""
    return mapped(lambda leaf: leaf.clone() if leaf.is_inference() else leaf, tree)


def fresh(tree: Tree) -> Tree:
    """Copies for one pass, apart from any graph: models and losses may write to what they are given, as in `x /= 255`.

    What requires a gradient still does, as checkpoints ask.
    """
    return mapped(lambda leaf: leaf.detach().clone().requires_grad_(leaf.requires_grad), tree)


def share_memory(tree: Tree) -> bool:
    """Whether two tensors of a tree lie in one memory, so that what is written to one may be in the other."""
    places = [leaf.untyped_storage().data_ptr() for leaf in leaves(tree) if leaf.layout == torch.strided]
    return len(set(places)) < len(places)


def outputs_of(model: Callable[..., Any], inputs: Tree) -> Any:
    """What the model gives for a tree of inputs; a callable that is no module takes the tree as it is."""
    if not isinstance(model, nn.Module):
        return model(inputs)
    args, kwargs = arguments(model, inputs)
    try:
        return model(*args, **kwargs)
    except (AttributeError, TypeError) as error:
        if isinstance(inputs, Tensor) or kwargs or len(args) != 1 or args[0] is not inputs:
            raise
        raise ValueError(
            f"inputs: found {type(inputs).__name__}, which is none of the arguments of "
            f"{type(model).__name__}.forward{inspect.signature(model.forward)} and was handed over as the first; it "
            f"fails with {type(error).__name__}: {first_line(error)}; wrap the model so that it takes them"
        ) from error


def arguments(model: nn.Module, inputs: Tree) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) of a model's call for a tree of inputs.

    Raises:
        ValueError: forward takes them neither as arguments nor as one.
    """
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    args = () if isinstance(inputs, Mapping) else tuple(inputs)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    signature = inspect.signature(model.forward)
    try:
        signature.bind(*args, **kwargs)
        return args, kwargs
    except TypeError as error:
        wrong = error
    try:
        signature.bind(inputs)
    except TypeError:
        found = f"the entries {', '.join(map(repr, kwargs))}" if kwargs else f"{len(args)} parts"
        raise ValueError(
            f"inputs: found {found}, expected the arguments of {type(model).__name__}.forward{signature} ({wrong}); "
            "leave out what it does not take, or wrap the model"
        ) from None
    return (inputs,), {}


def require_tree(name: str, tree: Tree) -> None:
    """Raise ValueError unless a tree holds tensors [n, ...] of one n, at least one, and else None; names the place."""
    found = dict(named_leaves(name, tree))
    sizes = {}
    for place, leaf in found.items():
        if not isinstance(leaf, Tensor) or leaf.layout != torch.strided:
            raise ValueError(f"{place}: found {_kind(leaf)}, expected a tensor [n, ...] with an example in every row")
        if leaf.dim() == 0:
            raise ValueError(f"{place}: found a tensor without axes, expected [n, ...] with an example in every row")
        if leaf.is_meta:
            raise ValueError(
                f"{place}: found a tensor on the meta device, which holds no values, expected one on cpu or a GPU; "
                "make it there"
            )
        sizes[place] = len(leaf)
    if not sizes:
        raise ValueError(f"{name}: found no tensor, expected one [n, ...], or a dict, tuple or list of such tensors")
    (first, n), *others = sizes.items()
    for place, size in others:
        if size != n:
            raise ValueError(
                f"{place}: found {size} rows, expected {n} as in {first}: an example in every row of every tensor; "
                "what is the same for all examples belongs into the model"
            )


def require_parts(batch: object, parts: int) -> None:
    """ValueError unless a batch is (inputs [n, ...], targets [n, ...]) and, of three parts, group ids besides."""
    expected = "(inputs, targets, group_ids)" if parts == 3 else "(inputs, targets)"
    if not isinstance(batch, tuple | list) or len(batch) != parts:
        found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        hint = "; group ids go with groups=[names]" if parts == 2 and found == "3 parts" else ""
        hint = "; put a single batch into a list, [(inputs, targets)]" if found == "Tensor" else hint
        raise ValueError(f"batches: found {found}, expected each batch to be {expected}{hint}")
    inputs, targets = batch[:2]
    require_tree("inputs", inputs)
    require_tree("targets", targets)
    if length(inputs) != length(targets):
        raise ValueError(f"targets: found {length(targets)} of them for {length(inputs)} inputs, expected as many")


def named_leaves(name: str, tree: Tree) -> Iterator[tuple[str, Any]]:
    """(place, what stands there) of everything in a tree but containers and None."""
    if isinstance(tree, PackedSequence):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from named_leaves(f"{name}[{key!r}]", value)
    elif isinstance(tree, tuple | list):
        for index, value in enumerate(tree):
            yield from named_leaves(f"{name}[{index}]", value)
    elif tree is not None:
        yield name, tree


def _kind(leaf: object) -> str:
    if isinstance(leaf, PackedSequence):
        return "a PackedSequence, whose rows are time steps (hand over padded tensors and lengths, and pack in forward)"
    return f"a tensor of layout {leaf.layout}" if isinstance(leaf, Tensor) else type(leaf).__name__
