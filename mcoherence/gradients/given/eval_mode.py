"""Measure a model in eval mode and leave it as it was found."""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from mcoherence.errors import first_line
from mcoherence.gradients.given.model_state import ModelState
from mcoherence.gradients.given.reading import are_equal
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
        UnsupportedModelError: the model cannot go to eval mode, or changes its weights or which of them require a
            gradient when it does, or a layer stays in training mode that computes something else there.
    """
    modes = {module: module.training for module in model.modules()}
    switching = [module for module in modes if type(module).train is not nn.Module.train or "train" in vars(module)]
    weights: dict[Tensor, Tensor] = {p: p.detach().clone() for module in switching for p in module.parameters()}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    cuda_devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with ExitStack() as undo:  # each of what is to be undone is, whatever fails of the others
        for entered in (torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=cuda_devices)):
            undo.enter_context(entered)
        undo.enter_context(uncompiled())
        undo.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 (the models' own)
        undo.callback(random.setstate, random.getstate())
        state = ModelState(model)
        undo.callback(state.restore)
        for module, training in modes.items():
            undo.callback(setattr, module, "training", training)
        undo.callback(_put_back, weights)
        torch.clear_autocast_cache()  # weights cast without gradients, in a pass before this one
        _go_to_eval_mode(model, switching, modes)
        for module in reversed(switching):  # what they have begun for eval mode they end, such as merging weights
            undo.callback(module.train, modes[module])
        _refuse_changed_weights(switching, weights)
        _refuse_switched_off(model, trained)
        refuse_training_mode(model)
        for layer in filter(runs_on_cudnn, modes):
            undo.callback(setattr, layer, "dropout", layer.dropout)
            layer.training, layer.dropout = True, 0.0
        with _nothing_accumulated(model):
            yield state


def _go_to_eval_mode(model: nn.Module, switching: Iterable[nn.Module], modes: Mapping[nn.Module, bool]) -> None:
    """Put a model in eval mode; where that fails, all modules that may have begun something for it have ended it."""
    try:
        model.train(False)  # not `eval`: what a model's own does besides, such as swapping weights in, has no way back
    except Exception as error:  # code of the model's own
        for module in switching:
            with suppress(Exception):
                module.train(modes[module])
        raise UnsupportedModelError(
            f"{type(model).__name__} does not go to eval mode: {type(error).__name__}: {first_line(error)}; hand over "
            "a model that does, such as the one that was exported"
        ) from error


def _refuse_changed_weights(switching: Iterable[nn.Module], weights: Mapping[Tensor, Tensor]) -> None:
    """Refuse a module that changes weights when it goes to eval mode: those that it merges would have no gradient."""
    owners = {p: module for module in switching for p in module.parameters()}  # the innermost comes last
    same = are_equal({p: (weights.get(p), p.detach()) for p in owners})
    for p, owner in owners.items():
        if not same[p]:
            raise UnsupportedModelError(
                f"{type(owner).__name__} changes weights when it goes to eval mode, as layers do that merge low-rank "
                "weights; what is merged has no gradient then. Keep it from that (in loralib merge_weights=False)"
            )


def _refuse_switched_off(model: nn.Module, trained: Iterable[str]) -> None:
    """Refuse a model of which weights that are trained need no gradient in eval mode: they would be left out."""
    now = dict(model.named_parameters())
    off = [name for name in trained if name in now and not now[name].requires_grad]
    if off:
        raise UnsupportedModelError(
            f"parameter {off[0]!r} requires a gradient, and none once the model is in eval mode; let the mode leave "
            "requires_grad as it is, or freeze what is not to be measured beforehand"
        )


def _put_back(weights: Mapping[Tensor, Tensor]) -> None:
    same = are_equal({p: (p.detach(), before) for p, before in weights.items()})
    for p, before in weights.items():
        if not same[p]:
            p.data = p.data.copy_(before) if p.shape == before.shape else before


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
