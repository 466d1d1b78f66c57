"""How fast a network can be trained where nothing was measured: by its operations, and by the bytes that it moves.

Every operation of a pass takes as long as its arithmetic or as the memory that it reads and writes, whichever takes
longer (the roofline model, Williams et al., Communications of the ACM 52, 2009). So networks of depth-wise
convolutions, whose arithmetic is next to nothing, are not planned as if it were all that they take.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mcoherence.files.canonical import canonical_json
from mcoherence.models.build import outline
from mcoherence.study.data_sizes import Size


@dataclass(frozen=True)
class DevicePeak:
    """What a device reaches, as a rule and not at best: operations per second, and bytes of its memory per second."""

    flops_per_s: float
    bytes_per_s: float


# Of one GPU, of one processor core: stated. That of a GPU gives what is published of ResNets, VGG and Inception on an
# A100 in TF32, and what ResNet-50 took on an H200 in float32 (benchmarks/RESULTS.md); the test has the numbers.
PEAKS = {"cuda": DevicePeak(3e13, 1.2e12), "mps": DevicePeak(2e12, 2e11), "cpu": DevicePeak(2e10, 1e10)}
# Kernels of depth-wise convolutions reach so small a part of the memory's speed: fitted to about 1,000 images a second
# that are published of EfficientNet-B0 on an A100, one number.
DEPTH_WISE = 10
ON_META, WITH_WEIGHTS = 64, 16  # examples of the pass that is counted


def training_seconds(model: Mapping[str, Any], size: Size, peak: DevicePeak) -> float:
    """Seconds that one image takes, forward and backward, in float32 on a device with this peak.

    Args:
        model: settings of the network; the code of a user's own is run.
        size: of its data.
        peak: of the device.
    """
    return sum(
        max(flops / peak.flops_per_s, moved / peak.bytes_per_s)
        for flops, moved in _operations(canonical_json(dict(model)), size)
    )


@cache
def _operations(model: str, size: Size) -> tuple[tuple[float, float], ...]:
    """(operations, bytes moved) of each step of a pass forward and backward, for one image of many."""
    network = outline(json.loads(model), size.shape, size.classes)
    trained = [p for p in network.parameters() if p.requires_grad]
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    count = ON_META if device.type == "meta" else WITH_WEIGHTS
    images = torch.zeros(count, *size.shape, device=device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    counter = _Counter()
    with torch.random.fork_rng(devices=[]), counter:
        loss = F.cross_entropy(network.train()(images), labels)
        if trained and loss.requires_grad:  # else it cannot be trained, which its check says
            torch.autograd.grad(loss, trained, allow_unused=True)
    return tuple((flops / count, moved / count) for flops, moved in counter.steps)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what every operation computes, and the bytes of the tensors that it is given and makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[tuple[float, float]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: nothing is compiled here, and torch would import its compiler for a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.is_view:
            return made
        tensors = {id(one): one for one in tree_leaves((args, kwargs, made)) if isinstance(one, Tensor)}
        moved = sum(one.numel() * one.element_size() for one in tensors.values())
        packet, flops = func.overloadpacket, 0.0
        if packet in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward):
            # torch's own count takes the backward pass of a convolution in groups for one without.
            backward = packet is torch.ops.aten.convolution_backward
            weight, wide, groups = (args[2], args[0], args[9]) if backward else (args[1], made, args[8])
            needed = sum(args[-1][:2]) if backward else 1
            flops = 2.0 * needed * wide.numel() * weight[0].numel()
            moved *= DEPTH_WISE if groups > 1 and weight.shape[1] == 1 else 1
        elif packet in flop_registry:
            flops = float(flop_registry[packet](*args, **(kwargs or {}), out_val=made))
        self.steps.append((flops, float(moved)))
        return made
