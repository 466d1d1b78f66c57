"""A digest of a model's weights, by which statistics of other weights are told apart.

Sums of the bits of every tensor along its first axis, which are integers and so the same on every device and however
many threads there are, with names, shapes and dtypes. Two sets of weights with the same sums by chance are not to be
expected; weights exchanged between the columns of a row are not told apart.
"""

from hashlib import sha256

import torch
from torch import Tensor, nn

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: nn.Module) -> str:
    """The digest of the parameters and buffers of a model, 64 hexadecimal digits."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    digest, sums = sha256(), []
    for name, value in tensors.items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} {value.requires_grad}\n".encode())
        if value.layout == torch.strided and not value.is_quantized:
            sums.append(_bits(value.detach()))
    if sums:
        digest.update(torch.cat([value.to(sums[0].device) for value in sums]).cpu().numpy().tobytes())
    return digest.hexdigest()


def _bits(value: Tensor) -> Tensor:
    """Sums of the bits of a tensor [r, ...] along all axes but the first, int64 [r]."""
    value = torch.view_as_real(value) if value.is_complex() else value
    integers = value.reshape(-1) if value.dim() == 0 else value
    if value.is_floating_point():
        integers = integers.view(_INTEGERS[value.dtype.itemsize])
    if integers.dim() == 1:
        return integers.to(torch.int64)
    return integers.sum(dim=tuple(range(1, integers.dim())), dtype=torch.int64)
