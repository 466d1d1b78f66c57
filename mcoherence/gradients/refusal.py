"""Models without exact per-example gradients, and the words in which they are refused."""

from torch import nn

MIXED = (
    "the model or the loss mixes the examples of a batch, or draws random numbers, even in eval mode; "
    "make the loss of an example depend on that example alone"
)


class UnsupportedModelError(Exception):
    """A model whose per-example gradients cannot be taken exactly; the message names the module and the way out."""


def refuse_unsupported(model: nn.Module) -> None:
    """Raise UnsupportedModelError for layers that mix the examples of a batch, or change weights, in eval mode."""
    mixing = [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    if mixing:
        raise UnsupportedModelError(
            f"batch norm without running statistics: {', '.join(mixing)}; it mixes the examples of a batch even in "
            "eval mode, so that no example has a gradient of its own; use track_running_stats=True or another norm"
        )

    changing = [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        and (module.max_norm is not None or module.scale_grad_by_freq)
    ]
    if changing:
        raise UnsupportedModelError(
            f"embedding with max_norm or scale_grad_by_freq: {', '.join(changing)}; the first changes the weights in a "
            "forward pass, the second makes an example's gradient depend on its batch; measure with both switched off"
        )
