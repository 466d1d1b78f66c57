"""M3 on successive mini-batches, the form of the released code of arXiv 2003.07422."""

import torch
from torch import Tensor

from mcoherence.optim.descent import Closure, gradient_or_zero, loss_of, trained
from mcoherence.optim.median import median_of_lists
from mcoherence.optim.median_of_means import MedianOfMeans


class SuccessiveM3(MedianOfMeans):
    """SGD along the median of the gradients of successive mini-batches at the same weights: M3 of the released code.

    Every call of step() after one backward pass hands in one mini-batch; every `groups`-th call makes an update, the
    others change nothing. An update thus takes `groups` times the examples of SGD's, and an epoch has that many times
    fewer updates. In all else as M3, but that a missing gradient counts as zero always, so that all parameters stay in
    phase. Source: google-research/coherent_gradients, m3.py, which the paper's text does not describe.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = SuccessiveM3([weight], lr=1.0)
        >>> for gradient in (1.0, 5.0, 2.0):
        ...     weight.grad = torch.tensor([gradient])
        ...     _ = optimizer.step()
        >>> weight.item()  # one update of three mini-batches, along the median 2
        -2.0

    Args:
        params: parameters or parameter groups.
        lr: learning rate, positive.
        groups: odd number of successive mini-batches, at least 3; 3 in the released code.
        allow_momentum, momentum, nesterov, weight_decay: see `descent.PlainByDefault`.
    """

    takes_complex = False

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor | None:  # type: ignore[override]
        """Take in one mini-batch's gradient; returns the closure's loss, or None without a closure.

        Raises:
            OptimizerError: what `EagerOptimizer` asks at every step.
        """
        self._require_steppable()
        loss = loss_of(closure)
        for group in self.param_groups:
            complete = []
            for p in trained(group):
                gathered = self.state[p].setdefault("gathered", [])
                if len(gathered) == self.groups - 1:
                    complete.append(p)
                else:
                    gathered.append(gradient_or_zero(p).clone())
            if complete:
                earlier = ([self.state[p]["gathered"][age] for p in complete] for age in range(self.groups - 1))
                median = median_of_lists([*earlier, [gradient_or_zero(p) for p in complete]])
                self._descend(group, complete, median)
                for p in complete:
                    self.state[p]["gathered"] = []
        return loss
