"""The buffers and weights of a model as they are: whether a pass changes them, and back to what they were.

A pass of a batch that changes a buffer (the observers of fake quantisation, running maxima, counters) makes the
gradient of an example depend on those that came before it. Versions and identities are compared after every pass, which
costs next to nothing, and values where these tell of a change; all values once at the end, for what was written behind
autograd's back. A tensor that is a plain attribute of a module may be replaced, as models do that keep what they saw
last, but not be written to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcoherence.gradients.refusal import UnsupportedModelError


@dataclass(frozen=True)
class _Kept:
    """A tensor at a place of a module, its version, and a copy of its values (None for parameters)."""

    tensor: Tensor
    version: int
    values: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor, copied: bool) -> "_Kept":
        return cls(tensor, _version(tensor), tensor.detach().clone() if copied else None)

    def is_as_it_was(self, now: Tensor | None, every_value: bool) -> bool:
        """Whether what is there now holds the same values."""
        untouched = now is self.tensor and _version(self.tensor) == self.version
        if self.values is None or (untouched and not every_value):
            return untouched
        return now is not None and _equal(now, self.values)


# Where a module keeps tensors.
_PARAMETERS, _BUFFERS, _ATTRIBUTES = "_parameters", "_buffers", "__dict__"


class ModelState:
    """What a model's buffers, weights and other tensors were when this was made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._kept: dict[tuple[nn.Module, str, str], _Kept] = {}
        self._requires_grad = {p: (p.requires_grad, p.grad) for p in model.parameters()}
        self.adopt()

    def adopt(self) -> None:
        """Take in tensors that were not there before: caches that a first pass fills."""
        for module, kind, name, tensor in _tensors(self._model):
            if (module, kind, name) not in self._kept:
                self._kept[module, kind, name] = _Kept.of(tensor, copied=kind != _PARAMETERS)

    def require_unchanged(self, every_value: bool = False) -> None:
        """Hold the tensors against what they were, and take in new ones; all their values too if `every_value`.

        Raises:
            UnsupportedModelError: a pass has changed some; names them.
        """
        changed = []
        for (module, kind, name), kept in self._kept.items():
            now = kept.tensor if kind == _ATTRIBUTES else _holder(module, kind).get(name)
            if not kept.is_as_it_was(now, every_value):
                changed.append((f"{self._names.get(module, '')}.{name}".lstrip("."), kind))
        if not changed:
            self.adopt()
            return
        names = ", ".join(dict.fromkeys(name for name, _ in changed[:5]))
        what = "weights" if all(kind == _PARAMETERS for _, kind in changed) else "buffers"
        raise UnsupportedModelError(
            f"{what} that a forward pass changes in eval mode: {names}; the gradient of an example then depends on the "
            "passes before it; switch the observers, counters or running values off for the measurement "
            "(torch.ao.quantization.disable_observer, say)"
        )

    def restore(self) -> None:
        """Put back identity and values of the buffers, identity of the weights, and what requires a gradient."""
        for (module, kind, name), kept in self._kept.items():
            holder = _holder(module, kind)
            if kind != _ATTRIBUTES and holder.get(name) is not kept.tensor:
                holder[name] = kept.tensor
            if kept.values is not None and not kept.is_as_it_was(kept.tensor, every_value=True):
                with torch.no_grad():
                    if kept.tensor.shape != kept.values.shape:
                        kept.tensor.data = kept.values
                    kept.tensor.copy_(kept.values)
        for p, (required, grad) in self._requires_grad.items():
            if p.requires_grad != required:
                p.requires_grad_(required)
            if p.grad is not grad:
                p.grad = grad


def _tensors(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, Tensor]]:
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # keeps its tensors out of Python's reach
        for kind in (_PARAMETERS, _BUFFERS, _ATTRIBUTES):
            for name, value in _holder(module, kind).items():
                if isinstance(value, Tensor) and not (kind == _ATTRIBUTES and value.requires_grad):
                    yield module, kind, name, value


def _holder(module: nn.Module, kind: str) -> dict[str, Tensor | None]:
    holder: dict[str, Tensor | None] = getattr(module, kind)
    return holder


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else int(tensor._version)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same, NaN being NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.layout != torch.strided or one.is_quantized or one.device.type == "meta":
        return True  # nothing to compare
    same = torch.equal(one, other)
    return same or bool(((one == other) | ((one != one) & (other != other))).all())
