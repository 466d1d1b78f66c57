"""Winsorised SGD: the mean of per-example gradients whose extremes are clipped, coordinate by coordinate (paper 4)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from mcoherence.errors import UserError
from mcoherence.optim.clipped_products import mean_of_products
from mcoherence.optim.descent import MeanLoss, OptimizerError, Part, RobustSGD, number, trained, whole
from mcoherence.optim.linear_weights import NotFactoredError, Taps, linear_weights
from mcoherence.optim.nearest_rank import nearest_rank
from mcoherence.parameter_names import names_by_module

GRADIENT_ENTRIES = 2**26  # of single examples at a time, where no chunk size is given: 256 MiB in float32


class WinsorizedSGD(RobustSGD):
    """SGD along the mean of per-example gradients, each coordinate clipped to its [c, 100 - c] percentiles.

    Percentiles are those of the n examples of the mini-batch, by nearest rank as in the paper's code: with
    r = c / 100 * (n - 1), rounded, the r smallest values of a coordinate become the next larger one and the r largest
    the next smaller (batches of 100 and c = 2: two at each end). Halves, which the paper's settings never meet, are
    rounded down, so that both ends are treated alike and c = 50 is the median for even n too, the mean of the two in
    the middle. c = 0 is SGD to rounding. Infinities of at most r examples at an end are clipped; a coordinate that is
    NaN in any example is NaN. The paper speaks of the sum of a loss that is a mean over the batch: it is this mean.

    Protocol: hand over the loss as a function of inputs and labels, and a mini-batch::

        optimizer = WinsorizedSGD(model.parameters(), lr=0.1, c=2, model=model)
        mean_loss = optimizer.step(lambda x, y: cross_entropy(model(x), y), inputs, labels)

    Where a linear layer sees an example once, as one row, no gradients of single examples are made of its weights:
    these are outer products, and `clipped_products` takes their clipped mean from the factors. A layer that is used
    otherwise (tied weights, rows of a sequence) is found in the forward pass and treated like all other parameters.

    Memory: of the other parameters that of chunk_size + 2 * (r + 1) gradients, and of the largest of them up to twice
    that again while it is sorted. Chunks change nothing but rounding (and the draws of dropout); a repeated update has
    the same bytes. Momentum and weight decay enter after the
    mean; `.grad` is not touched. Source: arXiv 2002.10657, winsorised SGD; percentiles as in the released code,
    google-research/coherent_gradients.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> optimizer = WinsorizedSGD(model.parameters(), lr=1.0, c=25, model=model)
        >>> inputs = torch.tensor([[1.0], [2.0], [3.0], [4.0], [100.0]])  # the gradients, with the output as the loss
        >>> _ = optimizer.step(lambda x, _: model(x).mean(), inputs, torch.zeros(5))
        >>> model.weight.item()  # the mean of 2, 2, 3, 4 and 4
        -3.0

    Args:
        params: parameters or parameter groups, all of the model.
        lr: learning rate, positive.
        c: percentile of either end that is clipped, in [0, 50].
        model: the network that the parameters belong to.
        chunk_size: examples whose gradients are taken at a time; None: as many as make 2**26 entries, weights of linear
            layers not counted.
        **settings: momentum, nesterov and weight_decay, see `descent.RobustSGD`.
    """

    one_rank = True
    takes_complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        c: float,
        *,
        model: nn.Module,
        chunk_size: int | None = None,
        **settings: Any,
    ) -> None:
        if not 0 <= number(c) <= 50:
            raise OptimizerError(f"WinsorizedSGD: found c {c}, expected a percentile in [0, 50]")
        if chunk_size is not None and not whole(chunk_size, least=1):
            raise OptimizerError(f"WinsorizedSGD: found chunk_size {chunk_size}, expected at least 1")
        super().__init__(params, lr, **settings)
        self.c, self.model, self.chunk_size = c, model, chunk_size

    @classmethod
    def of_model(cls, model: nn.Module, **settings: Any) -> Self:
        """The optimiser over all parameters of a network, which is in the mode that it is trained in.

        Raises:
            UserError: the network has batch norm in training mode.
        """
        refuse_batch_norm(model)
        return cls(model.parameters(), model=model, **settings)

    def step_on(self, parts: Sequence[Part], mean_loss: MeanLoss) -> Tensor:
        """One update on the one part, a mini-batch; returns the mean of the examples' losses, shape []."""
        ((inputs, labels),) = parts
        return self.step(mean_loss, inputs, labels)

    def step(  # type: ignore[override]
        self, mean_loss: MeanLoss, inputs: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """One update on a mini-batch; returns the mean of the examples' losses, shape [].

        Args:
            mean_loss: (inputs [n, ...], labels [n]) -> mean loss of these examples, by `model`.
            inputs: of the mini-batch, [n, ...].
            labels: of the mini-batch, [n].

        Raises:
            UserError: the model has batch norm in training mode, or layers with sparse gradients.
            OptimizerError: no mini-batch is handed over; or what `EagerOptimizer` asks at every step.
        """
        if inputs is None or labels is None or len(inputs) != len(labels) or len(inputs) == 0:
            sizes = "none" if inputs is None or labels is None else f"{len(inputs)} inputs and {len(labels)} labels"
            raise OptimizerError(
                f"WinsorizedSGD: found {sizes} handed to step, expected step(mean_loss, inputs, labels) with as many "
                "labels as inputs, at least one"
            )
        self._require_steppable()
        parameters = [p for group in self.param_groups for p in trained(group)]
        losses, means = clipped_means(self.model, parameters, mean_loss, inputs, labels, self.c, self.chunk_size)
        direction = dict(zip(parameters, means, strict=True))
        with torch.no_grad():
            for group in self.param_groups:
                self._descend(group, trained(group), [direction[p] for p in trained(group)])
        return losses.mean()


def clipped_means(
    model: nn.Module,
    parameters: list[Tensor],
    mean_loss: MeanLoss,
    inputs: Tensor,
    labels: Tensor,
    c: float,
    chunk_size: int | None,
) -> tuple[Tensor, list[Tensor]]:
    """Losses of the examples [n], and of each parameter the clipped mean of their gradients, in its shape.

    Raises:
        UserError: the model has batch norm in training mode, or layers with sparse gradients.
        OptimizerError: a parameter is none of the model's.
    """
    factored = linear_weights(model, parameters)
    state = random_state(inputs.device)
    while True:
        try:
            return _clipped_means(model, parameters, mean_loss, inputs, labels, c, chunk_size, factored)
        except NotFactoredError as error:  # at the end of the first forward pass, which leaves no trace
            factored = [i for i in factored if i not in error.weights]
            set_random_state(inputs.device, state)


def _clipped_means(
    model: nn.Module,
    parameters: list[Tensor],
    mean_loss: MeanLoss,
    inputs: Tensor,
    labels: Tensor,
    c: float,
    chunk_size: int | None,
    factored: list[int],
) -> tuple[Tensor, list[Tensor]]:
    """`clipped_means`, with the weights at these positions as factors."""
    entries = sum(p.numel() for i, p in enumerate(parameters) if i not in factored)
    size = chunk_size or max(1, min(len(inputs), GRADIENT_ENTRIES // max(1, entries)))
    means = [WinsorizedMean(len(inputs), c) for _ in parameters]
    losses: list[Tensor] = []
    factors: list[Factors] = []
    for chunk in gradients_of_examples(model, parameters, mean_loss, inputs, labels, size, factored):
        losses.append(chunk.losses)
        factors.append(chunk.factors)
        for i in list(chunk.whole):
            means[i].add(chunk.whole.pop(i))  # and so gone before the next chunk's take as much memory again

    def value(i: int) -> Tensor:
        if i not in factored:
            return means[i].value().view_as(parameters[i])
        left, right = (torch.cat([chunk[i][side] for chunk in factors]) for side in (0, 1))
        return mean_of_products(left, right, means[i].rank)

    return torch.cat(losses), [value(i) for i in range(len(parameters))]


class WinsorizedMean:
    """Mean over n examples, each coordinate clipped to its percentiles, of values that come in chunks of examples.

    Of every coordinate the r + 1 smallest and the r + 1 largest values so far are kept, sorted; what is between them
    can no longer become an extreme and is summed. (The sum of all less the extremes would lose the digits of the rest
    to a single large value.)
    """

    def __init__(self, n: int, c: float) -> None:
        self.n = n
        self.rank = nearest_rank(c, n)
        self.kept: Tensor | None = None  # [coordinates, at most 2 * (rank + 1)], or all where there are fewer
        self.between: Tensor | float = 0.0  # [coordinates]

    def add(self, values: Tensor) -> None:
        """Take in values [chunk, ...]."""
        # Examples last: a sort along neighbours in memory takes a fifth of the time of one along strides.
        new = values.reshape(len(values), -1).T.clone(memory_format=torch.contiguous_format)
        rows = sort_rows(new if self.kept is None else torch.cat([self.kept, new], dim=1))
        ends = self.rank + 1
        if rows.shape[1] > 2 * ends:
            self.between = self.between + rows[:, ends:-ends].sum(dim=1)
            rows = torch.cat([rows[:, :ends], rows[:, -ends:]], dim=1)
        self.kept = rows

    def value(self) -> Tensor:
        """The mean of the n values, its coordinates in one row."""
        assert self.kept is not None
        low, high = self.kept[:, self.rank, None], self.kept[:, -1 - self.rank, None]
        return (self.kept.clamp(low, high).sum(dim=1) + self.between) / self.n


def sort_rows(values: Tensor) -> Tensor:
    """Every row of values [coordinates, n] sorted, NaN last; may overwrite them.

    On the CPU NumPy's vectorised sort takes a tenth of the time of torch's, which decides the time of a step.
    """
    if values.device.type == "cpu" and values.dtype != torch.bfloat16:
        values.numpy().sort(axis=1)
        return values
    return values.sort(dim=1).values


Factors = dict[int, tuple[Tensor, Tensor]]  # (left [chunk, O], right [chunk, K]) by position of the weight [O, K]


@dataclass(frozen=True)
class ChunkGradients:
    """Losses [chunk] and, by position of the parameter, gradients [chunk, *shape] or the factors that they are of."""

    losses: Tensor
    whole: dict[int, Tensor]
    factors: Factors


def gradients_of_examples(
    model: nn.Module,
    parameters: list[Tensor],
    mean_loss: MeanLoss,
    inputs: Tensor,
    labels: Tensor,
    chunk_size: int,
    factored: Sequence[int] = (),
) -> Iterator[ChunkGradients]:
    """Losses and gradients of single examples, chunk after chunk.

    A parameter that the loss does not reach has zero gradients.

    Args:
        model: the network.
        parameters: of it, whose gradients are taken.
        mean_loss: (inputs, labels) -> mean loss of these examples, by `model`.
        inputs: of the examples, [n, ...].
        labels: of the examples, [n].
        chunk_size: examples at a time.
        factored: positions of the weights whose gradients come as factors.

    Raises:
        NotFactoredError: with the positions of those weights that do not allow it.
        UserError: the model has batch norm in training mode, or layers with sparse gradients.
        OptimizerError: a parameter is none of the model's.
    """
    refuse_batch_norm(model)
    refuse_sparse(model)
    loss_of_example = _LossOf(model, mean_loss)
    # Every place that holds a parameter gets its stand-in; functional_call ties nothing, `parameter_names` says why.
    places = names_by_module(loss_of_example)
    for p in parameters:
        if id(p) not in places:
            raise OptimizerError(
                f"WinsorizedSGD: found a parameter of shape {list(p.shape)} that its model does not hold, expected "
                "parameters of the model; hand over the model that they belong to"
            )
    fixed = {i: parameters[i].detach() for i in factored}
    moved = {i: p.detach() for i, p in enumerate(parameters) if i not in fixed}
    no_taps = {i: weight.new_zeros(len(weight)) for i, weight in fixed.items()}

    def loss(
        weights: dict[int, Tensor], taps: dict[int, Tensor], example: Tensor, label: Tensor
    ) -> tuple[Tensor, dict[int, Tensor]]:
        everywhere = {place: w for i, w in {**fixed, **weights}.items() for place in places[id(parameters[i])]}
        loss_of_example.taps = Taps(fixed, taps)
        one = (example.unsqueeze(0), label.unsqueeze(0))
        found: Tensor = functional_call(loss_of_example, everywhere, one, tie_weights=False)
        return found, loss_of_example.taps.inputs()

    gradients_of = vmap(
        grad_and_value(loss, argnums=(0, 1), has_aux=True), in_dims=(None, None, 0, 0), randomness="different"
    )

    @torch.no_grad()  # of parameters besides these; torch.func does not heed it
    def of_chunk(part: slice) -> ChunkGradients:
        (whole, left), (losses, right) = gradients_of(moved, no_taps, inputs[part], labels[part])
        return ChunkGradients(losses, whole, {i: (left[i], right[i]) for i in fixed})

    for start in range(0, len(inputs), chunk_size):
        yield of_chunk(slice(start, start + chunk_size))  # kept by nobody here while the next are made


def random_state(device: torch.device) -> Tensor:
    """State of the generator that layers such as dropout draw from on this device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Put the generator of `random_state` back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def refuse_sparse(model: nn.Module) -> None:
    """UserError where a layer asks for sparse gradients, which are not taken of single examples."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.sparse:
            raise UserError(
                f"winsorised SGD: found sparse=True (layer {name or 'of the model'}), expected dense gradients; make "
                "the layer with sparse=False"
            )


def refuse_batch_norm(model: nn.Module) -> None:
    """UserError where per-example gradients are not defined: batch norm by the statistics of the mini-batch."""
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
            raise UserError(
                f"winsorised SGD: found batch norm in training mode (layer {name or 'of the model'}), expected layers "
                "that treat every example alone: per-example gradients are not defined otherwise; choose a model "
                "without batch norm or with group or layer norm, put batch norm in eval mode, or take M3 or RM3"
            )


class _LossOf(nn.Module):
    """`mean_loss` as a module that contains the model, so that functional_call can put weights into the model.

    Attributes:
        taps: active during a forward pass.
    """

    taps: Taps

    def __init__(self, model: nn.Module, mean_loss: MeanLoss) -> None:
        super().__init__()
        self.model, self.mean_loss = model, mean_loss

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with self.taps:
            return self.mean_loss(inputs, labels)
