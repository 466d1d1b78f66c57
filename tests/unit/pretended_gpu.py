"""A GPU that is not there: tensors that say they are on "cuda:0" and whose values the processor computes.

Every operation on such tensors goes through `PretendedGpu`, which raises where tensors of both devices meet in one, as
a GPU would, and counts what makes a program wait for one. So code that is to run on a GPU runs whole where there is
none, its numbers are those of the processor to the bit, and what it would cost in waiting is a number to assert.

What it does not show: rounding, kernels that are missing or not deterministic on a GPU, time, and memory.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from mcoherence.gradients.batch import example_wise
from mcoherence.gradients.given import pieces, trees
from mcoherence.gradients.sweep import small_batches, sources

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
_INSIDE = "meta"  # what torch's own C++ takes the device for, so that it makes no tensors of values itself

# Operations whose result, or its size, has to come back to Python before anything else can be asked for.
READING = {
    *("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "bincount", "histc"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "repeat_interleave"),
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class MixedDevicesError(RuntimeError):
    """Tensors of both devices met in one operation."""


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU; `held` has its values, on the processor."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnGpu":
        found: OnGpu = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=_INSIDE, requires_grad=False,
        )  # fmt: skip
        return found

    def __init__(self, held: Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the pretended GPU was used outside of its block")

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_as_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_as_tensors(index), value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnGpu":
        copy = OnGpu(self.held.detach().clone()).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            copy._is_param = True
        memo[id(self)] = copy
        return copy

    def tolist(self) -> Any:
        """As torch's, which takes no subclasses."""
        _now().reads["tolist"] += 1
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """As torch's."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.held!r})"


class PretendedGpu(TorchDispatchMode):
    """What is done on the GPU inside the block.

    reads: {operation: how often}, of those that wait for a value.
    to_processor, to_gpu: elements of every copy between the devices, in their order; torch waits for each.
    sent: of every copy to the GPU that it does not wait for (`non_blocking`).
    operations: {operation: how often}, kernels that a GPU would be asked for; views are none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.to_processor: list[int] = []
        self.to_gpu: list[int] = []
        self.sent: list[int] = []
        self.operations: Counter[str] = Counter()

    def forget(self) -> None:
        """Count from here on."""
        for kept in (self.reads, self.to_processor, self.to_gpu, self.sent, self.operations):
            kept.clear()

    @property
    def waits(self) -> int:
        """How often the program waits for all that the GPU was asked for: at every read, and at copies either way."""
        return sum(self.reads.values()) + len(self.to_processor) + len(self.to_gpu)

    @property
    def launches(self) -> int:
        """Kernels asked for."""
        return sum(self.operations.values())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # torch would import its compiler to be told not to compile this
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        flat, form = tree_flatten((args, kwargs))
        here = [value for value in flat if isinstance(value, OnGpu)]
        there = [value for value in flat if isinstance(value, Tensor) and not isinstance(value, OnGpu)]
        asked = kwargs.get("device")
        to_gpu = bool(here) if asked is None else torch.device(asked).type in (GPU.type, _INSIDE)
        if name == "_to_copy" and asked is not None and to_gpu is not bool(here):
            self._copied(args[0], to_gpu, kwargs.get("non_blocking", False))
        elif name == "copy_" and here and there:
            self._copied(args[1], isinstance(args[0], OnGpu), len(args) > 2 and args[2])
            _held(args[0]).copy_(_held(args[1]))
            return args[0]
        elif here:
            if any(one.dim() or one.device.type == "meta" for one in there):
                shapes = [f"{list(one.shape)} on {one.device}" for one in (*here, *there)]
                raise MixedDevicesError(f"{func}: found tensors of several devices: {', '.join(shapes)}")
            self._count(func, name, args)
        if "device" in kwargs and to_gpu:
            args, kwargs = tree_unflatten([CPU if one is asked else one for one in flat], form)
        result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        known = {id(one.held): one for one in here}  # what an operation in place hands back
        return tree_map(lambda one: _wrapped(one, known, to_gpu), result)

    def _copied(self, source: Tensor, to_gpu: bool, non_blocking: bool) -> None:
        """A copy from the GPU is waited for in any case: its values would not be there yet."""
        kind = self.to_processor if not to_gpu else self.sent if non_blocking else self.to_gpu
        kind.append(source.numel())

    def _count(self, func: Any, name: str, args: Any) -> None:
        masks = name in INDEXING and any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])
        if name in READING or masks:
            self.reads[name] += 1
        aliases = [returned.alias_info for returned in func._schema.returns]
        if not any(alias is not None and not alias.is_write for alias in aliases):
            # Column matrices are made on a GPU by one kernel for each example.
            self.operations[name] += len(args[0]) if name == "im2col" else 1


