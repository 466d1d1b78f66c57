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
    """Calls a monitor at the start of training and after every optimiser step; its state is in Lightning's checkpoints.

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

    @property
    def state_key(self) -> str:
        """What its state is called in checkpoints: by the monitor's name, so that several may stand side by side."""
        return f"{type(self).__name__}: {self.monitor.name}"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure the start, or nothing where the state that was loaded has it."""
        self._call(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Measure, where the optimiser has made a step that is due."""
        self._call(trainer)

    def state_dict(self) -> dict[str, Any]:
        """That of the monitor; Lightning puts it into every checkpoint."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hand the state of a checkpoint to the monitor."""
        self.monitor.load_state_dict(state_dict)

    def _call(self, trainer: Any) -> None:
        values = self.monitor(trainer.global_step)
        if values is None:
            return
        logged = for_loggers(self.monitor.name, values)
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=trainer.global_step)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in logged.items()})
