"""A monitor of gradient coherence for anybody's training loop: one call a step, and training goes on as without it."""

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from mcoherence.errors import UserError, first_line
from mcoherence.files.digests import short_digest
from mcoherence.files.provenance import provenance
from mcoherence.gradients.batch_norm import batch_norm_layers
from mcoherence.gradients.evidence import Evidence, merged
from mcoherence.gradients.reference import LossFunction
from mcoherence.gradients.refusal import refuse_unsupported
from mcoherence.gradients.rounding import share_of_sums
from mcoherence.gradients.statistics import WHOLE_SAMPLE, GradientStatistics
from mcoherence.gradients.sweep import group_names
from mcoherence.gradients.wrappers import unwrapped
from mcoherence.measuring.by_examples import diverged_statistics
from mcoherence.measuring.record import CoherenceRecord, record_of, stacked
from mcoherence.monitoring.logging import Log, for_loggers, hand_over, require_log
from mcoherence.monitoring.probe_passes import ProbePasses, weights_are_finite
from mcoherence.monitoring.probe_sample import ProbeSample
from mcoherence.monitoring.ranks import ProbeRanks, nothing_measured, trainable_parameters
from mcoherence.monitoring.rows import (
    MEAN_SQ_NORM,
    NOISE_SCALE,
    VARIANCE,
    Measurements,
    history_of,
    measured_values,
    noise_scales,
)
from mcoherence.monitoring.schedule import Every, MeasuringSteps, as_whole_number
from mcoherence.monitoring.storage import MonitorFile, monitor_file
from mcoherence.precision import precision_name
from mcoherence.study.result_names import NO_BATCH_NORM

STATE_VERSION = 1


@dataclass(frozen=True)
class Cost:
    """What a monitor has cost.

    measurements: how many there were; seconds: that they took, writing and logging included.
    share: of the time since the monitor was made, in [0, 1]; of a run that was resumed, of the time of all its parts.
    """

    measurements: int
    seconds: float
    share: float

    def __str__(self) -> str:
        return (
            f"{self.measurements} measurements, {self.seconds:.1f} s, {100 * self.share:.1f}% of the time since the "
            "monitor was made"
        )