@contextmanager
def pretended_gpu(monkeypatch: Any) -> Iterator[PretendedGpu]:
    """A GPU inside the block, `torch.device("cuda")`; tensors of it are of no use after it, but for `values`."""
    if not torch.cuda.is_available():
        torch._C._ensureCUDADeviceGuardSet()
    generator = _Generator()
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "default_generators", (generator,))
        patch.setattr(torch.cuda, "get_rng_state", lambda device=GPU: generator.state.clone())
        patch.setattr(torch.cuda, "set_rng_state", lambda state, device=GPU: generator.state.copy_(state))
        patch.setattr(torch.cuda, "get_device_name", lambda device=GPU: "pretended")
        patch.setattr(torch.cuda, "synchronize", lambda device=GPU: None)
        is_plain = trees.is_plain
        for module in (trees, pieces, sources):
            patch.setattr(module, "is_plain", lambda leaf: isinstance(leaf, OnGpu) or is_plain(leaf))
        patch.setattr(example_wise, "_are_plain", lambda tensors: True)
        patch.setattr(small_batches, "has_modes", lambda: False)
        with PretendedGpu() as gpu:
            yield gpu


def on_gpu(tree: Any) -> Any:
    """A module, moved there itself, or a tree of tensors; weights that are tied stay so."""
    if not isinstance(tree, nn.Module):
        return tree_map(lambda one: one.to(GPU) if isinstance(one, Tensor) else one, tree)
    moved: dict[int, nn.Parameter] = {}
    for module in tree.modules():
        for name, p in module._parameters.items():
            if p is not None:
                moved.setdefault(id(p), nn.Parameter(p.detach().to(GPU), p.requires_grad))
                module._parameters[name] = moved[id(p)]
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else value.to(GPU)
    return tree


def values(tree: Any) -> Any:
    """The tree with the values of all tensors in it, those of the GPU too, outside of the block as well."""
    return tree_map(lambda one: _held(one).detach() if isinstance(one, Tensor) else one, tree)


class _Generator:
    """The GPU's generator, of which nothing is drawn: what is random comes from the processor's."""

    def __init__(self) -> None:
        self.state = torch.zeros(16, dtype=torch.uint8)

    def get_offset(self) -> int:
        return 0

    def manual_seed(self, seed: int) -> "_Generator":
        return self


def _now() -> PretendedGpu:
    modes = torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    return next(mode for mode in reversed(modes) if isinstance(mode, PretendedGpu))


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnGpu) else value


def _wrapped(value: Any, known: dict[int, OnGpu], on_gpu: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    found = known.get(id(value))
    if found is not None:
        return found
    if value._is_zerotensor():  # forward mode's zero without storage, of which the processor's kernels know nothing
        value = torch.zeros(value.shape, dtype=value.dtype)
    if not on_gpu:
        return value
    with torch.inference_mode(False):  # in it torch takes a view of a tensor of another time for one of its own
        return OnGpu(value)


def _as_tensors(index: Any) -> Any:
    """An index whose lists and arrays are tensors there, as torch makes them, by a copy."""
    parts = index if isinstance(index, tuple) else (index,)
    made = tuple(torch.as_tensor(part).to(GPU) if isinstance(part, list | np.ndarray) else part for part in parts)
    return made if isinstance(index, tuple) else made[0]
