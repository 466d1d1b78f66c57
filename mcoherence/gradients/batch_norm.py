"""Batch norm and per-example gradients: a copy of a network whose running statistics are those of a sample.

With the statistics of its batch an example has no gradient of its own, so gradients are measured with running ones.
Those that training has left lag behind the weights: torch takes a tenth of every mini-batch by default. A copy whose
running statistics are those of the measured sample, at the weights as they are, normalises as a training step on the
whole sample would, and still keeps examples apart: the statistics are constants of its gradients. It is choice (b) of
frozen batch statistics; how the papers treated batch norm is not known. `minibatches` has the third choice.

Index letters: n examples of a batch, C channels.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy

from mcoherence.device import has_no_float64
from mcoherence.gradients.given.refusal import UnsupportedModelError, no_graph_kept
from mcoherence.gradients.given.trees import Tree, length, on_device, outputs_of

_STATISTICS = ("running_mean", "running_var")
_NEVER_OF_A_BATCH = "FrozenBatchNorm2d"  # torchvision's: an affine map with fixed numbers, in training too


def batch_norm_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers that normalise by the statistics of their mini-batch while the model trains.

    BatchNorm1d, 2d, 3d and SyncBatchNorm, affine or not, with running statistics or without. A layer that the model's
    own `train()` keeps in eval mode is frozen: training normalises by its running statistics, so it is not named. Nor
    is torchvision's FrozenBatchNorm2d, nor instance norm, which never looks at other examples.

    Example:
        >>> batch_norm_layers(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.LayerNorm(3)))
        ('1',)
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.train()
        return tuple(
            name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and module.training
        )
    finally:
        for module, training in modes.items():
            module.training = training


def with_sample_statistics(model: nn.Module, batches: Iterable[tuple[Any, ...]]) -> nn.Module:
    """A copy of the model whose batch norm has the mean and the variance of a sample as running statistics.

    The variance is divided by the number of values, as a layer in training mode does for its batch. So the copy in eval
    mode gives the outputs that the model in training mode gives for the whole sample as one batch (without dropout).
    The statistics of a layer depend on those of the layers before it: they are set layer by layer in the order of the
    forward pass, each from one pass over the sample that ends at this layer, with the layers before it already set. So
    they are exact however the sample is cut into batches, and it is never in memory at once. A network of L such layers
    takes L passes, which on average end halfway. `momentum=None` in training mode, an average over batches, would give
    later layers what batches give, not what the sample does.

    The model, its mode and its statistics stay as they are, and those of `batch_norm_layers` alone are others in the
    copy, which is in the mode that the model is in. One that has no running statistics gets some, and so can be
    measured. A network without such layers is copied and that is all.

    Args:
        model: any torch model whose batch norm layers are torch's.
        batches: (inputs [n, ...], ...), of which inputs alone are read; a list or what else can be gone through again
            and again, with the same batches each time.

    Raises:
        UnsupportedModelError: the copy cannot be had, or not these statistics; the message names the layer.
        ValueError: there are no examples, the batches can be gone through once only, or a layer has one value per
            channel, which has no variance.

    Example:
        >>> model = nn.BatchNorm1d(1, affine=False, eps=0.0)
        >>> sample = [(torch.tensor([[1.0], [2.0]]),), (torch.tensor([[3.0]]),)]
        >>> copy = with_sample_statistics(model, sample)
        >>> copy.running_mean.tolist(), round(copy.running_var.item(), 4), model.running_mean.tolist()
        ([2.0], 0.6667, [0.0])
    """
    if iter(batches) is batches:
        raise ValueError(
            "batches: found an iterator, which can be gone through once, expected a list or the like: layers are set "
            "one after the other"
        )
    _refuse(model)
    copy = _copied(model)
    modules = dict(copy.named_modules())
    layers = {name: modules[name] for name in batch_norm_layers(copy)}
    modes = {module: module.training for module in copy.modules()}
    copy.eval()
    with torch.inference_mode(False), torch.no_grad(), no_graph_kept():  # in this order: the first turns gradients on
        waiting = dict(layers)
        while waiting:
            name, moments = _first_reached(copy, waiting, batches)
            if moments is None:
                break  # no pass comes to the others
            _set(name, waiting.pop(name), moments)
        if layers:
            _require_single_calls(copy, layers, batches)
    for module, training in modes.items():
        module.training = training
    return copy


@dataclass
class _Moments:
    """Mean and sum of squared deviations of a layer's input per channel, float64 [C], over `count` values each."""

    count: int
    mean: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> "_Moments":
        """Those of inputs [n, C, ...]."""
        values = inputs.detach().transpose(0, 1).flatten(1)
        values = (values.cpu() if has_no_float64(values.device) else values).double()
        mean = values.mean(dim=1)
        return cls(values.shape[1], mean, (values - mean[:, None]).square().sum(dim=1))

    def add(self, other: "_Moments") -> None:
        """Make these the moments of both together (Chan et al. 1979), which loses nothing to cancellation."""
        total, apart = self.count + other.count, other.mean - self.mean
        self.mean = self.mean + apart * (other.count / total)
        self.deviations = self.deviations + other.deviations + apart.square() * (self.count * other.count / total)
        self.count = total