@dataclass(frozen=True)
class _Measured:
    """One measurement: its step, whether numbers were not finite, the sums (K = 1), and what was checked."""

    step: int
    diverged: bool
    record: CoherenceRecord
    evidence: Evidence


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
        self._since = time.perf_counter()
        self._seconds, self._earlier = 0.0, 0.0
        self._measuring_since: float | None = None
        _require_settings(model, loss_fn, name, spot_check, rank_timeout)
        self._model = unwrapped(model)
        self._groups = _group_names(groups)
        self._sample = ProbeSample.of(sample, self._groups)
        self._steps = MeasuringSteps(every)
        self._spot_check, self._tf32 = int(spot_check), bool(tf32)
        self._passes = ProbePasses(loss_fn, self._groups, self._spot_check, self._tf32)
        if log is not None:
            require_log(log)
        self.name, self._log = name, log
        self._ranks = ProbeRanks(float(rank_timeout))
        self._file: MonitorFile | None = None if path is None else monitor_file(path, self._told_in_files)
        self._measured: list[_Measured] = []
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
            What `log` raises. After any error nothing of the step is kept, and the next call measures again.
        """
        step = _number_of_updates(step)
        problem = self._file_problem()
        last = self._measured[-1].step if self._measured else -1
        if step == last or step not in self._steps:
            if problem is not None:
                raise problem
            return None
        if step < last:
            raise UserError(
                f"step: found {step} after a measurement at step {last}, expected steps that grow; of training that "
                "starts over or goes on from a checkpoint, make a new monitor or load the state that was saved with it"
            )
        with self._timed():
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

    @property
    def cost(self) -> Cost:
        """Seconds that measuring has taken so far, and what share of the time since the monitor was made that is."""
        now = time.perf_counter()
        seconds = self._seconds + (0.0 if self._measuring_since is None else now - self._measuring_since)
        whole = self._earlier + now - self._since
        return Cost(len(self._measured), seconds, seconds / whole if whole > 0 else 0.0)

    @property
    def sample_digest(self) -> str:
        """SHA-256 of the probe sample, 64 hexadecimal digits; the same however it is cut into batches."""
        return self._sample.digest

    def state_dict(self) -> dict[str, Any]:
        """All that it takes to go on in another process, as numbers, strings, lists and dicts: JSON can hold it."""
        parameters = list(self._measured[0].record.parameters) if self._measured else None
        return {
            "version": STATE_VERSION,
            "sample": self._sample.digest,
            "groups": None if self._groups is None else list(self._groups),
            "parameters": parameters,
            "measured": [
                {
                    "step": one.step,
                    "diverged": one.diverged,
                    "n": one.record.n[0].tolist(),
                    "sum_sq_norm": one.record.sum_sq_norm[0].tolist(),
                    "gram": one.record.gram[0].tolist(),
                    "evidence": one.evidence.as_json(),
                }
                for one in self._measured
            ],
            "seconds": self._seconds,
            "whole_seconds": self._earlier + time.perf_counter() - self._since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; what the file holds beyond it goes with the next call, for it is measured again.

        Raises:
            UserError: the state is of another sample, of other groups, or none.
        """
        try:
            if state["version"] != STATE_VERSION:
                raise UserError(
                    f"state: found version {state['version']!r} of a monitor's state, expected {STATE_VERSION}; load "
                    "it with the version of mcoherence that saved it"
                )
            self._require_same("sample", state["sample"][:12], self._sample.digest[:12], "the same probe sample")
            groups = None if state["groups"] is None else tuple(state["groups"])
            self._require_same("groups", groups, self._groups, "the same groups")
            if state["measured"]:
                self._require_parameters(tuple(state["parameters"]))
            measured = [_loaded(one, tuple(state["parameters"])) for one in state["measured"]]
            seconds, whole = float(state["seconds"]), float(state["whole_seconds"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(
                f"state: no state of a monitor ({type(error).__name__}: {error}), expected what state_dict() returned"
            ) from error
        self._measured, self._noise = measured, [self._estimates(one) for one in measured]
        self._passes.forget()
        self._seconds, self._earlier, self._since = seconds, whole, time.perf_counter()
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
        mine, not_finite = None, ""
        try:
            refuse_unsupported(self._model)  # first of all, since weights in parts are not the same on all ranks
        except UserError as error:
            problem = problem or error
        ranks.require_none_failed(problem)
        with ranks.alike(self._model):
            try:
                mine, not_finite = self._of_share()
            except Exception as error:
                problem = error
            ranks.require_none_failed(problem)
            not_finite = ranks.first(not_finite)
            diverged = mine is None or bool(not_finite)
            statistics = self._diverged(step, not_finite) if diverged or mine is None else ranks.added_up(mine)
        measured, values = None, {}
        if ranks.leads:
            try:
                measured = _Measured(step, diverged, record_of(statistics), statistics.evidence)
                values = self._kept(measured)
            except Exception as error:
                problem = error
        measured = ranks.told_by_leader(measured, problem)
        if not ranks.leads:
            values = self._values(measured)
            self._keep(measured, values)
        return values

    def _of_share(self) -> tuple[GradientStatistics | None, str]:
        """The statistics of this rank's share; or None, and what of the network is not finite."""
        if not weights_are_finite(self._model):
            return None, "weights"
        batches = list(self._sample.share(self._ranks.rank, self._ranks.world))
        if not batches:
            return nothing_measured(self._model, self._groups or (WHOLE_SAMPLE,)), ""
        with _without_autocast({"cpu", *(p.device.type for p in self._model.parameters())}):
            try:
                return self._passes.statistics(self._model, batches), ""
            except Exception as error:
                if not self._passes.leaves_range(self._model, batches):
                    raise
                return None, f"losses or gradients of the probe sample ({first_line(error)})"

    def _diverged(self, step: int, what: str) -> GradientStatistics:
        """The statistics of a network that has diverged, with a warning where it had not before."""
        if self._ranks.leads and not (self._measured and self._measured[-1].diverged):
            warnings.warn(
                f"monitor: step {step}: found {what} that are not finite; the row holds NaN and says diverged, and "
                "training goes on",
                stacklevel=4,
            )
        return diverged_statistics(self._model, self._group_ids(), self._groups or (WHOLE_SAMPLE,))

    def _group_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        if self._groups is None:
            return np.zeros(self._sample.size, dtype=np.int64)
        return np.concatenate([batch[2].numpy() for batch in self._sample.batches])

    def _kept(self, measured: _Measured) -> dict[str, float]:
        """The values of a measurement, once they are logged and it is in the file and in the history, in this order."""
        self._require_same_parameters(measured.record)
        if not measured.diverged:
            widest = reduce(torch.promote_types, {p.dtype for p in self._model.parameters()})
            measured.record.largest_bound_ratio(widest)
        values = self._values(measured)
        if self._log is not None:
            cost = self.cost
            costs = {"seconds": cost.seconds, "share_of_time": cost.share}
            hand_over(self._log, for_loggers(self.name, values | costs), measured.step)
        if self._file is not None:
            last, so_far = self._measurements([measured]), [*self._measured, measured]
            self._file.append(last, lambda: self._measurements(so_far))
        self._keep(measured, values)
        return values

    def _values(self, measured: _Measured) -> dict[str, float]:
        """The values of a measurement that is to come after those so far."""
        values = measured_values(self._measurements([measured]))
        noise = noise_scales([*self._noise, (values[VARIANCE], values[MEAN_SQ_NORM])])
        return {**values, NOISE_SCALE: float(noise[-1])}

    def _keep(self, measured: _Measured, values: Mapping[str, float]) -> None:
        self._measured.append(measured)
        self._noise.append((values[VARIANCE], values[MEAN_SQ_NORM]))

    def _estimates(self, measured: _Measured) -> tuple[float, float]:
        values = measured_values(self._measurements([measured]))
        return values[VARIANCE], values[MEAN_SQ_NORM]

    def _require_same_parameters(self, record: CoherenceRecord) -> None:
        if self._measured and self._measured[0].record.parameters != record.parameters:
            before, now = len(self._measured[0].record.parameters), len(record.parameters)
            raise UserError(
                f"monitor: found {now} parameters that require a gradient, expected the {before} of the measurements "
                "so far; where layers are frozen or set free on the way, make a monitor for each part of training"
            )

    def _measurements(self, some: Sequence[_Measured]) -> Measurements:
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

    def __getstate__(self) -> dict[str, Any]:
        """All but the clock, which is of this process: what it has counted is in `_earlier`."""
        now = time.perf_counter()
        return {**vars(self), "_earlier": self._earlier + now - self._since, "_since": None, "_measuring_since": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _since=time.perf_counter())

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Counts the seconds of the block; not those of work that a GPU had to do before it."""
        devices = {p.device for p in self._model.parameters() if p.device.type == "cuda"}
        for device in devices:
            torch.cuda.synchronize(device)
        self._measuring_since = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - self._measuring_since
            self._measuring_since = None


def _require_settings(model: Any, loss_fn: Any, name: Any, spot_check: Any, rank_timeout: Any) -> None:
    """Raise UserError for what would fail at the first measurement only."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model: found {type(model).__name__}, expected the torch.nn.Module that is trained")
    if not callable(loss_fn):
        raise UserError(
            f"loss_fn: found {loss_fn!r}, expected loss_fn(outputs, targets) -> losses of the examples, [n]"
        )
    if not isinstance(name, str) or not name:
        raise UserError(f"name: found {name!r}, expected a name for what is logged, such as 'coherence'")
    examples = as_whole_number(spot_check)
    if examples is None or examples < 0:
        raise UserError(f"spot_check: found {spot_check!r}, expected a number of examples, or 0 for none")
    if not isinstance(rank_timeout, Real) or not 0 < float(rank_timeout) < 1e9:
        raise UserError(f"rank_timeout: found {rank_timeout!r}, expected a number of seconds above 0")


def _group_names(groups: Any) -> tuple[str, ...] | None:
    if groups is None:
        return None
    try:
        names = group_names(groups)
    except (TypeError, ValueError):
        names = ()
    if not names or isinstance(groups, set | frozenset) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"groups: found {groups!r}, expected a list of different names, one or more, in the order that group ids "
            "count them"
        )
    if WHOLE_SAMPLE in names and len(names) > 1:
        raise UserError(
            f"groups: found {list(names)}, of which {WHOLE_SAMPLE!r} is what files call all of them together; give "
            "that group another name"
        )
    return tuple(map(str, names))


def _number_of_updates(step: Any) -> int:
    number = as_whole_number(step)
    if number is None or number < 0:
        raise UserError(f"step: found {step!r}, expected the number of updates made so far, 0 or more, a whole number")
    return number


@contextmanager
def _without_autocast(devices: set[str]) -> Iterator[None]:
    """Autocast off on these types of devices inside the block; no weights that ours has cast stay in its cache."""
    with ExitStack() as stack:
        for device in sorted(devices):
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        finally:
            torch.clear_autocast_cache()


def _loaded(one: dict[str, Any], parameters: tuple[str, ...]) -> _Measured:
    """A measurement out of a state."""
    n, total, gram = (np.array(one[name]) for name in ("n", "sum_sq_norm", "gram"))
    groups = len(n)
    if total.shape != (groups, len(parameters)) or gram.shape != (groups, groups, len(parameters)):
        raise ValueError("sums of other shapes than its groups and parameters")
    record = CoherenceRecord(parameters, n[None].astype(np.int64), total[None].astype(float), gram[None].astype(float))
    return _Measured(int(one["step"]), bool(one["diverged"]), record, Evidence.from_json(one["evidence"]))
