"""A monitor as a callback of Hugging Face's Trainer; importing this module takes transformers."""

from typing import Any

from transformers import TrainerCallback

from mcoherence.monitoring.monitor import CoherenceMonitor


class TrainerCoherence(TrainerCallback):  # type: ignore[misc]
    """Calls a monitor at the start of training and after every optimiser step; trainer_state.json keeps its state.

    `trainer.train(resume_from_checkpoint=...)` goes on from it. The Trainer sends nothing that a callback has measured
    to its reporters: give the monitor a `log=` or a `path=`.

    Args:
        monitor: made with the model that the Trainer is given.

    Example::

        monitor = CoherenceMonitor(model, loss_fn, sample, every=100, log=wandb.log)
        Trainer(model, arguments, train_dataset=data, callbacks=[TrainerCoherence(monitor)])
    """

    def __init__(self, monitor: CoherenceMonitor) -> None:
        self.monitor = monitor
        self._key = f"mcoherence: {monitor.name}"  # of its state among those of callbacks in trainer_state.json

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the start, or go on from the state that the checkpoint holds."""
        if state.global_step and self._key in state.stateful_callbacks:
            self.monitor.load_state_dict(state.stateful_callbacks[self._key])
        self._call(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure, if the step is due; checkpoints are saved after this."""
        self._call(state)

    def _call(self, state: Any) -> None:
        if self.monitor(state.global_step) is not None:
            state.stateful_callbacks[self._key] = self.monitor.state_dict()
