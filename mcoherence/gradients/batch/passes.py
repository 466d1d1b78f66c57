"""One forward and backward pass per batch: sums of gradients and per-example squared norms of every parameter.

Index letter: n examples of a batch.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcoherence.gradients.batch.capture import Capture
from mcoherence.gradients.batch.evidence import distance_from_sum, is_sum_of_rows, sums_of_rows
from mcoherence.gradients.batch.example_wise import is_example_wise
from mcoherence.gradients.batch.fallback import WholeModel
from mcoherence.gradients.batch.layers import has_node_hooks
from mcoherence.gradients.batch.not_finite import require_finite
from mcoherence.gradients.given.alone import dense, loss_alone, loss_of_twins, require_same_alone, twice
from mcoherence.gradients.given.losses import LossFunction, TargetsAtOutputs, require_losses
from mcoherence.gradients.given.model_state import ModelState
from mcoherence.gradients.given.reading import read
from mcoherence.gradients.given.refusal import MIXED, REENTRANT, WRITES_TO_SHARED, UnsupportedModelError
from mcoherence.gradients.given.trees import (
    Tree,
    fresh,
    leaves,
    length,
    on_device,
    outputs_of,
    rows,
    share_memory,
    usable,
)
from mcoherence.gradients.graph.following import Following
from mcoherence.gradients.graph.recurrent_gates import DifferentiatedAgainError
from mcoherence.gradients.graph.walk import Made, has_reentrant_checkpoint
from mcoherence.gradients.graph.watching import Doubt, Read, Value, Watch
from mcoherence.gradients.layer_rules.products import least, sure_squared_norms


@dataclass(frozen=True)
class BatchSums:
    """One batch of n examples; parameters that take no part in its losses are missing, their gradients are 0.

    squared_norms: {parameter name: |g_i|^2, float64 [n]}; sums: {parameter name: sum_i g_i, [*parameter shape]}.
    totals: {parameter name: sum_i |g_i|^2}.
    losses: [n].
    doubt: the forward pass read values of tensors or drew random numbers, so that it may have gone another way than it
        would have for an example alone.
    may_mix: whether its examples may have met where no gradient shows it: something was computed of them without one,
        or autograd's graph is in doubt.
    own_backward: whether a function of somebody's own may have handed the examples' gradients on as it liked.
    made: what the operations of the pass have made; None where it was not asked for, and of a single example.
    by_calls: whether every parameter's gradient comes by the one call of its layer, whose rows are known to be the
        examples', and nothing in the pass asks autograd for gradients.
    """

    n: int
    squared_norms: dict[str, Tensor]
    sums: dict[str, Tensor]
    totals: dict[str, float]
    losses: Tensor
    doubt: Doubt | None = None
    made: Made | None = None
    by_calls: bool = False
    may_mix: bool = False
    own_backward: bool = False


class Passes:
    """Passes through one model in eval mode; its hooks are in place inside `capture.active()`.

    example_wise: whether the model keeps examples apart whatever the batch is.
    drawing: tells whether passes draw random numbers.
    state: what the model was like before the first pass; without it, what a pass changes is not looked for.
    """

    def __init__(self, model: nn.Module, loss_fn: LossFunction, state: ModelState | None = None) -> None:
        self.model = model
        self.loss_fn = TargetsAtOutputs(loss_fn)
        self.example_wise = is_example_wise(model)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.capture = Capture(model)
        self.whole_model = WholeModel(model, self.loss_fn)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._state = state
        self._modes = {module: module.training for module in model.modules()}
        self._looked_for_checkpoints = False
        self._silent: set[str] = set()  # names of parameters whose squares added up to 0 in an earlier batch
        self.drawing = RandomDraws(self.device)

    def at_device(self, inputs: Tree) -> Tree:
        """The inputs where the model is, apart from any graph; a copy if they were made in inference mode."""
        return on_device(inputs, self.device)

    def measure(self, inputs: Tree, targets: Tree, *, counting: bool = False) -> BatchSums:
        """Sums of gradients and squared norms of one batch, inputs [n, ...] and targets [n, ...], or trees of them.

        Args:
            inputs: on any device.
            targets: likewise.
            counting: whether to count what the pass makes.

        Raises:
            UnsupportedModelError: the gradients of the examples do not add up to that of the batch, or a pass changes
                the model.
            IdentityError: gradients are not finite.
            ValueError: the losses are not one per example.
        """
        inputs, targets = self.at_device(inputs), usable(targets)
        with torch.enable_grad():
            try:
                return self._measure(inputs, targets, counting)
            except DifferentiatedAgainError:
                self.capture.show_by_steps()
                return self._measure(inputs, targets, counting)

    def undo(self) -> None:
        """Put back what a pass that is not to count has changed of the model's buffers and modes."""
        if self._state is not None:
            self._state.restore()
        for module, mode in self._modes.items():
            module.training = mode

    def losses_alone(self, inputs: Tree, targets: Tree, chosen: Sequence[int]) -> Tensor:
        """The losses [k] of the chosen examples of a batch, each passed through the model alone."""
        inputs = self.at_device(inputs)
        with torch.enable_grad():  # a model may want to put hooks on its tensors
            ones = [slice(i, i + 1) for i in chosen]
            alone = (loss_alone(self.model, self.loss_fn, rows(inputs, one), rows(targets, one)) for one in ones)
            return torch.cat([loss.detach().clone() for loss in alone])  # a loss may use its memory again

    def losses_of_each(self, inputs: Tree, targets: Tree) -> Tensor | None:
        """The losses [n] of all examples of a batch, each passed through the model alone, by vmap.

        None where that cannot be done. It is a first look, at about the cost of a forward pass of the batch, and leaves
        no trace on the model or the loss.
        """
        return self.whole_model.losses_by_vmap(self.at_device(inputs), usable(targets))

    def reads_alone(self, inputs: Tree, targets: Tree, i: int) -> tuple[Read, ...] | None:
        """What a pass of example i of a batch alone reads; None where that cannot be worked out for others."""
        pair = self._pair(inputs, targets, i)
        following = Following(self.model, leaves(pair))
        with torch.enable_grad(), Watch(following) as watch:
            loss_of_twins(self.model, self.loss_fn, *pair)
        if watch.reads is None or any(read.call is None for read in watch.reads) or not following.unwritten():
            return None
        return tuple(watch.reads)

    def _pair(self, inputs: Tree, targets: Tree, i: int) -> tuple[Tree, Tree]:
        one = slice(i, i + 1)
        return twice(rows(self.at_device(inputs), one)), twice(rows(targets, one))

    def losses_together(
        self, inputs: Tree, targets: Tree, chosen: Sequence[int]
    ) -> tuple[Tensor, tuple[Value, ...] | None]:
        """The losses [k] of the chosen examples of a batch, passed through the model as a batch of k.

        And the values that this pass reads; None where that is not all, see `Watch`.
        """
        index = torch.tensor(chosen)
        with torch.enable_grad(), Watch() as watch:
            inputs, targets = rows(self.at_device(inputs), index), rows(usable(targets), index)
            losses = self.loss_fn(outputs_of(self.model, inputs), targets)
        require_losses(losses, len(chosen))
        return losses.detach().clone(), None if watch.reads is None else tuple(read.value for read in watch.reads)

    def _measure(self, inputs: Tree, targets: Tree, counting: bool) -> BatchSums:
        n = length(inputs)
        if n == 1:
            return self._measure_one(inputs, targets)
        own_inputs, own_targets = fresh(inputs), fresh(targets)
        given = leaves((own_inputs, own_targets))
        with self.drawing, self.capture.recording(n, counting=counting, given=given) as watch:
            losses = self.loss_fn(outputs_of(self.model, own_inputs), own_targets)
        if any(leaf._version for leaf in given) and share_memory((inputs, targets)):
            raise UnsupportedModelError(WRITES_TO_SHARED)
        require_losses(losses, n)
        doubt = Doubt(None) if self.drawing.happened else watch.doubt()
        self.require_unchanged()
        made = watch.made(losses)
        batch = BatchSums(n, {}, {}, {}, losses.detach().clone(), doubt, made)  # a loss may use its memory again
        if losses.grad_fn is None:
            self.capture.let_go()
            return batch
        self._refuse_checkpoints(losses)
        hooked = {name for name, p in self.parameters.items() if p._backward_hooks}
        self.capture.routed.update(hooked)
        if watch.hooks or has_node_hooks(self.model):
            self.capture.route_all()
            if self.capture.stop_showing():
                return self._measure(inputs, targets, counting)
        if not self.capture.route(losses):
            return self._measure(inputs, targets, counting)
        may_mix, own_backward = watch.may_mix() or self.capture.in_doubt, self.capture.has_own_function
        measured = self.differentiated(losses, None, batch, inputs)
        if measured is None:
            return self._measure(inputs, targets, counting)
        by_calls = measured.by_calls and not watch.differentiates
        measured = replace(measured, by_calls=by_calls, may_mix=may_mix, own_backward=own_backward)
        return self._completed(measured, inputs, targets, hooked)

    def differentiated(self, root: Tensor, given: Tensor | None, batch: BatchSums, inputs: Tree) -> BatchSums | None:
        """A batch with what the backward pass from `root` gives; None where the forward pass is to be made again.

        Args:
            root: the losses [n], or the outputs [n, ...] with the gradient with respect to them.
            given: that gradient; None from the losses.
            batch: what is known so far.
            inputs: of the batch.
        """
        by_calls, n, losses = self.capture.by_calls, batch.n, batch.losses
        in_hooks = self.capture.summed()
        # Autograd has to be asked for something, or no hook is called.
        by_autograd = [name for name in self.parameters if name not in in_hooks]
        if not by_autograd and not self.capture.edges:
            by_autograd = [next(iter(self.parameters))]
        asked: Sequence[Any] = [*(self.parameters[name] for name in by_autograd), *self.capture.edges]
        start = root.sum() if given is None else root
        gradients = torch.autograd.grad(start, asked, given, allow_unused=True, retain_graph=self.capture.in_doubt)
        self.capture.hand(gradients[len(by_autograd) :])
        sums = {
            name: dense(gradient)
            for name, gradient in zip(by_autograd, gradients[: len(by_autograd)], strict=True)
            if gradient is not None
        } | self.capture.sums()
        if self.capture.in_doubt:
            self.capture.probe(root)
        if in_hooks - sums.keys():  # a layer that was to sum and could not; once routed, autograd sums for it
            self.capture.routed.update(in_hooks - sums.keys())
            return None
        norms, formed = self.capture.collected()
        formed = {name: value for name, value in formed.items() if name in sums}
        unmeasured = {name: value for name, value in sums.items() if name not in norms}
        # All that is to be known of the batch now, asked of its device at once.
        known = read(
            {("total", name): value.sum() for name, value in norms.items()}
            | {("distance", name): distance_from_sum(sums[name], value) for name, value in formed.items()}
            | {("alive", name): sums[name].any() for name in self._silent if name in norms and name in sums}
            | {("finite", name): torch.isfinite(value).all() for name, value in unmeasured.items()}
            | {("apart", name): it_is for name, it_is in self.capture.apart().items()}
        )
        totals = {name: known["total", name] for name in norms}
        alive = {name: known.get(("alive", name)) for name, total in totals.items() if total == 0.0 and name in sums}
        new = {name: sums[name].any() for name, it_is in alive.items() if it_is is None}
        self._silent.update(new)
        if self._are_lossy(totals, alive | read(new), n):
            if not self.capture.careful:
                self.capture.careful = True  # from here on: what is too small or too large once will be again
                return None
            require_finite(norms, sums, losses, inputs, self.parameters)
        if not all(known["finite", name] for name in unmeasured):
            require_finite({}, unmeasured, losses, inputs, self.parameters)
        if formed:
            whole = sum(totals.values())
            self.capture.routed.update(
                name
                for name in formed
                if not is_sum_of_rows(known["distance", name], totals[name], whole, n, sums[name])
                or not known.get(("apart", name), True)
            )
        by_calls = by_calls and not self.capture.routed
        return replace(batch, squared_norms=norms, sums=sums, totals=totals, by_calls=by_calls)

    def _measure_one(self, inputs: Tree, targets: Tree) -> BatchSums:
        """A batch of one: its gradient is that of its example. Passed twice over; `given.alone` says why."""
        loss = loss_alone(self.model, self.loss_fn, inputs, targets)
        require_same_alone(self.model, self.loss_fn, inputs, targets, loss)
        self.require_unchanged()
        gradients: Sequence[Tensor | None] = [None] * len(self.parameters)
        if loss.requires_grad:
            self._refuse_checkpoints(loss)
            gradients = torch.autograd.grad(loss.sum(), list(self.parameters.values()), allow_unused=True)
        sums = {
            name: dense(gradient)
            for name, gradient in zip(self.parameters, gradients, strict=True)
            if gradient is not None
        }
        norms = {name: sure_squared_norms(value.unsqueeze(0)) for name, value in sums.items()}
        totals = _totals(norms)
        if not all(total < math.inf for total in totals.values()):
            require_finite(norms, sums, loss.detach(), inputs, self.parameters)
        return BatchSums(1, norms, sums, totals, loss.detach().clone())

    def _completed(self, measured: BatchSums, inputs: Tree, targets: Tree, hooked: set[str]) -> BatchSums:
        """The batch with every parameter in `sums` measured: what the calls do not account for by the whole model.

        What is summed of the parameters in `hooked` is what their hooks make of every example's gradient.
        """
        sums = dict(measured.sums)
        norms = {
            name: value
            for name, value in measured.squared_norms.items()
            if name in sums and name not in self.capture.routed
        }
        missing = {name: self.parameters[name] for name in sums if name not in norms}
        totals = {name: measured.totals[name] for name in norms}  # of those that stay as they are
        whole = sum(totals.values())
        if with_hooks := {name: p for name, p in missing.items() if name in hooked}:
            for name, value in self.whole_model.rows_by_loop(with_hooks, inputs, targets).items():
                norms[name], sums[name] = value.squared_norms, value.total
        missing = {name: p for name, p in missing.items() if name not in hooked}
        if missing:
            formed, judged = self.whole_model.rows(
                missing, inputs, targets, lambda found: sums_of_rows(found, sums, whole)
            )
            if judged.astray:
                raise UnsupportedModelError(
                    f"parameter {judged.astray[0]!r}: the gradients of the examples, each passed through the model "
                    f"alone, do not add up to the gradient of the batch; {MIXED}"
                )
            norms |= {name: value.squared_norms for name, value in formed.items()}
            # Those of the batch may differ from them by as much as rounding may.
            sums |= {name: value.total.to(sums[name].dtype) for name, value in formed.items()}
            totals |= judged.totals
            self.require_unchanged()
        totals |= _totals({name: value for name, value in norms.items() if name not in totals})
        return replace(measured, squared_norms=norms, sums=sums, totals=totals)

    def _are_lossy(self, totals: Mapping[str, float], alive: Mapping[str, float | None], n: int) -> bool:
        """Whether squares have left the range of their dtype: not finite, or too small although gradients are not 0.

        Args:
            totals: of the squares, by parameter name.
            alive: whether the sum of the gradients is not 0, by name of those parameters whose total is 0.
            n: number of examples.
        """
        for name, total in totals.items():
            p = self.parameters[name]
            if not total < math.inf or alive.get(name):
                return True
            too_small = 0.0 < total < least(n * p.numel(), torch.promote_types(p.dtype, torch.float32))
            if too_small and not self.capture.careful:
                return True
        return False

    def _refuse_checkpoints(self, losses: Tensor) -> None:
        """Of the first batch: gradients of weights inside a reentrant checkpoint would be missing without a word."""
        assert losses.grad_fn is not None
        if not self._looked_for_checkpoints and has_reentrant_checkpoint(losses.grad_fn):
            raise UnsupportedModelError(REENTRANT)
        self._looked_for_checkpoints = True

    def require_unchanged(self) -> None:
        """Raise UnsupportedModelError if a pass has changed what the model was like."""
        if self._state is not None:
            self._state.require_unchanged()


class RandomDraws:
    """Whether a block draws from torch's, Python's or NumPy's generator; the last two are asked in the first only."""

    def __init__(self, device: torch.device) -> None:
        self.happened = False
        self._device = device
        self._first = True
        self._before: tuple[object, ...] = ()

    def __enter__(self) -> None:
        self._before = self._now()

    def __exit__(self, *error: object) -> None:
        self.happened = self.happened or self._now() != self._before
        self._first = False

    def _now(self) -> tuple[object, ...]:
        states: list[object] = [torch.get_rng_state().numpy().tobytes()]
        if self._device.type == "cuda":
            states.append(torch.cuda.default_generators[self._device.index or 0].get_offset())
        if self._first:
            _, keys, *position = np.random.get_state()  # noqa: NPY002 (the models' own)
            states += [random.getstate(), np.asarray(keys).tobytes(), tuple(position)]
        return tuple(states)


def _totals(norms: Mapping[str, Tensor]) -> dict[str, float]:
    """{name: sum}."""
    return read({name: value.sum() for name, value in norms.items()})
