"""What one more example of a batch takes in memory while it passes through a network, counted before anything runs.

A pass is made in earnest, forward and backward, and every tensor's bytes are followed from its making to its end.
Networks of torchvision make it on the meta device, where nothing is computed and nothing stored; plain ones and a
user's own with a few black images. What is counted is what autograd keeps, and what lives beside it at the worst
moment. What a device's libraries take besides (workspaces, caches) is not counted. Attention is counted as the fused
kernels of GPUs and processors take it, which keep no attention weights; on meta torch itself would make all of them.
"""

import json
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mcoherence.files.canonical import canonical_json
from mcoherence.models.build import Shape, outline

# train: forward and backward in training mode; measure: the same in eval mode; evaluate: forward alone.
Way = Literal["train", "measure", "evaluate"]
ON_META, WITH_WEIGHTS = (64, 128), (4, 8)  # examples of the two passes that are compared


def example_bytes(
    settings: Mapping[str, Any], input_shape: Shape, num_classes: int, way: Way, dtype: torch.dtype = torch.float32
) -> float:
    """Bytes by which the memory of a pass grows with one more example, its input among them.

    Args:
        settings: of the network, as `build_model` takes them; the code of a user's own network is run.
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
        way: what is done, see `Way`.
        dtype: of weights and images; of bfloat16 all but the weights are in it under autocast too.

    Example:
        >>> linear = {"architecture": "mlp", "hidden": []}  # three pixels, a label, two logits, their softmax
        >>> example_bytes(linear, (1, 1, 3), 2, "evaluate")
        36.0
    """
    return _example_bytes(canonical_json(dict(settings)), tuple(input_shape), num_classes, way, dtype)


@cache
def _example_bytes(settings: str, input_shape: Shape, num_classes: int, way: Way, dtype: torch.dtype) -> float:
    model = outline(json.loads(settings), input_shape, num_classes).train(way == "train").to(dtype)
    device = next(model.parameters()).device
    counts = ON_META if device.type == "meta" else WITH_WEIGHTS
    with torch.random.fork_rng(devices=[]):
        few, many = (_peak_of(model, (count, *input_shape), dtype, way != "evaluate") for count in counts)
    return (many - few) / (counts[1] - counts[0])


def _peak_of(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, backward: bool) -> int:
    """Most bytes alive at once in a pass of so many black images, the images among them, weights and buffers not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = next(model.parameters()).device

    def run() -> None:
        inputs = torch.zeros(shape, dtype=dtype, device=device)
        labels = torch.zeros(len(inputs), dtype=torch.int64, device=device)
        with torch.set_grad_enabled(backward):
            loss = F.cross_entropy(model(inputs), labels)
            if backward:
                torch.autograd.grad(loss, parameters, allow_unused=True)

    with _fused_attention():
        return peak_bytes(run, (*model.parameters(), *model.buffers()))


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Inside of the block attention without a mask is the fused kernel on the meta device too."""
    plain = F.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
        mask = args[0] if args else options.get("attn_mask")
        if query.device.type != "meta" or mask is not None or options.get("enable_gqa"):
            return plain(query, key, value, *args, **options)
        rest = {name: value for name, value in options.items() if name in ("dropout_p", "is_causal", "scale")}
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        attended: Tensor = fused(query, key, value, *args[1:3], **rest)[0]
        return attended

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain


def peak_bytes(run: Callable[[], object], known: Iterable[Tensor] = ()) -> int:
    """Most bytes of storage that are alive at once among those that `run` makes, in whichever device's memory.

    Args:
        run: what is followed.
        known: tensors that are there before it, which do not count.
    """
    alive = _Alive(known)
    with alive:
        run()
    return alive.most


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make; `most` is the largest sum of bytes alive at a time."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._known = {one.untyped_storage()._cdata for one in known}
        self._alive: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: nothing is compiled here, and torch would import its compiler for a second, in every job."""
        return False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and one.layout is torch.strided:
                storage = one.untyped_storage()
                if storage._cdata not in self._known and storage._cdata not in self._alive:
                    self._alive[storage._cdata] = storage.nbytes()
                    self._now += storage.nbytes()
                    self.most = max(self.most, self._now)
                    weakref.finalize(storage, self._end, storage._cdata)
        return made

    def _end(self, storage: int) -> None:
        self._now -= self._alive.pop(storage, 0)
