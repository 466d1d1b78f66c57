"""Measure a model in eval mode and leave it as it was found."""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from mcoherence.gradients.given.model_state import ModelState
from mcoherence.gradients.given.refusal import NESTED_BACKWARD, UnsupportedModelError, refuse_training_mode
from mcoherence.gradients.given.wrappers import uncompiled


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[ModelState]:
    """Every module in eval mode inside the block, and gradients on, whatever surrounds it.

    Afterwards each module's mode, the model's buffers, `.grad`, `requires_grad`, and the generators of torch, NumPy and
    Python are as before. The value is what the model was like; see there for how to ask whether a pass has changed it.

    Modules that are compiled run as they were written meanwhile.

    Recurrent layers that cuDNN runs stay in training mode, since it has no backward pass in eval mode; their dropout,
    which is all that the mode decides, is 0 meanwhile.

    Raises:
        UnsupportedModelError: a layer stays in training mode, and computes something else there.
    """
    modes = {module: module.training for module in model.modules()}
    switching = [module for module in modes if type(module).train is not nn.Module.train or "train" in vars(module)]
    weights: dict[Tensor, Tensor] = {p: p.detach().clone() for module in switching for p in module.parameters()}
    recurrent = [module for module in modes if runs_on_cudnn(module)]
    dropouts = [layer.dropout for layer in recurrent]
    cuda_devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    python_generator, numpy_generator = random.getstate(), np.random.get_state()  # noqa: NPY002 (the models' own)
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=cuda_devices), uncompiled():
        state = ModelState(model)
        try:
            torch.clear_autocast_cache()  # weights cast without gradients, in a pass before this one
            model.eval()
            _refuse_changed_weights(switching, weights)
            refuse_training_mode(model)
            for layer in recurrent:
                layer.training, layer.dropout = True, 0.0
            with _nothing_accumulated(model):
                yield state
        finally:
            for module in switching:  # what they have begun for eval mode they end, such as merging weights
                module.train(modes[module])
            for p, value in weights.items():
                if not _are_same(p, value):
                    p.data.copy_(value)
            for module, training in modes.items():
                module.training = training
            for layer, dropout in zip(recurrent, dropouts, strict=True):
                layer.dropout = dropout
            state.restore()
            random.setstate(python_generator)
            np.random.set_state(numpy_generator)  # noqa: NPY002


def _refuse_changed_weights(switching: Iterable[nn.Module], weights: Mapping[Tensor, Tensor]) -> None:
    """Refuse a module that changes weights when it goes to eval mode: those that it merges would have no gradient."""
    for module in switching:
        if not all(_are_same(p, weights[p]) for p in module.parameters()):
            raise UnsupportedModelError(
                f"{type(module).__name__} changes weights when it goes to eval mode, as layers do that merge low-rank "
                "weights; what is merged has no gradient then. Keep it from that (in loralib merge_weights=False)"
            )


def _are_same(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


@contextmanager
def _nothing_accumulated(model: nn.Module) -> Iterator[None]:
    """Refuse a backward pass inside of the model's own, which would write to `.grad`, before it writes.

    No pass of a measurement accumulates gradients. One that a hand-written checkpoint, a reversible block or another
    autograd Function runs in its backward does; what it finds of the weights is missing from the gradients asked for.
    """
    with torch.enable_grad():
        # The node lives as long as somebody keeps it.
        nodes = [p.view_as(p).grad_fn for p in model.parameters() if p.requires_grad and p.is_leaf]
    accumulating = [node.next_functions[0][0] for node in nodes if node is not None]
    handles = [node.register_prehook(_refuse_to_accumulate) for node in accumulating if node is not None]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_to_accumulate(*_: object) -> None:
    raise UnsupportedModelError(NESTED_BACKWARD)


def runs_on_cudnn(module: nn.Module) -> TypeGuard[nn.RNNBase]:
    """Whether a module is a recurrent layer on a GPU."""
    return isinstance(module, nn.RNNBase) and any(p.device.type == "cuda" for p in module.parameters())
