"""Small batches of a sweep that go through the model together.

A pass of a small network is mostly calls of operations, and their number does not grow with the batch. Sums over
examples do not depend on how the examples are shared out. So batches are joined as long as a pass stays small.

Index letter: n examples of a batch.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from mcoherence.gradients.batch.example_wise import layer_settings
from mcoherence.gradients.batch.passes import BatchSums, Passes
from mcoherence.gradients.given.pieces import Piece

# Of a pass: its examples, which are copied, and what its operations make.
MOST_NUMBERS = 2**24  # 64 MiB in float32
# As many of each operation, 2 MiB in float32, fill the caches of a processor; from there on larger passes are slower.
MOST_OF_AN_OPERATION = 2**19
MOST_BATCHES = 8  # the overhead of a call is an eighth then
MOST_EXAMPLES = 4096


def has_modes() -> bool:
    """Whether a mode of torch's is on, which may change what operations do; the device to make tensors on does not."""
    of_functions: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    others = [mode for mode in of_functions if not isinstance(mode, DeviceContext)]
    return bool(others or _get_current_dispatch_mode_stack())


class SmallBatches:
    """Which batches of a sweep go through the model together.

    Only those of a model that keeps examples apart whatever the batch is (`batch.example_wise`), of plain tensors, and
    where no code of the user's runs from one batch to the next. What the loss function does with a batch is looked at
    in the first one of its kind and size, which goes alone: it is to use the outputs alone, each on its own row, to
    read no values, to draw no random numbers and to ask for no gradients. In a joined pass it is asked batch by batch,
    in their order (`batch.joined_pass`).

    Batches of one example are never joined: these are the examples alone. Nor are those in half precision, in which a
    gradient is no longer the sum of as many examples: rounding adds up.

    A pass of joined batches that fails, or its check, counts for nothing: these batches are measured one by one, and no
    others are joined. The loss is asked again then, as in checks of examples; so nothing is joined without checks.
    """

    def __init__(self, passes: Passes, *, undisturbed: bool, checked: bool) -> None:
        """What is joined in a sweep.

        Args:
            passes: those through the model.
            undisturbed: whether no code of the user's runs from one batch to the next.
            checked: whether examples are compared with those alone.
        """
        self._device = passes.device.type
        other = any(p.dtype not in (torch.float32, torch.float64) for p in passes.model.parameters())
        altered = other or torch.is_autocast_enabled(self._device) or has_modes()
        self._stopped = altered or not (undisturbed and checked and passes.example_wise)
        self._model = passes.model
        self._settings = [] if self._stopped else layer_settings(passes.model)
        self._known: set[tuple[Any, ...]] = set()  # kinds, each with a number of examples
        self._most: dict[tuple[Any, ...], int] = {}  # examples, by kind

    def shared_out(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """All pieces in their order, those together that are to be joined."""
        waiting: list[Piece] = []
        coming = iter(pieces)
        while True:
            try:
                piece = next(coming, None)
            except Exception:  # those that came before may have something to tell first
                if waiting:
                    yield waiting
                raise
            if waiting and (piece is None or not self._go_together(waiting, piece)):
                yield waiting
                waiting = []
            if piece is None:
                return
            if self._may_wait(piece):
                waiting.append(piece)
            else:
                yield [piece]

    def _may_wait(self, piece: Piece) -> bool:
        return not self._stopped and piece.kind is not None and (piece.kind, len(piece.positions)) in self._known

    def _go_together(self, waiting: Sequence[Piece], piece: Piece) -> bool:
        alike = (piece.group, piece.kind) == (waiting[0].group, waiting[0].kind)
        if not alike or not self._may_wait(piece) or len(waiting) == MOST_BATCHES:
            return False
        assert piece.kind is not None
        return sum(len(one.positions) for one in (*waiting, piece)) <= self._most[piece.kind]

    def counts(self, piece: Piece) -> bool:
        """Whether what a pass of this piece makes is to be counted."""
        return not self._stopped and piece.kind is not None and piece.kind not in self._most

    def learn(self, piece: Piece, measured: BatchSums, *, written: bool) -> None:
        """Take in what was measured of a piece alone, and whether its tensors were `written` to meanwhile."""
        if self._stopped or piece.kind is None:
            return
        changed = written or layer_settings(self._model) != self._settings
        if changed or not measured.by_calls or measured.doubt is not None:
            self.stop()
            return
        self._known.add((piece.kind, measured.n))
        if measured.made is not None:
            numbers = measured.made.numbers + piece.inputs.numel() + piece.targets.numel()
            most = MOST_NUMBERS
            if self._device == "cpu":
                most = min(most, MOST_OF_AN_OPERATION * max(1, measured.made.operations))
            self._most[piece.kind] = math.floor(min(most * measured.n / numbers, MOST_EXAMPLES))

    def stop(self) -> None:
        """Join no more."""
        self._stopped = True
