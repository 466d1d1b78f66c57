"""What the calls of a batch's layers gave, kept so that products with directions need no second pass over the batch.

A direction such as the sum of all gradients is known after the pass over the sample only. Inputs of layers and
gradients of their outputs are what a second pass would bring again; those of the first batches are kept, up to a bound
that does not depend on the size of the sample.

Index letters: n examples, D directions.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mcoherence.gradients.batch.directions import Directions, contracted
from mcoherence.gradients.batch.layer_products import layer_products
from mcoherence.gradients.batch.layers import Argument, Layer
from mcoherence.gradients.given.layer_names import layer_of

MOST_BYTES = 2**26


@dataclass
class KeptCalls:
    """Of one batch: the calls of its layers, and the per-example gradients of bare parameters [n, elements].

    complete: whether these are all of the batch's gradients.
    """

    calls: list[tuple[Layer, Argument, Tensor]] = field(default_factory=list)
    rows: dict[str, Tensor] = field(default_factory=dict)
    complete: bool = True

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        kept = [tensor for _, argument, grads in self.calls for tensor in (argument.tensor, grads)]
        return sum(tensor.nbytes for tensor in (*kept, *self.rows.values()))

    def products(self, directions: Directions, careful: bool) -> dict[str, Tensor] | None:
        """g_i . V_d {layer: float64 [D, n]}; None where inputs were written to since, or forward mode fails."""
        found: dict[str, Tensor] = {}
        for layer, argument, output_grads in self.calls:
            if not argument.is_unchanged():
                return None
            try:
                found |= layer_products(layer, argument.tensor, output_grads, directions, careful)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # what forward mode cannot do raises all kinds of errors; a second pass tells a real one
                return None
        for name, rows in self.rows.items():
            if name in directions.tensors:
                products, owner = contracted(rows, directions.tensors[name]), layer_of(name)
                found[owner] = found[owner] + products if owner in found else products
        return found
