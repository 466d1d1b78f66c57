"""Recurrent layers computed step by step, so that autograd's graph shows every use of their weights.

torch computes nn.RNN and nn.GRU on a processor step by step, and nn.LSTM in float32 by one call of oneDNN, inside of
which no gradient of a gate can be seen. Without oneDNN it goes step by step too, to the same result up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def step_by_step(layer: nn.LSTM) -> list[Any]:
    """Hooks, to be removed, that keep oneDNN from computing the layer's calls."""
    enabled: list[bool] = []

    def before(*_: object) -> None:
        enabled.append(torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)

    def after(*_: object) -> None:
        torch._C._set_mkldnn_enabled(enabled.pop())

    return [
        layer.register_forward_pre_hook(before),
        layer.register_forward_hook(after, always_call=True),
    ]


@contextmanager
def one_dnn_left_as_found() -> Iterator[None]:
    """Put oneDNN back after the block: a layer that is interrupted (Ctrl-C) does not come to the hook that does so."""
    enabled = torch._C._get_mkldnn_enabled()
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)
