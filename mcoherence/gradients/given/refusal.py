"""Models without exact per-example gradients, and the words in which they are refused."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mcoherence.errors import UserError
from mcoherence.gradients.given.wrappers import is_sharded

MIXED = (
    "the model or the loss mixes the examples of a batch, or draws random numbers, even in eval mode; "
    "make the loss of an example depend on that example alone, not on the others nor on how many there are"
)

WRITES_TO_SHARED = (
    "the model or the loss writes to its inputs or targets, and two of these share memory, so that what it writes to "
    "one may be in the other; hand over copies (targets.clone()), or let it compute new ones, as in x = x / 255 in "
    "place of x /= 255"
)
REENTRANT = (
    "reentrant activation checkpoints, which cannot be asked for the gradients of single tensors; use "
    "torch.utils.checkpoint.checkpoint(..., use_reentrant=False), or switch checkpoints off for the measurement"
)
NESTED_BACKWARD = (
    "a forward or backward pass runs a backward pass of its own that writes to the `.grad` of weights, as hand-written "
    "checkpoints and reversible blocks do; of these weights the gradients of single examples are not to be had. Call "
    "the block directly for the measurement, or use torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
)


class UnsupportedModelError(UserError):
    """A model whose per-example gradients cannot be taken exactly; the message names the module and the way out."""


def refuse_unsupported(model: nn.Module) -> None:
    """Raise UnsupportedModelError for layers that mix the examples of a batch, or change weights, in eval mode.

    So too for models that cannot be measured at all: scripted ones, those with weights that are not there yet, that
    autograd cannot use, that lie on several devices or in parts with several processes, and those with nothing to
    train.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"model: found {type(model).__name__}, expected a torch.nn.Module, whose parameters have names; make one "
            "whose forward calls it"
        )
    modules = dict(model.named_modules())
    _refuse_modules(modules)
    _refuse_weights(model)


def _refuse_modules(modules: Mapping[str, nn.Module]) -> None:
    if scripted := _named(modules, lambda module: isinstance(module, torch.jit.ScriptModule)):
        raise UnsupportedModelError(
            f"scripted modules: {scripted[0]}; they take no hooks and tell nothing of their layers; measure the model "
            "that was scripted, before torch.jit.script or torch.jit.trace"
        )

    mixing = _named(
        modules, lambda module: isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    )
    if mixing:
        raise UnsupportedModelError(
            f"batch norm without running statistics: {', '.join(mixing)}; it mixes the examples of a batch even in "
            "eval mode, so that no example has a gradient of its own; use track_running_stats=True or another norm"
        )

    changing = _named(
        modules,
        lambda module: (
            isinstance(module, nn.Embedding | nn.EmbeddingBag)
            and (module.max_norm is not None or module.scale_grad_by_freq)
        ),
    )
    if changing:
        raise UnsupportedModelError(
            f"embedding with max_norm or scale_grad_by_freq: {', '.join(changing)}; the first changes the weights in a "
            "forward pass, the second makes an example's gradient depend on its batch; measure with both switched off"
        )


def _refuse_weights(model: nn.Module) -> None:
    if sharded := is_sharded(model):
        raise UnsupportedModelError(
            f"weights of which every process holds a part (FSDP, tensor parallel, ZeRO): {', '.join(sharded[:5])}; "
            "gather them and load them into a plain copy of the model "
            "(torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict=True), and measure "
            "that on one process"
        )
    named = dict(model.named_parameters())
    everything = {**named, **dict(model.named_buffers())}
    if lazy := [name for name, value in everything.items() if is_lazy(value)]:
        raise UnsupportedModelError(
            f"weights that a first pass is to make: {', '.join(lazy[:5])}; pass one batch through the model before it "
            "is measured"
        )
    if inference := [name for name, value in everything.items() if value.is_inference()]:
        raise UnsupportedModelError(
            f"weights made in torch.inference_mode: {', '.join(inference[:5])}; autograd cannot use them; make "
            "the model outside of it, and load their values there"
        )
    trainable = {name: p for name, p in named.items() if p.requires_grad}
    if not trainable:
        raise UnsupportedModelError(
            "no parameter of the model requires a gradient, so that there is nothing to measure; call "
            "requires_grad_() on those that are to be"
        )
    devices = {str(p.device): name for name, p in trainable.items()}
    if "meta" in devices:
        raise UnsupportedModelError(
            f"parameters with values were expected, found {devices['meta']} on meta, which holds none; make room for "
            "them with .to_empty(device=...) and load them"
        )
    if len(devices) > 1:
        found = ", ".join(f"{name} on {device}" for device, name in devices.items())
        raise UnsupportedModelError(
            f"parameters on one device were expected, found {found}; move the model there with .to(device)"
        )


def refuse_training_mode(model: nn.Module) -> None:
    """Raise UnsupportedModelError for layers that `model.train(False)` has left in training mode, where it matters."""
    if training := _deciding(model):
        raise UnsupportedModelError(
            f"layers that stay in training mode: {', '.join(training)}; gradients are measured in eval mode, and some "
            "train() of the model keeps these out of it; let it pass the mode on for the measurement"
        )


def refuse_loss_in_training_mode(loss_fn: object) -> None:
    """Raise UnsupportedModelError for a loss that is a module with layers in training mode, where it matters."""
    if isinstance(loss_fn, nn.Module) and (training := _deciding(loss_fn)):
        raise UnsupportedModelError(
            f"the loss has layers in training mode: {', '.join(training)}; there they draw random numbers or mix the "
            "examples; call the loss's eval() for the measurement"
        )


def _deciding(module: nn.Module) -> list[str]:
    """Names of layers in training mode that compute something else there."""
    kinds = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.RReLU)
    return _named(dict(module.named_modules()), lambda each: each.training and isinstance(each, kinds))


def _named(modules: Mapping[str, nn.Module], chosen: Callable[[nn.Module], bool]) -> list[str]:
    """Names and types of the modules that are `chosen`."""
    return [f"{name} ({type(module).__name__})".lstrip() for name, module in modules.items() if chosen(module)]


@contextmanager
def no_graph_kept() -> Iterator[None]:
    """Names the way out where a model goes back through tensors that it has kept from an earlier pass.

    So too where it uses reentrant checkpoints, through which no gradient of chosen tensors can be had.
    """
    try:
        yield
    except RuntimeError as error:
        refusal = _refusal_of_kept_graph(error)
        if refusal is None:
            raise
        raise refusal from error


def _refusal_of_kept_graph(error: RuntimeError) -> UnsupportedModelError | None:
    """In place of torch's words for a second way back through one graph or a checkpoint; None for any other error."""
    if "use_reentrant=True" in str(error):
        return UnsupportedModelError(REENTRANT)
    if "backward through the graph a second time" not in str(error):
        return None
    return UnsupportedModelError(
        "the model keeps tensors that it has computed of its parameters from one pass to the next, so that autograd "
        "cannot go back through them twice; measure it without that cache"
    )
