"""Where training starts from: initial weights scaled by a factor, and the initial output subtracted.

Both steer between the kernel (lazy) regime, in which a network behaves like its linearisation at the start, and the
rich regime, in which its features change: Chizat, Oyallon and Bach, "On Lazy Training in Differentiable Programming"
(arXiv 1812.07956), and Woodworth et al., "Kernel and Rich Regimes in Overparametrized Models" (arXiv 2002.09277).
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from mcoherence.errors import UserError


def scale_initial_weights(model: nn.Module, factor: float) -> None:
    """Multiply every trainable parameter by `factor`: w0 -> factor * w0, as Woodworth et al. (section 3) scale theirs.

    Biases and the weights and biases of norms are parameters like any other and are scaled too; tied ones once;
    running statistics are none. Without biases, L layers that are homogeneous (linear, convolution, ReLU, pooling) make
    f(x; factor * w0) = factor^L f(x; w0). Weights that batch norm follows do not change its output (in train mode, but
    for its epsilon), so that there the factor on its own weight is what scales the signal, while smaller weights before
    it make for larger relative steps. Were norms left out, the factor would act on the last layer alone.
    """
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad and factor != 1:
                p.mul_(factor)


class OutputChange(nn.Module):
    """f(x; w) - f(x; w0): what training has changed of a network's logits, zero at the start (Chizat et al., 2.1).

    Attributes:
        network: the network that is trained, f(.; w).
        initial: its frozen copy, f(.; w0). Its parameters require no gradient, so that neither an optimiser nor the
            measurement of gradients counts them; they are in the state_dict, and so in every checkpoint, under
            "initial.".

    The copy follows the mode of the whole. In train mode both normalise by the statistics of the mini-batch, and each
    keeps running statistics of its own activations; in eval mode each uses its own. So the copy is the network that
    would be had if training went on without moving the weights, and while w = w0 the output is zero in either mode.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.initial = deepcopy(network).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """The change of the logits [n, classes] for inputs [n, C, H, W]."""
        change: Tensor = self.network(inputs) - self.initial(inputs)
        return change

    def require_zero(self, input_shape: tuple[int, int, int]) -> None:
        """Raise UserError unless the output is zero in train mode, which dropout and its kind would prevent."""
        copy = deepcopy(self).train()
        inputs = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            change, logits = copy(inputs), copy.network(inputs)
        if change.abs().max() > 1e-3 * logits.abs().max():
            raise UserError(
                "subtract_initial_output: found a network that draws random numbers in training, of which its initial "
                "copy would draw others, expected none; set its dropout and stochastic_depth to 0"
            )
