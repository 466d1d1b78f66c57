"""A monitor as a callback of Lightning's Trainer; importing this module takes pytorch-lightning or lightning."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from mcoherence.errors import UserError
from mcoherence.monitoring.logging import for_loggers
from mcoherence.monitoring.monitor import CoherenceMonitor

# Two packages hold the same framework, and the callbacks of one are none of the other's: the one that the program uses.
_NAMES = ("lightning.pytorch", "pytorch_lightning")


def _callback() -> Any:
    """The class Callback of the package that was imported already, else of the one that is installed."""
    name = next((name for name in _NAMES if name in sys.modules), None)
    name = name or next((name for name in _NAMES if find_spec(name.partition(".")[0])), None)
    if name is None:
        raise UserError("lightning: not installed, expected one of its two packages; pip install pytorch-lightning")
    return import_module(name).Callback


class LightningCoherence(_callback()):  # type: ignore[misc]
    """Calls a monitor at the start of training and after every update; its state is in Lightning's checkpoints.

    An update is a batch of training in which an optimiser made a step, however many optimisers there are and steps they
    made: with one that is the Trainer's `global_step`, which counts the steps of all optimisers together.

    What is measured goes to the Trainer's loggers under the names that `log=` would see, and to `callback_metrics`,
    where EarlyStopping and ModelCheckpoint find it.

    Args:
        monitor: made with the LightningModule, or the network inside it.

    Example::

        monitor = CoherenceMonitor(network, loss_fn, sample, every=100)
        Trainer(callbacks=[LightningCoherence(monitor)]).fit(network, loader)
    """

    def __init__(self, monitor: CoherenceMonitor) -> None:
        super().__init__()
        self.monitor = monitor
        self._updates, self._optimizer_steps = 0, -1  # and at how many steps of all optimisers that was

    @property
    def state_key(self) -> str:
        """What its state is called in checkpoints: by the monitor's name, so that several may stand side by side."""
        return f"{type(self).__name__}: {self.monitor.name}"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure the start, or nothing where the state that was loaded has it."""
        if not 0 <= self._optimizer_steps <= trainer.global_step:  # no state was loaded, or training starts over
            self._updates = trainer.global_step // max(len(trainer.optimizers), 1)
            self._optimizer_steps = trainer.global_step
        self._call(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Measure, where an optimiser has made a step and the update is due."""
        self._call(trainer)

    def state_dict(self) -> dict[str, Any]:
        """That of the monitor, with what was counted; Lightning puts it into every checkpoint."""
        return self.monitor.state_dict() | {"updates": self._updates, "optimizer_steps": self._optimizer_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hand the state of a checkpoint to the monitor."""
        self.monitor.load_state_dict(state_dict)
        self._updates, self._optimizer_steps = state_dict.get("updates", 0), state_dict.get("optimizer_steps", -1)

    def _call(self, trainer: Any) -> None:
        if trainer.global_step > self._optimizer_steps:
            self._updates, self._optimizer_steps = self._updates + 1, trainer.global_step
        values = self.monitor(self._updates)
        if values is None:
            return
        logged = for_loggers(self.monitor.name, values)
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=self._updates)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in logged.items()})
