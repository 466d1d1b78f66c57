"""A digest of a model's weights, by which statistics of other weights are told apart.

Weighted sums of the bits of every row of every tensor, which are integers and so the same on every device and however
many threads there are, with names, shapes and dtypes. Other weights with the same sums are not to be expected, and the
same numbers in another order have others.
"""

from hashlib import sha256

import torch
from torch import Tensor, nn

_STEP = 0x1E3779B97F4A7C16  # even, so that every weight is odd and no bit of a number is lost
_AT_ONCE = 2**20  # numbers that are weighted in one piece
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: nn.Module) -> str:
    """The digest of the parameters and buffers of a model, 64 hexadecimal digits."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    digest = sha256()
    sums: list[Tensor] = []
    for name, value in tensors.items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} {value.requires_grad}\n".encode())
        if value.layout == torch.strided and not value.is_quantized:
            sums += _sums_of_bits(value.detach())
    if sums:
        digest.update(torch.cat([value.to(sums[0].device) for value in sums]).cpu().numpy().tobytes())
    return digest.hexdigest()


def _sums_of_bits(value: Tensor) -> tuple[Tensor, ...]:
    """The bits of a tensor as integers in rows, each row summed with a weight for every place, int64; sums wrap."""
    value = torch.view_as_real(value) if value.is_complex() else value
    if value.numel() == 0:
        return ()
    flat = value.reshape(len(value), -1) if value.dim() > 1 else value.reshape(1, -1)
    if not flat.is_contiguous() or flat.storage_offset() * flat.element_size() % 8:  # as of a view of another tensor
        flat = flat.clone(memory_format=torch.contiguous_format)
    if flat.element_size() < 8 and flat.is_floating_point() and flat.shape[1] * flat.element_size() % 8 == 0:
        integers = flat.view(torch.int64)  # several numbers at once, in a tenth of the time
    elif flat.is_floating_point():
        integers = flat.view(_INTEGERS[flat.element_size()])
    else:
        integers = flat
    places = torch.arange(integers.shape[1], dtype=torch.int64, device=integers.device) * _STEP + 1
    rows = max(1, _AT_ONCE // integers.shape[1])
    return tuple((part.to(torch.int64) * places).sum(dim=1) for part in torch.split(integers, rows))
