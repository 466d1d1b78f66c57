"""A monitor of gradient coherence for anybody's training loop: one call a step, and training goes on as without it."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mcoherence.errors import UserError
from mcoherence.files.digests import short_digest
from mcoherence.files.provenance import provenance
from mcoherence.gradients.batch.evidence import merged
from mcoherence.gradients.batch_norm import batch_norm_layers
from mcoherence.gradients.given.losses import LossFunction
from mcoherence.gradients.given.wrappers import unwrapped
from mcoherence.gradients.rounding import share_of_sums
from mcoherence.gradients.statistics import WHOLE_SAMPLE
from mcoherence.measuring.record import CoherenceRecord, record_of, stacked
from mcoherence.monitoring.cost import Clock, Cost
from mcoherence.monitoring.logging import Log, for_loggers, hand_over, require_log
from mcoherence.monitoring.probe_passes import ProbePasses
from mcoherence.monitoring.probe_sample import ProbeSample
from mcoherence.monitoring.ranks import ProbeRanks, trainable_parameters
from mcoherence.monitoring.rows import (
    MEAN_SQ_NORM,
    NOISE_SCALE,
    VARIANCE,
    Measurements,
    history_of,
    measured_values,
    noise_scales,
)
from mcoherence.monitoring.schedule import Every, MeasuringSteps
from mcoherence.monitoring.settings import names_of_groups, number_of_updates, require_settings
from mcoherence.monitoring.shares import SharedMeasurement
from mcoherence.monitoring.state import MonitorMeasurement, MonitorState
from mcoherence.monitoring.storage import MonitorFile, monitor_file
from mcoherence.precision import precision_name
from mcoherence.study.result_names import NO_BATCH_NORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CoherenceMonitor:
    """Measures the gradient coherence of a fixed probe sample while a network trains.

    Call it with the number of updates made so far, between two updates: after `optimizer.step()`, and once with 0
    before the first, if the start is to be measured. At the steps of its schedule it measures as `gradient_statistics`
    does; at others the call costs nothing. Training ends in the same bytes as without it: the mode of every module,
    weights, buffers, `.grad`, hooks, the generators of torch, NumPy and Python, and autocast are as before, after an
    error too; a GradScaler is not touched. Wrappers for several GPUs and `torch.compile` are taken off.

    With several ranks (torch.distributed) every rank calls it at the same steps; each measures its share of the sample,
    with the buffers of rank 0. All have the same history; rank 0 writes and logs.

    Weights, losses or gradients that are not finite give a row of NaN that says `diverged`, with a warning, and
    training goes on: it may come back.

    It can be pickled and copied; a copy needs a file of its own.

    Args:
        model: the network that is trained; it is held, not copied.
        loss_fn: loss_fn(outputs, targets) -> losses of the examples, [n].
        sample: the probe sample: one batch (inputs [n, ...], targets [n, ...]), with `groups` (inputs, targets,
            group_ids [n]), or a list of such batches; copied. Memory and time are those of
            `gradient_statistics`.
        every: N: measure when step % N == 0. Or a schedule, as a study's checkpoints have it: {"every_step_until": 8,
            "per_doubling": 2, "every": 1000}, the last key optional; or a list of steps.
        groups: names of the groups that group_ids count from 0; of several none may be called "all", which is what
            files call the whole sample.
        path: a file that gets the rows of each measurement at once: .csv, or .h5 as a study's coherence.h5.
            `mcoherence.monitoring.reading.coherence_table` reads it for the figures. A file of an earlier run is
            renamed, unless the state of that run is loaded.
        log: a function that gets each measurement: log(name, value, step) for each number, such as
            `SummaryWriter.add_scalar`, or log({name: value}, step), such as wandb's `run.log`; which of the two is
            told by its signature, see `mcoherence.monitoring.logging.takes_all_at_once`.
        name: what names of logged numbers begin with, "coherence/m_coherence" and so on, and what its state is called
            in the checkpoints of a framework: of several monitors in one training each needs its own.
        spot_check, tf32: as in `gradient_statistics`; single examples are looked at in the first measurement of a
            process and in every tenth after it, and in others where something is new
            (`mcoherence.monitoring.probe_passes`).
        rank_timeout: seconds that a rank waits for the others before it gives up with an error.

    Raises:
        UserError: a setting or the sample is none of these; one line.

    Example:
        With the output as its loss, a linear unit's gradient is the input: here (1, 0) twice and (0, 1) once.

        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> sample = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.zeros(3)
        >>> monitor = CoherenceMonitor(model, lambda outputs, _: outputs[:, 0], sample, every=2)
        >>> for step in range(5):
        ...     _ = monitor(step)  # a training loop would make its updates here
        >>> monitor.history[["step", "n", "m_coherence"]].round(4).to_dict("list")  # |S|^2 / Q = 5 / 3
        {'step': [0, 2, 4], 'n': [3, 3, 3], 'm_coherence': [1.6667, 1.6667, 1.6667]}
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        sample: Any,
        every: Every,
        groups: Sequence[str] | None = None,
        path: str | os.PathLike[str] | None = None,
        log: Log | None = None,
        *,
        name: str = "coherence",
        spot_check: int = 1,
        tf32: bool = False,
        rank_timeout: float = 600.0,
    ) -> None:
        self._clock = Clock()
        require_settings(model, loss_fn, name, spot_check, rank_timeout)
        self._model = unwrapped(model)
        self._groups = names_of_groups(groups)
        self._sample = ProbeSample.of(sample, self._groups)
        self._steps = MeasuringSteps(every)
        self._spot_check, self._tf32 = int(spot_check), bool(tf32)
        self._passes = ProbePasses(loss_fn, self._groups, self._spot_check, self._tf32)
        self._ranks = ProbeRanks(float(rank_timeout))
        self._measurement = SharedMeasurement(self._ranks, self._passes, self._sample, self._groups)
        if log is not None:
            require_log(log)
        self.name, self._log = name, log
        self._file: MonitorFile | None = None if path is None else monitor_file(path, self._told_in_files)
        self._measured: list[MonitorMeasurement] = []
        self._noise: list[tuple[float, float]] = []  # estimates of tr(Sigma) and |G|^2 of what was measured
        self._file_is_ours = False  # whether it holds what was measured, and nothing else

    def __call__(self, step: int) -> dict[str, float] | None:
        """Measure, if `step` is one of the schedule.

        Args:
            step: number of updates made so far. One that was measured already is passed over.

        Returns:
            The values of the measurement by name, as a row of `history` has them, or None where none was due.

        Raises:
            UserError: the step is before the last one measured; ranks do not agree; the network cannot be measured.
            IdentityError, ValueError: as `gradient_statistics` does.
            OSError: the file cannot be written.
            What `log` raises. After any error nothing of the step is kept, in the file neither, and the next call
                measures again; a logger keeps what it was told before it failed.
        """
        step = number_of_updates(step)
        last = self._measured[-1].step if self._measured else -1
        due = step != last and step in self._steps
        # Ranks tell each other of problems where all of them meet: an error before that is one rank's alone, for which
        # the others would wait in vain.
        problem = self._file_problem() if due or self._ranks.world == 1 else None
        if not due:
            if problem is not None:
                raise problem
            return None
        if step < last:
            raise UserError(
                f"step: found {step} after a measurement at step {last}, expected steps that grow; of training that "
                "starts over or goes on from a checkpoint, make a new monitor or load the state that was saved with it"
            )
        with self._clock.measuring({p.device for p in self._model.parameters()}):
            return self._measure(step, problem)

    @property
    def history(self) -> pd.DataFrame:
        """A row a measurement.

        Columns: step, diverged; n, m_coherence, alpha, pairwise_alignment, sum_sq_norm (Q), sq_norm_of_sum (|S|^2),
        gradient_variance (tr(Sigma)) and mean_gradient_sq_norm (|G|^2) of the whole sample; m_coherence/group/NAME,
        alpha/group/NAME and n/group/NAME with groups; m_coherence/layer/NAME; running_noise_scale, the gradient noise
        scale from running means over the measurements so far (see `mcoherence.monitoring.rows.noise_scales`). Without
        measurements there are no columns but the first two.
        """
        return (
            history_of(self._measurements(self._measured))
            if self._measured
            else pd.DataFrame({"step": [], "diverged": []})
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """m-coherence of the sample and of each group by step; on a new figure without `ax`."""
        from mcoherence.monitoring.plotting import plot_of_history

        return plot_of_history(self.history, ax)

    def __repr__(self) -> str:
        """What it has measured so far, in a line."""
        said = f"{len(self._measured)} measurements of {self._sample.size} examples"
        if self._measured:
            last = self.history.iloc[-1]
            said += f", the last at step {last['step']:.0f}: m-coherence {last.get('m_coherence', math.nan):.4g}"
        return f"CoherenceMonitor({said})"

    @property
    def cost(self) -> Cost:
        """Seconds that measuring has taken so far, and what share of the time since the monitor was made that is."""
        return self._clock.cost(len(self._measured))

    @property
    def sample_digest(self) -> str:
        """SHA-256 of the probe sample, 64 hexadecimal digits; the same however it is cut into batches."""
        return self._sample.digest

    def state_dict(self) -> dict[str, Any]:
        """All that it takes to go on in another process, as numbers, strings, lists and dicts: JSON can hold it."""
        seconds, whole = self._clock.seconds, self._clock.whole_seconds
        return MonitorState(self._sample.digest, self._groups, self._measured, seconds, whole).as_json()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        What the file holds beyond it goes with the next call (of several ranks, the next that measures), for it is
        measured again.

        Raises:
            UserError: the state is of another sample, of other groups, or none.
        """
        found = MonitorState.from_json(state)
        self._require_same("sample", found.sample[:12], self._sample.digest[:12], "the same probe sample")
        self._require_same("groups", found.groups, self._groups, "the same groups")
        if found.parameters is not None:
            self._require_parameters(found.parameters)
        self._measured, self._noise = list(found.measured), [self._estimates(one) for one in found.measured]
        self._passes.forget()
        self._clock = Clock(found.seconds, found.whole_seconds)
        self._file_is_ours = False

    def _require_parameters(self, found: tuple[str, ...]) -> None:
        own = tuple(trainable_parameters(self._model))
        if found != own:
            other = sorted(set(found) ^ set(own)) or list(own)
            raise UserError(
                f"state: found {len(found)} parameters, this monitor's network has {len(own)} that require a gradient "
                f"({other[0]!r} is not in both, or in another place); load it into the same network"
            )

    def _require_same(self, name: str, found: Any, own: Any, expected: str) -> None:
        if found != own:
            raise UserError(
                f"state: found {name} {found}, this monitor has {own}; expected {expected} all along a run; make the "
                "monitor as it was made when the state was saved, or begin a new one with a file of its own"
            )

    def _file_problem(self) -> Exception | None:
        """Begin the file where that was not done yet; the error that keeps rank 0 from it, so that all hear of it."""
        try:
            if self._file is not None and not self._file_is_ours and self._ranks.leads:
                self._file.replace(self._measurements(self._measured) if self._measured else None)
        except Exception as error:
            return error
        self._file_is_ours = True
        return None

    def _measure(self, step: int, problem: Exception | None) -> dict[str, float]:
        """A measurement, kept, written and logged; the ranks tell each other of every error, of `problem` first."""
        ranks = self._ranks
        ranks.meet(step, self._setup())
        statistics, not_finite = self._measurement.of(self._model, problem)
        measured, values, problem = None, {}, None
        if ranks.leads:
            try:
                if not_finite:
                    self._warn_of_divergence(step, not_finite)
                measured = MonitorMeasurement(step, bool(not_finite), record_of(statistics), statistics.evidence)
                values = self._kept(measured)
            except Exception as error:
                problem = error
        measured = ranks.told_by_leader(measured, problem)
        if not ranks.leads:
            values = self._values(measured)
            self._keep(measured, values)
        return values

    def _warn_of_divergence(self, step: int, what: str) -> None:
        """Once, until it has come back."""
        if not (self._measured and self._measured[-1].diverged):
            warnings.warn(
                f"monitor: step {step}: found {what} that are not finite; the row holds NaN and says diverged, and "
                "training goes on",
                stacklevel=4,
            )

    def _kept(self, measured: MonitorMeasurement) -> dict[str, float]:
        """The values of a measurement, once it is in the file, logged and in the history, in this order.

        What a logger was told cannot be taken back; what is in the file can.
        """
        self._require_same_parameters(measured.record)
        if not measured.diverged:
            widest = reduce(torch.promote_types, {p.dtype for p in self._model.parameters()})
            measured.record.largest_bound_ratio(widest)
        values = self._values(measured)
        if self._file is not None:
            last, so_far = self._measurements([measured]), [*self._measured, measured]
            self._file.append(last, lambda: self._measurements(so_far))
        try:
            self._tell_log(values, measured.step)
        except BaseException:
            self._take_back()
            raise
        self._keep(measured, values)
        return values

    def _tell_log(self, values: Mapping[str, float], step: int) -> None:
        if self._log is not None:
            cost = self.cost
            costs = {"seconds": cost.seconds, "share_of_time": cost.share}
            hand_over(self._log, for_loggers(self.name, {**values, **costs}), step)

    def _take_back(self) -> None:
        """Leave in the file what is in the history; where that fails, the next call does it."""
        if self._file is None:
            return
        try:
            self._file.take_back(self._measurements(self._measured) if self._measured else None)
        except Exception:
            self._file_is_ours = False

    def _values(self, measured: MonitorMeasurement) -> dict[str, float]:
        """The values of a measurement that is to come after those so far."""
        values = measured_values(self._measurements([measured]))
        noise = noise_scales([*self._noise, (values[VARIANCE], values[MEAN_SQ_NORM])])
        return {**values, NOISE_SCALE: float(noise[-1])}

    def _keep(self, measured: MonitorMeasurement, values: Mapping[str, float]) -> None:
        self._measured.append(measured)
        self._noise.append((values[VARIANCE], values[MEAN_SQ_NORM]))

    def _estimates(self, measured: MonitorMeasurement) -> tuple[float, float]:
        values = measured_values(self._measurements([measured]))
        return values[VARIANCE], values[MEAN_SQ_NORM]

    def _require_same_parameters(self, record: CoherenceRecord) -> None:
        if self._measured and self._measured[0].record.parameters != record.parameters:
            before, now = len(self._measured[0].record.parameters), len(record.parameters)
            raise UserError(
                f"monitor: found {now} parameters that require a gradient, expected the {before} of the measurements "
                "so far; where layers are frozen or set free on the way, make a monitor for each part of training"
            )

    def _measurements(self, some: Sequence[MonitorMeasurement]) -> Measurements:
        record = stacked([one.record for one in some])
        return Measurements(
            steps=np.array([one.step for one in some], dtype=np.int64),
            diverged=np.array([one.diverged for one in some]),
            groups=self._groups or (WHOLE_SAMPLE,),
            record=record,
            layer_types={name: type(module).__name__ for name, module in self._model.named_modules()},
            batch_norm="running" if self._batch_norm_layers else NO_BATCH_NORM,
            evidence=merged([one.evidence for one in some if not one.diverged]),
            rounding=share_of_sums(*(p.dtype for p in trainable_parameters(self._model).values())),
        )

    @cached_property
    def _batch_norm_layers(self) -> tuple[str, ...]:
        return batch_norm_layers(self._model)

    def _setup(self) -> str:
        """A digest of what must be the same on all ranks."""
        return short_digest(f"{self._sample.digest} {self._groups} {self._steps.setting}")

    def _told_in_files(self) -> dict[str, Any]:
        return self._origin

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """What an HDF5 file says of its origin."""
        settings = {
            "every": self._steps.setting,
            "groups": list(self._groups or (WHOLE_SAMPLE,)),
            "spot_check": self._spot_check,
        }
        device = str(next(self._model.parameters()).device)
        statistics = "running" if self._batch_norm_layers else NO_BATCH_NORM
        return {
            **provenance(settings, [], device, precision_name(self._tf32)).as_attributes(),
            "sample_sha256": self._sample.digest,
            "batch_norm": {"statistics": statistics, "layers": list(self._batch_norm_layers)},
        }
