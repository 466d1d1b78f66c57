"""SGD's relatives that suppress weak gradient directions, those that few examples support.

M3 and RM3 follow the coordinate-wise median of mini-batch gradients (arXiv 2003.07422), WinsorizedSGD the mean of
per-example gradients whose extremes are clipped (arXiv 2002.10657); RA3 is the control of RM3, a mean in place of the
median. All share what `descent.RobustSGD` says of learning rate, momentum and weight decay.

    optimizer      examples of one update        gradients held besides the one of the backward pass
    SGD            a mini-batch                  none (momentum: 1)
    M3             a mini-batch, in groups       groups - 1
    SuccessiveM3   `groups` mini-batches         groups - 1, between steps too
    RM3, RA3       a mini-batch                  2, between steps too
    WinsorizedSGD  a mini-batch                  of single examples, see there
"""

from mcoherence.optim.descent import SGD
from mcoherence.optim.median_of_means import M3, SuccessiveM3
from mcoherence.optim.rolling import RA3, RM3
from mcoherence.optim.state import load_optimizer_tensors, optimizer_tensors
from mcoherence.optim.winsorized import WinsorizedSGD

__all__ = ["M3", "RA3", "RM3", "SGD", "SuccessiveM3", "WinsorizedSGD", "load_optimizer_tensors", "optimizer_tensors"]
