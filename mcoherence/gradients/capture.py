"""Hooks that see, for every layer with parameters, what went in and the gradient with respect to what came out.

A forward hook keeps the input and puts a tensor hook on the output. This survives in-place activations (a module's
backward hook does not), and the output itself is never kept, because an in-place operation would overwrite it.
Squared norms are taken inside the tensor hook and the tensors are let go at once, so that no more than one layer's
worth of extra memory is alive at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mcoherence.gradients.fallback import vmap_squared_norms
from mcoherence.gradients.layer_rules import NotModelledError, rule_for, trainable


class UnsupportedModelError(Exception):
    """A model whose per-example gradients cannot be taken exactly; the message names the module and the way out."""


@dataclass
class LayerCapture:
    """One layer with parameters of its own: its qualified name, and after a backward pass its squared norms."""

    name: str
    layer: nn.Module
    calls: int = 0
    squared_norms: dict[str, Tensor] = field(default_factory=dict)

    def qualified(self, parameter: str) -> str:
        """The parameter's name in the model, such as "conv1.weight"."""
        return f"{self.name}.{parameter}" if self.name else parameter


class Capture:
    """Squared norms of per-example gradients, layer by layer, from the hooks of one backward pass."""

    def __init__(self, model: nn.Module) -> None:
        self.layers = [LayerCapture(name, module) for name, module in model.named_modules() if trainable(module)]
        self._measuring_fallback = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Hooks in place inside the block, and gone after it."""
        handles = [
            captured.layer.register_forward_hook(self._forward_hook(captured), with_kwargs=True)
            for captured in self.layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def start_batch(self) -> None:
        """Forget the batch before."""
        for captured in self.layers:
            captured.calls = 0
            captured.squared_norms = {}

    def collected(self) -> dict[str, Tensor]:
        """{qualified parameter name: |g_i|^2, float64 [n]} of the layers that took part in the batch's loss."""
        return {
            captured.qualified(name): norms
            for captured in self.layers
            for name, norms in captured.squared_norms.items()
        }

    def _forward_hook(self, captured: LayerCapture) -> Any:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if self._measuring_fallback:
                return
            captured.calls += 1
            if captured.calls > 1:
                raise UnsupportedModelError(
                    f"module {captured.name!r} is used {captured.calls} times in one forward pass; its uses share one "
                    "gradient, which a rule per call cannot see; give each use a module of its own"
                )
            if len(args) != 1 or kwargs or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
                raise UnsupportedModelError(
                    f"module {captured.name!r} ({type(layer).__name__}) has parameters of its own and is not called "
                    "with one tensor to give one tensor; wrap the parameters in a module that is"
                )
            if output.requires_grad:
                inputs, version = args[0].detach(), args[0]._version
                output.register_hook(  # type: ignore[no-untyped-call]
                    lambda grad: self._measure(captured, inputs, version, grad.detach())
                )

        return hook

    def _measure(self, captured: LayerCapture, inputs: Tensor, version: int, output_grads: Tensor) -> None:
        if inputs._version != version:
            raise UnsupportedModelError(
                f"the input of module {captured.name!r} was changed in place after the module used it; "
                "make that operation out of place"
            )
        rule = rule_for(captured.layer)
        try:
            if rule is None:
                raise NotModelledError
            captured.squared_norms = rule(captured.layer, inputs, output_grads)
        except NotModelledError:
            self._measuring_fallback = True
            try:
                captured.squared_norms = vmap_squared_norms(captured.layer, inputs, output_grads)
            finally:
                self._measuring_fallback = False
