"""What a monitor measures and when, what it keeps, tells and refuses."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor, gradient_statistics
from mcoherence.errors import UserError
from mcoherence.gradients.wrappers import unwrapped
from mcoherence.monitoring.logging import takes_all_at_once
from mcoherence.monitoring.schedule import MeasuringSteps
from mcoherence.study.segments import checkpoint_schedule
from tests.unit.monitoring.small_training import LOSS, Training, sample

# With the output as its loss, a linear unit's gradient is the input.
UNIT, OUTPUT = nn.Linear(2, 1, bias=False), lambda outputs, _: outputs[:, 0]
INPUTS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
TWO_AND_ONE = (INPUTS, torch.zeros(3), torch.tensor([0, 0, 1]))


def test_values_worked_by_hand():
    """S = (2, 1), Q = 3: m-coherence 5/3; of the two equal examples 2, of the single one 1."""
    values = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE, every=5, groups=["two", "one"])(5)
    assert values == pytest.approx(
        {
            "n": 3, "m_coherence": 5 / 3, "alpha": 5 / 9, "pairwise_alignment": 1 / 3, "sum_sq_norm": 3,
            "sq_norm_of_sum": 5, "m_coherence/group/two": 2, "m_coherence/group/one": 1, "alpha/group/two": 1,
            "alpha/group/one": 1, "n/group/two": 2, "n/group/one": 1, "m_coherence/layer/": 5 / 3,
        }
    )  # fmt: skip


def test_it_measures_what_gradient_statistics_measures_at_the_weights_of_the_step():
    training = Training()
    inputs, targets, ids = sample()
    batches = [(inputs[:20], targets[:20], ids[:20]), (inputs[20:], targets[20:], ids[20:])]
    monitor = CoherenceMonitor(training.model, LOSS, batches, every=3, groups=["even", "odd"])
    expected = []

    def step_by_step(step):
        monitor(step)
        if step % 3 == 0:
            expected.append(gradient_statistics(training.model, LOSS, batches, ["even", "odd"]))

    training.run(7, step_by_step)
    assert monitor.history["step"].tolist() == [3, 6]
    for row, statistics in zip(monitor.history.to_dict("records"), expected, strict=True):
        assert row["m_coherence"] == pytest.approx(statistics.m_coherence(), rel=1e-12)
        assert row["alpha"] == pytest.approx(statistics.alpha(), rel=1e-12)
        assert row["m_coherence/group/odd"] == pytest.approx(statistics.m_coherence(groups=["odd"]), rel=1e-12)
        for layer, value in statistics.m_coherence(by="layer").items():
            assert row[f"m_coherence/layer/{layer}"] == pytest.approx(value, rel=1e-12)


def measured_steps(every, until=40):
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], every=every)
    for step in range(until + 1):
        assert (monitor(step) is None) == (step not in monitor.history["step"].tolist())
    return monitor.history["step"].tolist()


def test_steps_that_are_measured():
    assert measured_steps(15) == [0, 15, 30]
    assert measured_steps([1, 7, 100]) == [1, 7]
    schedule = {"every_step_until": 2, "per_doubling": 1, "every": 16}
    assert measured_steps(schedule) == checkpoint_schedule(40, **schedule) == [0, 1, 2, 4, 8, 16, 32]


def test_a_schedule_of_checkpoints_goes_on_for_ever_and_may_be_asked_in_any_order():
    schedule = {"every_step_until": 8, "per_doubling": 2}
    steps = MeasuringSteps(schedule)
    expected = checkpoint_schedule(10**6, **schedule)
    asked = [*expected[::-1], *(step + 1 for step in expected if step > 8)]
    assert [step for step in asked if step in steps] == expected[::-1]


@pytest.mark.parametrize(
    "every",
    [0, -1, 1.5, "10", True, None, {"every": 5}, {"every_step_until": 1, "per_doubling": 0}, {"per_doubling": 1}],
)  # fmt: skip
def test_other_schedules_are_refused(every):
    with pytest.raises(UserError, match=r"^every: found .*, expected a (whole )?number"):
        CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], every=every)


def test_a_step_is_measured_once_and_never_after_a_later_one():
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], every=1)
    monitor(torch.tensor(3))
    assert monitor(3) is None
    with pytest.raises(
        UserError, match=r"^step: found 2 after a measurement at step 3, expected steps that grow; .*load"
    ):
        monitor(2)
    with pytest.raises(UserError, match=r"^step: found -1"):
        monitor(-1)
    assert len(monitor.history) == 1


@pytest.mark.parametrize(
    "given",
    [
        (INPUTS, torch.zeros(3)),
        [INPUTS, torch.zeros(3)],
        [(INPUTS[:2], torch.zeros(2)), (INPUTS[2:], torch.zeros(1))],
        [[INPUTS[:1], torch.zeros(1)], (INPUTS[1:], torch.zeros(2))],
    ],
    ids=["a batch", "a batch of a data loader", "batches", "lists as batches"],
)
def test_a_sample_is_one_batch_or_a_list_of_them_with_one_digest(given):
    monitor = CoherenceMonitor(UNIT, OUTPUT, given, every=1)
    assert monitor(0)["m_coherence"] == pytest.approx(5 / 3)
    assert monitor.sample_digest == CoherenceMonitor(UNIT, OUTPUT, (INPUTS, torch.zeros(3)), 1).sample_digest


@pytest.mark.parametrize(
    ("given", "groups", "message"),
    [
        (
            torch.utils.data.DataLoader([1]),
            None,
            r"sample: found DataLoader, expected .*; a few batches of a data loader",
        ),
        ((INPUTS,), None, "sample: found a batch of 1 parts where groups is None, expected one batch"),
        (TWO_AND_ONE[:2], ["a", "b"], "sample: found a batch of 2 parts where groups is"),
        (TWO_AND_ONE, None, "sample: found a batch of 3 parts"),
        (TWO_AND_ONE, ["a"], r"sample: group_ids: found 1, expected 0\.\.0"),
        ((INPUTS, torch.zeros(2)), None, r"sample: found a batch of tensors of shapes \[\[3, 2\], \[2\]\]"),
        ((INPUTS.numpy(), torch.zeros(3)), None, "sample: found ndarray in a batch, expected tensors"),
        ((INPUTS[:0], torch.zeros(0)), None, "sample: found no examples"),
        ([], None, "sample: found a batch of 0 parts"),
    ],
)
def test_other_samples_are_refused_in_one_line(given, groups, message):
    with pytest.raises(UserError, match=f"^{message}") as refused:
        CoherenceMonitor(UNIT, OUTPUT, given, every=1, groups=groups)
    assert "\n" not in str(refused.value)


def test_nobody_can_change_the_sample_afterwards():
    inputs = INPUTS.clone()
    monitor = CoherenceMonitor(UNIT, OUTPUT, (inputs, torch.zeros(3)), every=1)
    inputs.zero_()
    assert monitor(0)["m_coherence"] == pytest.approx(5 / 3)


def resumed(sample, groups=None, model=UNIT):
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE, 1, ["two", "one"])
    monitor(0)
    other = CoherenceMonitor(model, OUTPUT, sample, 2, groups)
    other.load_state_dict(json.loads(json.dumps(monitor.state_dict())))
    return monitor, other


def test_a_state_is_what_json_can_hold_and_another_schedule_may_go_on_from_it():
    monitor, other = resumed(
        [tuple(part[:1] for part in TWO_AND_ONE), tuple(part[1:] for part in TWO_AND_ONE)], ["two", "one"]
    )
    pd.testing.assert_frame_equal(monitor.history, other.history, check_exact=True)
    assert other.cost.measurements == 1
    assert 0 < monitor.cost.seconds <= other.cost.seconds * (1 + 1e-9)
    for step in range(4):
        other(step)
    assert other.history["step"].tolist() == [0, 2]


@pytest.mark.parametrize("change", ["value", "order", "target", "group", "dtype", "one less"])
def test_a_state_of_another_sample_is_refused_in_one_line(change):
    inputs, targets, groups = (part.clone() for part in TWO_AND_ONE)
    if change == "value":
        inputs[2, 0] = 1e-30
    elif change == "order":
        inputs, targets, groups = inputs.flip(0), targets.flip(0), groups.flip(0)
    elif change == "target":
        targets[0] = 1
    elif change == "group":
        groups[0] = 1
    elif change == "dtype":
        inputs = inputs.double()
    else:
        inputs, targets, groups = inputs[:2], targets[:2], groups[:2]
    with pytest.raises(UserError, match=r"^state: found sample \w+, this monitor has \w+; expected the same .*[^\n]$"):
        resumed((inputs, targets, groups), ["two", "one"])


def test_a_state_of_other_groups_or_of_another_network_or_of_something_else_is_refused():
    with pytest.raises(UserError, match=r"^state: found groups \('two', 'one'\), this monitor has \('2', '1'\)"):
        resumed(TWO_AND_ONE, ["2", "1"])
    with pytest.raises(
        UserError, match=r"^state: found 1 parameters, this monitor's network has 2 .*\('bias' is not in"
    ):
        resumed(TWO_AND_ONE, ["two", "one"], nn.Linear(2, 1))
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], 1)
    monitor(1)
    for wrong in ({}, {"version": 1}, monitor.state_dict() | {"measured": [{"step": 3}]}, None):
        with pytest.raises(UserError, match=r"^state: no state of a monitor"):
            monitor.load_state_dict(wrong)
    with pytest.raises(UserError, match=r"^state: found version 7"):
        monitor.load_state_dict(monitor.state_dict() | {"version": 7})
    assert monitor.history["step"].tolist() == [1]


def test_a_logger_gets_each_number_or_all_of_a_step():
    class Writer:
        def __init__(self):
            self.scalars = []

        def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, new_style=False):
            self.scalars.append((tag, scalar_value, global_step))

    class Run:
        def __init__(self):
            self.rows = []

        def log(self, data, step=None, commit=None):
            self.rows.append((data, step))

    writer, run, other = Writer(), Run(), {}
    for log in (writer.add_scalar, run.log):
        CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], 2, log=log)(4)
        CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], 4, log=lambda values, step: other.update(values), name="test")(
            4
        )
    assert other["test/m_coherence"] == pytest.approx(5 / 3)
    [(data, step)] = run.rows
    assert step == 4
    assert data["coherence/m_coherence"] == pytest.approx(5 / 3)
    assert {"coherence/seconds", "coherence/share_of_time", "coherence/m_coherence/layer/"} <= data.keys()
    assert [(name, 4) for name in data] == [(name, step) for name, _, step in writer.scalars]
    assert ("coherence/n", 3, 4) in writer.scalars


def test_which_loggers_take_all_at_once():
    assert takes_all_at_once(lambda values, step: None)
    assert takes_all_at_once(lambda metrics, step=None, synchronous=None, run_id=None: None)  # mlflow.log_metrics
    assert not takes_all_at_once(lambda key, value, step=None, synchronous=None: None)  # mlflow.log_metric
    assert not takes_all_at_once(lambda name, value, step: None)
    assert not takes_all_at_once(print)


def test_weights_that_are_not_finite_are_a_row_of_nan_and_no_error(tmp_path):
    model = nn.Linear(2, 1)
    monitor = CoherenceMonitor(model, OUTPUT, TWO_AND_ONE, 1, ["two", "one"], tmp_path / "c.h5")
    monitor(0)
    with torch.no_grad():
        model.weight[0, 0] = math.inf
    values = monitor(1)
    assert math.isnan(values["m_coherence"])
    assert monitor.history["diverged"].tolist() == [False, True]
    assert monitor.history["n"].tolist() == [3, 3]


def test_layers_that_are_set_free_on_the_way_are_refused():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    monitor = CoherenceMonitor(model, OUTPUT, TWO_AND_ONE[:2], 1)
    monitor(0)
    model.bias.requires_grad_(True)
    with pytest.raises(UserError, match=r"^monitor: found 2 parameters that require a gradient, expected the 1 of"):
        monitor(1)


def test_wrappers_are_taken_off():
    model = nn.Linear(2, 1)
    compiled = torch.compile(nn.DataParallel(model), backend="eager")
    assert unwrapped(compiled) is model
    values = CoherenceMonitor(compiled, OUTPUT, TWO_AND_ONE[:2], 1)(0)
    assert "m_coherence/layer/" in values


def test_the_cost_is_in_the_time_since_the_monitor_was_made():
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], 1)
    assert (monitor.cost.measurements, monitor.cost.seconds, monitor.cost.share) == (0, 0.0, 0.0)
    monitor(0)
    cost = monitor.cost
    assert cost.measurements == 1
    assert cost.seconds > 0
    assert 0 < cost.share <= 1
    assert str(cost).startswith("1 measurements, ")


def test_before_the_first_measurement_there_is_no_row():
    history = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], 1).history
    assert len(history) == 0
    assert np.array_equal(history.columns, ["step", "diverged"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_network_is_measured_in_the_type_of_its_weights(dtype):
    torch.manual_seed(0)
    model, (inputs, targets, _) = nn.Linear(6, 3).to(dtype), sample()
    measured = CoherenceMonitor(model, LOSS, (inputs.to(dtype), targets), 1)(0)["m_coherence"]
    statistics = gradient_statistics(model, LOSS, [(inputs.to(dtype), targets)])
    assert measured == pytest.approx(statistics.m_coherence(), rel=1e-12)
