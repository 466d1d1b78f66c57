"""What float32 means: whether matrix units may round the factors of float32 products to TF32 or bfloat16 first.

torch lets cuDNN compute float32 convolutions in TF32 unless told otherwise, and matrix products where a process asked
for it: each factor keeps 10 of its 23 bits, a relative error of 1e-3. The sum of the gradients and their norms, which
are computed by different kernels, would then differ by more than the identities that they are checked by. So float32
is float32 here unless a setting says TF32, which is then part of what is recorded.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

IEEE, TF32 = "ieee", "tf32"  # torch's names of the two
NOT_SET = "none"  # torch's name for what nothing more general says either: float32


def precision_name(tf32: bool) -> str:
    """What a file records of float32 products: "ieee", or "tf32" where matrix units may use that."""
    return TF32 if tf32 else IEEE


@contextmanager
def float32_products(tf32: bool = False) -> Iterator[None]:
    """Within the block, products and convolutions of float32 tensors are float32's, or TF32's on GPUs that have it.

    Whatever the process was set to (`torch.set_float32_matmul_precision`, `torch.backends.cudnn.allow_tf32`, ...) is
    as before afterwards. These are settings of the process, not of a thread. On the processor products are float32's in
    either case: oneDNN's bfloat16, which "medium" asks for, is switched off.

    Args:
        tf32: whether CUDA's matrix units may round factors to TF32.

    Example:
        >>> torch.set_float32_matmul_precision("medium")
        >>> with float32_products():
        ...     torch.get_float32_matmul_precision()
        'highest'
        >>> torch.get_float32_matmul_precision()
        'medium'
        >>> torch.set_float32_matmul_precision("highest")
    """
    found = _read()
    try:
        # By the older names first: they keep both of torch's ways to ask in step, the newer ones do not.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        for unit, precision in zip(_units(), [precision_name(tf32)] * 3 + [IEEE] * 3, strict=True):
            if _meaning(unit.fp32_precision) != precision:
                unit.fp32_precision = precision
        yield
    finally:
        _restore(found)


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Within the block, operations compute in the dtypes that they are given, whatever surrounds it."""
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def _read() -> tuple[str | None, bool | None, list[str]]:
    """How torch is set now; None for what it cannot say in one word, since units were set apart by the newer names."""
    try:
        products: str | None = torch.get_float32_matmul_precision()
    except RuntimeError:
        products = None
    try:
        convolutions: bool | None = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        convolutions = None
    return products, convolutions, [unit.fp32_precision for unit in _units()]


def _restore(found: tuple[str | None, bool | None, list[str]]) -> None:
    products, convolutions, precisions = found
    if products is not None:
        torch.set_float32_matmul_precision(products)
    if convolutions is not None:
        torch.backends.cudnn.allow_tf32 = convolutions
    for unit, precision in zip(_units(), precisions, strict=True):
        if unit.fp32_precision != precision:
            unit.fp32_precision = precision


def _units() -> tuple[Any, ...]:
    """What torch can set apart: CUDA's matrix products, convolutions and recurrent layers, then the processor's."""
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    on_gpu = (cuda.matmul, cudnn.conv, cudnn.rnn)  # type: ignore[attr-defined]
    return (*on_gpu, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)  # type: ignore[attr-defined]


def _meaning(precision: str) -> str:
    return IEEE if precision == NOT_SET else precision