class _Reached(BaseException):
    """Ends a forward pass at a layer; no Exception, so that no model takes it for a fault of its own."""


def _first_reached(
    model: nn.Module, waiting: Mapping[str, nn.Module], batches: Iterable[tuple[Any, ...]]
) -> tuple[str, _Moments | None]:
    """The layer among `waiting` that a forward pass comes to first, and the moments of its input over the sample."""
    found: dict[str, _Moments] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            moments = _Moments.of(arguments[0])
            if name in found:
                found[name].add(moments)
            else:
                found[name] = moments
            raise _Reached

        return hook

    handles = [module.register_forward_pre_hook(note(name)) for name, module in waiting.items()]
    examples = missed = 0
    try:
        for inputs in _inputs_of(model, batches):
            examples += 1
            try:
                outputs_of(model, inputs)
                missed += 1
            except _Reached:
                pass
    finally:
        for handle in handles:
            handle.remove()
    if not examples:
        raise ValueError("batches: found no examples, expected at least one")
    if not found:
        return "", None
    if len(found) > 1 or missed:
        raise UnsupportedModelError(
            f"batch norm that not every batch comes to, or not in one order: {', '.join(found)}; the forward pass goes "
            "another way for some examples, so that the statistics of the sample are none of one layer; measure with "
            "running statistics"
        )
    return next(iter(found.items()))


def _require_single_calls(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[tuple[Any, ...]]
) -> None:
    """Raise UnsupportedModelError where one pass calls a layer twice: its calls have different statistics."""
    calls = dict.fromkeys(layers, 0)

    def count(name: str) -> Any:
        def hook(_module: nn.Module, _arguments: tuple[Any, ...]) -> None:
            calls[name] += 1

        return hook

    handles = [module.register_forward_pre_hook(count(name)) for name, module in layers.items()]
    try:
        outputs_of(model, next(_inputs_of(model, batches)))
    finally:
        for handle in handles:
            handle.remove()
    if twice := [name for name, number in calls.items() if number > 1]:
        raise UnsupportedModelError(
            f"batch norm that a forward pass calls more than once: {', '.join(twice)}; in training every call has "
            "statistics of its own, and the layer can keep one; use a layer for each, or measure with running "
            "statistics"
        )


def _inputs_of(model: nn.Module, batches: Iterable[tuple[Any, ...]]) -> Iterator[Tree]:
    """The inputs of the batches that are not empty, where the model is."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for batch in batches:
        if length(batch[0]):
            yield on_device(batch[0], device)


def _set(name: str, layer: nn.Module, moments: _Moments) -> None:
    """Make the moments the running statistics of a layer, in the dtype of those that it has."""
    if moments.count < 2:
        raise ValueError(f"batch norm {name!r}: found one value per channel in the sample, expected two or more")
    for key, value in zip(_STATISTICS, (moments.mean, moments.deviations / moments.count), strict=True):
        kept = getattr(layer, key)
        like = kept if kept is not None else next(layer.parameters(), None)
        setattr(layer, key, value.clone() if like is None else value.to(like.dtype).to(like.device))


def _refuse(model: nn.Module) -> None:
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(value):
            raise UnsupportedModelError(
                f"weights that a first pass is to make: {name}; pass one batch through the model before it is measured"
            )
    for name, module in model.named_modules():
        known = isinstance(module, _NormBase) or type(module).__name__ == _NEVER_OF_A_BATCH
        if not known and any(key in module._buffers for key in _STATISTICS):
            raise UnsupportedModelError(
                f"running statistics of a layer that is none of torch's: {name} ({type(module).__name__}); how it "
                "normalises in training is not known here; derive it from torch's batch norm, or measure with running "
                "statistics"
            )


def _copied(model: nn.Module) -> nn.Module:
    try:
        with torch.inference_mode(False):  # or autograd could not use the copy's weights
            return deepcopy(model)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UnsupportedModelError(
            f"a model that cannot be copied ({str(error).splitlines()[0]}); other batch norm statistics are set in a "
            "copy, so that the model stays as it is; measure with running statistics"
        ) from error


def with_batch_statistics(model: nn.Module) -> nn.Module:
    """A copy of the model in eval mode but for `batch_norm_layers`, which normalise by the statistics of their batch.

    Raises:
        UnsupportedModelError: the model cannot be copied, or has layers of which it is not known how they normalise.
    """
    _refuse(model)
    copy = _copied(model)
    modules = dict(copy.named_modules())
    layers = [modules[name] for name in batch_norm_layers(copy)]
    copy.eval()
    for layer in layers:
        layer.training = True
    return copy
