"""What all optimisers share: a step along a direction, by the rule of torch.optim.SGD."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.sgd import sgd as descend

Closure = Callable[[], Tensor]
Part = tuple[Tensor, Tensor]  # (inputs [n, ...], labels [n]) of an update, with a backward pass of its own
MeanLoss = Callable[[Tensor, Tensor], Tensor]  # (inputs, labels) -> mean loss of these examples, shape []


class EagerOptimizer(Optimizer):
    """An optimiser without torch's marks "do not compile", which import the compiler at first use.

    Nothing here is ever compiled, and the import costs a second of every training job. The methods are torch's own.

    Beside torch's protocol, in which every optimiser takes the closures that suit it, all are stepped alike by
    `step_on`: this is what the training loop calls.

    Attributes:
        one_rank: whether it needs the gradients of all examples in one process.
    """

    one_rank = False

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)

    @classmethod
    def of_model(cls, model: nn.Module, **settings: Any) -> Self:
        """The optimiser over all parameters of a network, which is in the mode that it is trained in."""
        return cls(model.parameters(), **settings)

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
        ValueError: a value out of its range.
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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with settings of their own where given; torch's method, and a check of the settings."""
        group = {**self.defaults, **param_group}
        for key, expected, valid in (
            ("lr", "a positive number", group["lr"] > 0),
            ("momentum", "a number in [0, 1)", 0 <= group["momentum"] < 1),
            ("weight_decay", "a number of at least 0", group["weight_decay"] >= 0),
            ("nesterov", "False, since momentum is 0", group["momentum"] > 0 or not group["nesterov"]),
        ):
            if not valid:
                raise ValueError(f"{type(self).__name__}: found {key} {group[key]}, expected {expected}")
        super().add_param_group(param_group)

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
        ValueError: a value out of its range, or momentum that is not allowed.
    """

    def __init__(self, params: Iterable[Any], lr: float, *, allow_momentum: bool = False, **settings: Any) -> None:
        self.allow_momentum = allow_momentum
        super().__init__(params, lr, **settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with settings of their own where given."""
        momentum = param_group.get("momentum", self.defaults["momentum"])
        if momentum and not self.allow_momentum:
            raise ValueError(
                f"{type(self).__name__}: found momentum {momentum}, expected 0: with it the method is unstable, as the "
                "authors' code of arXiv 2003.07422 says; allow_momentum=True lets it in, after the combined gradient"
            )
        super().add_param_group(param_group)


def loss_of(closure: Closure | None) -> Tensor | None:
    """The loss of a closure, which is called with gradients on; None where there is none."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def trained(group: dict[str, Any]) -> list[Tensor]:
    """The parameters of a group that are not frozen."""
    return [p for p in group["params"] if p.requires_grad]


def gradient_or_zero(p: Tensor) -> Tensor:
    """The gradient of a parameter; zeros where the mini-batch did not reach it."""
    return torch.zeros_like(p) if p.grad is None else p.grad
