"""The buffers and weights of a model as they are: whether a pass changes them, and back to what they were.

A pass of a batch that changes a buffer (the observers of fake quantisation, running maxima, counters) makes the
gradient of an example depend on those that came before it. Versions and identities are compared after every pass, which
costs next to nothing, and values where these tell of a change; all values once at the end, for what was written behind
autograd's back. A tensor that is a plain attribute of a module may be replaced, as models do that keep what they saw
last, but not be written to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mcoherence.gradients.given.reading import are_equal
from mcoherence.gradients.given.refusal import UnsupportedModelError


@dataclass(frozen=True)
class _Kept:
    """A tensor at a place of a module, its version, and a copy of its values (None for parameters)."""

    tensor: Tensor
    version: int
    values: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor, copied: bool) -> "_Kept":
        return cls(tensor, _version(tensor), tensor.detach().clone() if copied else None)

    def is_untouched(self, now: Tensor | None) -> bool:
        """Whether what is there now is the same tensor, and nothing has been written to it."""
        return now is self.tensor and _version(self.tensor) == self.version


_Place = tuple[nn.Module, str, str]  # module, which of the holders below, name there
# Where a module keeps tensors.
_PARAMETERS, _BUFFERS, _ATTRIBUTES = "_parameters", "_buffers", "__dict__"


class ModelState:
    """What a model's buffers, weights and other tensors were when this was made."""

    def __init__(self, model: nn.Module) -> None:
        # Modules whose tensors Python can reach.
        self._modules = {m: name for name, m in model.named_modules() if not isinstance(m, torch.jit.ScriptModule)}
        self._kept: dict[_Place, _Kept] = {}
        self._requires_grad = {p: (p.requires_grad, p.grad) for p in model.parameters()}
        for kind in (_PARAMETERS, _BUFFERS, _ATTRIBUTES):
            self._adopt(kind)
        self._found = frozenset(self._kept)  # the others came with eval mode, or a pass

    def _adopt(self, kind: str) -> None:
        """Take in tensors that were not there before, such as caches that a first pass fills."""
        for module in self._modules:
            for name, value in _holder(module, kind).items():
                if not isinstance(value, Tensor) or (module, kind, name) in self._kept:
                    continue
                if not (kind == _ATTRIBUTES and value.requires_grad):
                    self._kept[module, kind, name] = _Kept.of(value, copied=kind != _PARAMETERS)

    def require_unchanged(self, every_value: bool = False) -> None:
        """Hold the tensors against what they were, and take in new ones; all their values too if `every_value`.

        Raises:
            UnsupportedModelError: a pass has changed some; names them.
        """
        there = {
            place: kept.tensor if place[1] == _ATTRIBUTES else _holder(*place[:2]).get(place[2])
            for place, kept in self._kept.items()
        }
        changed = [
            (f"{self._modules[module]}.{name}".lstrip("."), kind)
            for module, kind, name in self._changed(there, every_value)
        ]
        if not changed:
            self._adopt(_BUFFERS)
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
            is_own = kind != _ATTRIBUTES and (module, kind, name) in self._found
            if is_own and holder.get(name) is not kept.tensor:
                holder[name] = kept.tensor
        for place in self._changed({place: kept.tensor for place, kept in self._kept.items()}, every_value=True):
            kept = self._kept[place]
            if kept.values is not None:
                with torch.no_grad():
                    if kept.tensor.shape != kept.values.shape:
                        kept.tensor.data = kept.values
                    kept.tensor.copy_(kept.values)
        for p, (required, grad) in self._requires_grad.items():
            if p.requires_grad != required:
                p.requires_grad_(required)
            if p.grad is not grad:
                p.grad = grad

    def _changed(self, there: dict[_Place, Tensor | None], every_value: bool) -> list[_Place]:
        """Places of which what is there now is no longer what was kept; a GPU is asked for values once."""
        same = {place: self._kept[place].is_untouched(now) for place, now in there.items()}
        compared = {}
        for place, now in there.items():
            values = self._kept[place].values
            if values is not None and (every_value or not same[place]):
                compared[place] = (now, values)
        same |= are_equal(compared)
        return [place for place in there if not same[place]]


@contextmanager
def state_kept(loss_fn: object) -> Iterator[None]:
    """Leave the buffers of a loss that is a module as they were: a running mean is not to hang on a measurement."""
    state = ModelState(loss_fn) if isinstance(loss_fn, nn.Module) else None
    try:
        yield
    finally:
        if state is not None:
            state.restore()


def _holder(module: nn.Module, kind: str) -> dict[str, Tensor | None]:
    holder: dict[str, Tensor | None] = getattr(module, kind)
    return holder


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else int(tensor._version)
