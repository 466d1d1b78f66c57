"""What all optimisers share: a step along a direction, by the rule of torch.optim.SGD."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.sgd import sgd as descend

from mcoherence.errors import UserError

WHOLE: Any = Integral
REAL: Any = Real
Closure = Callable[[], Tensor]
Part = tuple[Tensor, Tensor]  # (inputs [n, ...], labels [n]) of an update, with a backward pass of its own
MeanLoss = Callable[[Tensor, Tensor], Tensor]  # (inputs, labels) -> mean loss of these examples, shape []


Check = tuple[str, bool, str]  # key of a setting, whether its value is right, what is expected of it


class OptimizerError(UserError, ValueError):
    """A setting, a call, a gradient or a parameter that an optimiser does not take."""


class EagerOptimizer(Optimizer):
    """An optimiser without torch's marks "do not compile", which import the compiler at first use.

    Nothing here is ever compiled, and the import costs a second of every training job. The methods are torch's own.

    Beside torch's protocol, in which every optimiser takes the closures that suit it, all are stepped alike by
    `step_on`: this is what the training loop calls.

    Settings are checked when they are given, when a state is loaded, and at every step: a scheduler may have changed
    them since. It may take the rate to 0, and no other value out of its range.

    Attributes:
        one_rank: whether it needs the gradients of all examples in one process.
        takes_complex: whether its rule is defined for complex parameters.
    """

    one_rank = False
    takes_complex = True

    state_dict = inspect.unwrap(Optimizer.state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)

    @classmethod
    def of_model(cls, model: nn.Module, **settings: Any) -> Self:
        """The optimiser over all parameters of a network, which is in the mode that it is trained in."""
        return cls(model.parameters(), **settings)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: torch's settings and state, and the attributes of the class, which steps ask for."""
        hidden = {key for key in vars(self) if key.startswith("_") or key == "step"}  # torch's hooks
        return {key: value for key, value in vars(self).items() if key not in hidden}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with settings of their own where given; torch's method, and a check of the settings.

        Raises:
            OptimizerError: a value out of its range.
        """
        self._require({**self.defaults, **param_group}, scheduled=False)
        inspect.unwrap(Optimizer.add_param_group)(self, param_group)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state; torch's method, and a check of the settings in it, before anything changes.

        Raises:
            OptimizerError: a value out of its range.
        """
        for group in state_dict["param_groups"]:
            self._require({**self.defaults, **group}, scheduled=True)
        inspect.unwrap(Optimizer.load_state_dict)(self, dict(state_dict))

    def _require(self, group: Mapping[str, Any], scheduled: bool) -> None:
        """Check the settings of a group; `scheduled` says whether a schedule may have changed its rate."""
        for key, valid, expected in self._checks(group, scheduled):
            if not valid:
                raise OptimizerError(f"{type(self).__name__}: found {key} {group[key]!r}, expected {expected}")

    def _checks(self, group: Mapping[str, Any], scheduled: bool) -> Iterator[Check]:
        """What is asked of each setting of a group; torch's classes have asked the rest when they were made."""
        yield "lr", 0 <= number(group["lr"]) < math.inf, "a number of at least 0 that is finite"
        yield "weight_decay", 0 <= number(group["weight_decay"]) < math.inf, "a number of at least 0 that is finite"

    def _require_steppable(self) -> None:
        """Check what may have changed since the last step: the settings; and that the rule is defined for the weights.

        Raises:
            OptimizerError: a value out of its range, or a complex parameter where the rule takes none.
        """
        for group in self.param_groups:
            self._require(group, scheduled=True)
            if not self.takes_complex:
                for p in trained(group):
                    if p.is_complex():
                        raise OptimizerError(
                            f"{type(self).__name__}: found complex numbers in {parameter_in_words(group, p)}, "
                            "expected real ones: complex gradients have no order; take SGD or RA3"
                        )

    def step_on(self, parts: Sequence[Part], mean_loss: MeanLoss) -> Tensor:
        """One update on its parts; returns the mean of their losses before it, detached, shape [].

        A part without examples, of a mini-batch with fewer examples than groups, has no loss and no gradient.

        Args:
            parts: one for each group of the mini-batch, or for each mini-batch, that an update of the method takes.
            mean_loss: (inputs, labels) -> mean loss of a part, by a forward pass of the network.
        """
        losses: list[Tensor] = []
        self._step_by([self._pass_over(part, mean_loss, losses) for part in parts])
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _step_by(self, closures: Sequence[Closure]) -> None:
        """The steps of one update: one for each closure, unless the method takes several closures in one step."""
        for closure in closures:
            self.step(closure)  # type: ignore[arg-type]  # torch's stubs want a closure that returns a float

    def _pass_over(self, part: Part, mean_loss: MeanLoss, losses: list[Tensor]) -> Closure:
        """The closure of a part: forward and backward pass; appends the loss to `losses`."""
        inputs, labels = part

        def closure() -> Tensor:
            self.zero_grad()
            if len(inputs) == 0:
                return inputs.new_zeros(())
            loss = mean_loss(inputs, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            return loss

        return closure


class RobustSGD(EagerOptimizer):
    """SGD along a direction that is not the mean gradient; subclasses find the direction.

    The direction takes the place of the gradient in torch.optim.SGD. Weight decay and momentum therefore come after
    the median (or whatever combines the gradients): weight_decay * w is added once, at the weights that are updated,
    and the momentum buffer gathers combined directions. (The released code of arXiv 2003.07422 adds weight decay to
    each gradient before the median, at three different weights; its commands all set it to 0.)

    Args:
        params: parameters or parameter groups; a group may have its own lr, momentum, nesterov and weight_decay.
        lr: learning rate, positive.
        momentum: heavy-ball momentum in [0, 1).
        nesterov: Nesterov's form of it.
        weight_decay: factor of the weights that are added to the direction.

    Raises:
        OptimizerError: a value out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay})

    def _checks(self, group: Mapping[str, Any], scheduled: bool) -> Iterator[Check]:
        lr, momentum = number(group["lr"]), number(group["momentum"])
        if scheduled:
            yield "lr", 0 <= lr < math.inf, "a number of at least 0 that is finite"
        else:
            yield "lr", 0 < lr < math.inf, "a positive number that is finite"
        yield "momentum", 0 <= momentum < 1, "a number in [0, 1)"
        yield "weight_decay", 0 <= number(group["weight_decay"]) < math.inf, "a number of at least 0 that is finite"
        yield "nesterov", momentum > 0 or not group["nesterov"], "False, since momentum is 0"

    def _descend(self, group: dict[str, Any], parameters: list[Tensor], direction: list[Tensor]) -> None:
        """Step along `direction`, one tensor per parameter, with the settings of the group."""
        buffers = [self.state[p].get("momentum_buffer") for p in parameters] if group["momentum"] else []
        options = {key: group[key] for key in ("lr", "momentum", "nesterov", "weight_decay")}
        descend(parameters, direction, buffers or [None] * len(parameters), dampening=0.0, maximize=False, **options)
        for p, buffer in zip(parameters, buffers, strict=False):
            self.state[p]["momentum_buffer"] = buffer


class PlainByDefault(RobustSGD):
    """A RobustSGD that refuses momentum unless it is allowed by name.

    The papers use none, and the released code of arXiv 2003.07422 refuses it as unstable with a median of gradients.

    Args:
        params: see RobustSGD.
        lr: see RobustSGD.
        allow_momentum: accept a momentum other than 0, which then enters after the median.
        **settings: momentum, nesterov and weight_decay, see RobustSGD.

    Raises:
        OptimizerError: a value out of its range, or momentum that is not allowed.
    """

    def __init__(self, params: Iterable[Any], lr: float, *, allow_momentum: bool = False, **settings: Any) -> None:
        self.allow_momentum = allow_momentum
        super().__init__(params, lr, **settings)

    def _checks(self, group: Mapping[str, Any], scheduled: bool) -> Iterator[Check]:
        words = (
            "0: with it the method is unstable, as the authors' code of arXiv 2003.07422 says; allow_momentum=True "
            "lets it in, after the combined gradient; a scheduler that sets it takes cycle_momentum=False"
        )
        yield "momentum", self.allow_momentum or number(group["momentum"]) == 0, words
        yield from super()._checks(group, scheduled)


def loss_of(closure: Closure | None) -> Tensor | None:
    """The loss of a closure, which is called with gradients on; None where there is none.

    Raises:
        OptimizerError: it cannot be called.
    """
    if closure is None:
        return None
    if not callable(closure):
        raise OptimizerError(
            f"step: found a {type(closure).__name__}, expected one closure, or none after a backward pass"
        )
    with torch.enable_grad():
        return closure()


def trained(group: dict[str, Any]) -> list[Tensor]:
    """The parameters of a group that are not frozen."""
    return [p for p in group["params"] if p.requires_grad]


def gradient_or_zero(p: Tensor) -> Tensor:
    """The gradient of a parameter, dense; zeros where the mini-batch did not reach it."""
    gradient = dense_gradient(p)
    return torch.zeros_like(p) if gradient is None else gradient


def dense_gradient(p: Tensor) -> Tensor | None:
    """The gradient of a parameter; a sparse one, such as that of an embedding, with its zeros."""
    return p.grad if p.grad is None or p.grad.layout == torch.strided else p.grad.to_dense()


def number(found: Any) -> float:
    """A setting as a number; NaN where it is none, which no range has."""
    if isinstance(found, Tensor) and found.numel() == 1 and not found.is_complex():
        return float(found)
    return float(found) if isinstance(found, REAL) and not isinstance(found, bool) else math.nan


def whole(found: Any, least: int) -> bool:
    """Whether a setting is a whole number of at least so much; True and 3.0 are none."""
    return isinstance(found, WHOLE) and not isinstance(found, bool) and found >= least


def parameter_in_words(group: Mapping[str, Any], p: Tensor) -> str:
    """A parameter of a group as a message names it: by its name where the group has names, else by place and shape."""
    place = next(index for index, other in enumerate(group["params"]) if other is p)
    name = repr(group["param_names"][place]) if "param_names" in group else f"number {place} of its group"
    return f"the parameter {name} of shape {list(p.shape)}"
