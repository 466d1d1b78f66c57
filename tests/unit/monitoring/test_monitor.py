"""What a monitor measures and when, what it keeps, tells and refuses."""

import copy
import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor, gradient_statistics
from mcoherence.errors import UserError
from mcoherence.gradients.given.wrappers import unwrapped
from mcoherence.monitoring.logging import takes_all_at_once
from mcoherence.monitoring.probe_passes import weights_are_finite
from mcoherence.monitoring.schedule import MeasuringSteps
from mcoherence.study.segments import checkpoint_schedule
from tests.unit.monitoring.small_training import LOSS, Training, sample

# With the output as its loss, a linear unit's gradient is the input.
UNIT, OUTPUT = nn.Linear(2, 1, bias=False), lambda outputs, _: outputs[:, 0]
INPUTS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
TWO_AND_ONE = (INPUTS, torch.zeros(3), torch.tensor([0, 0, 1]))


def test_values_worked_by_hand():
    """S = (2, 1), Q = 3: m-coherence 5/3; of the two equal examples 2, of the single one 1.

    tr(Sigma) = (3 - 5/3) / 2 = 2/3, |G|^2 = (5 - 3) / 6 = 1/3, so that the noise scale is 2.
    """
    values = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE, every=5, groups=["two", "one"])(5)
    assert values == pytest.approx(
        {
            "n": 3, "m_coherence": 5 / 3, "alpha": 5 / 9, "pairwise_alignment": 1 / 3, "sum_sq_norm": 3,
            "sq_norm_of_sum": 5, "m_coherence/group/two": 2, "m_coherence/group/one": 1, "alpha/group/two": 1,
            "alpha/group/one": 1, "n/group/two": 2, "n/group/one": 1, "m_coherence/layer/": 5 / 3,
            "gradient_variance": 2 / 3, "mean_gradient_sq_norm": 1 / 3, "running_noise_scale": 2,
        }
    )  # fmt: skip


def test_what_is_measured_can_be_drawn_and_printed():
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE, every=5, groups=["two", "one"])
    assert repr(monitor) == "CoherenceMonitor(0 measurements of 3 examples)"
    assert [len(line.get_xdata()) for line in monitor.plot().lines[:-1]] == [0]
    monitor(0)
    monitor(5)
    assert repr(monitor) == ("CoherenceMonitor(2 measurements of 3 examples, the last at step 5: m-coherence 1.667)")
    whole, *groups, limit = monitor.plot().lines
    assert whole.get_ydata().tolist() == pytest.approx([5 / 3, 5 / 3])
    assert {line.get_label(): line.get_ydata().tolist() for line in groups} == {"two": [2, 2], "one": [1, 1]}
    assert whole.get_xdata().tolist() == [0, 5]
    assert limit.get_label() == "orthogonal gradients"


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


def test_numbers_of_steps_may_be_those_of_numpy_and_torch():
    assert measured_steps(np.int64(15)) == measured_steps(np.array(15)) == [0, 15, 30]
    assert measured_steps(np.array([1, 7])) == measured_steps(torch.tensor([7, 1])) == measured_steps({1, 7}) == [1, 7]
    assert measured_steps({"every_step_until": np.int64(0), "per_doubling": np.int64(1)}) == [0, 2, 4, 8, 16, 32]


def test_a_schedule_of_checkpoints_goes_on_for_ever_and_may_be_asked_in_any_order():
    schedule = {"every_step_until": 8, "per_doubling": 2}
    steps = MeasuringSteps(schedule)
    expected = checkpoint_schedule(10**6, **schedule)
    asked = [*expected[::-1], *(step + 1 for step in expected if step > 8)]
    assert [step for step in asked if step in steps] == expected[::-1]


@pytest.mark.parametrize(
    "every",
    [
        0, -1, 1.5, "10", True, None, np.True_, [], [1.0], [-1], [True], {"every": 5}, {1: 2},
        {"every_step_until": 1, "per_doubling": 0}, {"every_step_until": 1.5, "per_doubling": 1}, {"per_doubling": 1},
    ],
)  # fmt: skip
def test_other_schedules_are_refused(every):
    with pytest.raises(UserError, match=r"^every: found [^\n]*(, expected a|; expected a) (whole )?number[^\n]*$"):
        CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], every=every)


def test_a_step_is_measured_once_and_never_after_a_later_one():
    monitor = CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], every=1)
    monitor(torch.tensor(3))
    assert monitor(3) is None
    with pytest.raises(
        UserError, match=r"^step: found 2 after a measurement at step 3, expected steps that grow; .*load"
    ):
        monitor(2)
    for wrong in (-1, 1.0, "4", None, True):
        with pytest.raises(UserError, match=r"^step: found .*, expected the number of updates made so far"):
            monitor(wrong)
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
        ((INPUTS, torch.zeros(2)), None, "sample: targets: found 2 of them for 3 inputs"),
        ((INPUTS.numpy(), torch.zeros(3)), None, "sample: inputs: found ndarray, expected a tensor"),
        (((INPUTS, INPUTS[:2]), torch.zeros(3)), None, r"sample: inputs\[1\]: found 2 rows, expected 3"),
        (
            (INPUTS / torch.tensor([1.0, 0.0]), torch.zeros(3)),
            None,
            "sample: inputs: found nan in example 0 of batch 0",
        ),
        ([(INPUTS, torch.zeros(3)), ({"x": INPUTS / 0}, torch.zeros(3))], None, r"sample: inputs\['x'\]: found inf in"),
        ((INPUTS.to("meta"), torch.zeros(3)), None, "sample: inputs: found a tensor on the meta device"),
        ((INPUTS[:0], torch.zeros(0)), None, "sample: found no examples"),
        ([], None, "sample: found a batch of 0 parts"),
    ],
)
def test_other_samples_are_refused_in_one_line(given, groups, message):
    with pytest.raises(UserError, match=f"^{message}") as refused:
        CoherenceMonitor(UNIT, OUTPUT, given, every=1, groups=groups)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("groups", ["ab", ["a", "a"], [], {"a", "b"}, [0, 1], 2, ["all", "b"]])
def test_groups_that_are_no_list_of_names_of_their_own_are_refused(groups):
    with pytest.raises(UserError, match=r"^groups: found [^\n]+$"):
        CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE, 1, groups)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("model", 3, "model: found int"), ("loss_fn", None, "loss_fn: found None"), ("name", "", "name: found ''"),
        ("spot_check", -1, "spot_check: found -1"), ("spot_check", 0.5, "spot_check: found 0.5"),
        ("rank_timeout", 0, "rank_timeout: found 0"),
    ],
)  # fmt: skip
def test_other_settings_are_refused_in_one_line(argument, value, message):
    settings = {"model": UNIT, "loss_fn": OUTPUT, "sample": TWO_AND_ONE[:2], "every": 1}
    with pytest.raises(UserError, match=f"^{message}, expected [^\n]+$"):
        CoherenceMonitor(**settings | {argument: value})


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
    [row] = monitor.state_dict()["measured"]
    others = ({"measured": [{"step": 3}]}, {"measured": [row | {"step": 0.5}]})
    for wrong in ({}, {"version": 1}, *(monitor.state_dict() | other for other in others), None):
        with pytest.raises(UserError, match=r"^state: no state of a monitor"):
            monitor.load_state_dict(wrong)
    with pytest.raises(UserError, match=r"^state: found version 7"):
        monitor.load_state_dict(monitor.state_dict() | {"version": 7})
    for steps in ((7, 0), (3, 3)):
        with pytest.raises(
            UserError, match=rf"^state: found step {steps[1]} after step {steps[0]}, expected steps that"
        ):
            monitor.load_state_dict(monitor.state_dict() | {"measured": [row | {"step": step} for step in steps]})
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


def test_whole_numbers_narrow_and_complex_ones_among_the_weights_are_looked_at_as_they_are():
    model = nn.Linear(2, 1)
    model.code = nn.Parameter(torch.tensor([3, 255], dtype=torch.uint8), requires_grad=False)
    for dtype in (torch.float8_e5m2, torch.bfloat16, torch.complex64):
        model.other = nn.Parameter(torch.tensor([1.0, 2.0]).to(dtype), requires_grad=False)
        assert weights_are_finite(model)
        model.other = nn.Parameter(torch.tensor([1.0, math.nan]).to(dtype), requires_grad=False)
        assert not weights_are_finite(model)


class LoggingModule:
    """Whose third argument is no step, as that of Lightning's own `self.log`."""

    def log(self, name, value, prog_bar=False):
        raise AssertionError


@pytest.mark.parametrize(
    "log", [3, [].append, lambda metrics, *, step: None, lambda: None, lambda a, b, c, d: None, LoggingModule().log]
)
def test_a_logger_that_cannot_be_called_so_is_refused_when_the_monitor_is_made(log):
    with pytest.raises(
        UserError, match=r"^log: found [^\n]+, expected a function|^log: found [^\n]+'prog_bar' is where"
    ):
        CoherenceMonitor(UNIT, OUTPUT, TWO_AND_ONE[:2], 1, log=log)


def overflowing(how):
    """A network of finite weights whose losses, or gradients alone, are not finite."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with torch.no_grad():
        if how == "weights":
            for p in model.parameters():
                p.mul_(1e20)
        elif how == "buffer":
            model[1].running_mean.fill_(math.nan)
    loss = (lambda o, y: LOSS(o, y) + (o.sum(1) * 0).sqrt()) if how == "gradients" else LOSS
    return model, loss


@pytest.mark.parametrize("how", ["weights", "buffer", "gradients"])
@pytest.mark.parametrize("spot_check", [0, 1])
def test_losses_and_gradients_that_are_not_finite_are_a_row_of_nan_too(how, spot_check):
    model, loss = overflowing(how)
    monitor = CoherenceMonitor(model, loss, sample()[:2], 1, spot_check=spot_check)
    with pytest.warns(
        UserWarning, match=r"^monitor: step 0: found losses or gradients .* not finite.*training goes on$"
    ):
        assert math.isnan(monitor(0)["m_coherence"])
    monitor(1)  # told once
    assert monitor.history["diverged"].tolist() == [True, True]


def test_a_network_that_comes_back_is_measured_as_before_and_its_noise_scale_passes_over_the_gap():
    model, (inputs, targets, _) = nn.Linear(6, 3), sample()
    monitor = CoherenceMonitor(model, LOSS, (inputs, targets), 1)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    monitor(0)
    with torch.no_grad():
        model.weight.fill_(1e38)
    with pytest.warns(UserWarning, match="says diverged"):
        monitor(1)
    model.load_state_dict(weights)
    monitor(2)
    history = monitor.history
    assert history["diverged"].tolist() == [False, True, False]
    assert history["m_coherence"][2] == history["m_coherence"][0]
    assert history["running_noise_scale"][2] == pytest.approx(history["running_noise_scale"][0], rel=1e-12)
    assert math.isnan(history["running_noise_scale"][1])


def test_what_is_not_finite_in_the_sample_alone_stays_an_error():
    """A target that is NaN makes that example's loss NaN, whatever the network does."""
    inputs, targets = sample()[0], torch.zeros(30, 3)
    targets[4, 1] = math.nan
    monitor = CoherenceMonitor(nn.Linear(6, 3), lambda o, y: ((o - y) ** 2).sum(1), (inputs, targets), 1)
    with pytest.raises(ArithmeticError, match=r"example 4 .* its loss is nan"):
        monitor(0)
    masked = lambda o, y: (torch.where(y.isnan(), torch.zeros_like(o), o - y.nan_to_num()) ** 2).sum(1)  # noqa: E731
    assert CoherenceMonitor(nn.Linear(6, 3), masked, (inputs, targets), 1)(0)["n"] == 30


def test_the_running_noise_scale_is_a_ratio_of_running_means():
    training = Training()
    monitor = CoherenceMonitor(training.model, LOSS, sample()[:2], every=1)
    training.run(3, monitor)
    rows = monitor.history
    expected, weights = [], 0.9 ** np.arange(3)[::-1]
    for k in range(1, 4):
        variance, squared = rows["gradient_variance"][:k], rows["mean_gradient_sq_norm"][:k]
        mean = (weights[-k:] * squared).sum()
        expected.append((weights[-k:] * variance).sum() / mean if mean > 0 else math.nan)
    np.testing.assert_allclose(rows["running_noise_scale"], expected, rtol=1e-12)
    resumed = CoherenceMonitor(training.model, LOSS, sample()[:2], every=1)
    resumed.load_state_dict(monitor.state_dict())
    pd.testing.assert_frame_equal(resumed.history, rows, check_exact=True)


def test_equal_gradients_have_no_variance_as_in_gradient_statistics():
    torch.manual_seed(192)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
    for inputs in torch.randn(4, 1, 20):
        equal = inputs.expand(192, 20), torch.zeros(192, dtype=torch.int64)
        values = CoherenceMonitor(model, LOSS, equal, 1)(0)
        assert values["gradient_variance"] == gradient_statistics(model, LOSS, [equal]).gradient_variance() == 0.0
        assert values["running_noise_scale"] == 0.0


def test_single_examples_are_compared_at_the_first_measurement_every_tenth_and_after_an_error():
    fails = []

    def loss(outputs, targets):
        if fails:
            raise KeyError
        return LOSS(outputs, targets)

    monitor = CoherenceMonitor(nn.Linear(6, 3), loss, sample()[:2], every=1)
    for step in range(13):
        monitor(step)
    fails.append(True)
    with pytest.raises(KeyError):
        monitor(13)
    fails.clear()
    monitor(13)
    monitor(14)
    checked = [one["evidence"]["spot_examples"] > 0 for one in monitor.state_dict()["measured"]]
    assert [step for step, was in enumerate(checked) if was] == [0, 10, 13]


def test_between_full_checks_what_is_new_or_in_doubt_is_still_compared():
    """A parameter that had no gradient before; and a network that comes to mix examples, where it reads values."""

    class Switching(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.step = nn.Linear(6, 3), nn.Linear(6, 3), 0

        def forward(self, inputs):
            outputs = self.one(inputs)
            if self.step >= 2:
                outputs = outputs + self.two(inputs)
            if self.step >= 4 and inputs.mean() > -10:
                outputs = outputs + inputs.mean()
            return outputs * torch.tensor([1.0, 2.0, 3.0])

    model = Switching()
    monitor = CoherenceMonitor(model, LOSS, sample()[:2], every=1)
    for model.step in range(4):
        monitor(model.step)
    checked = [one["evidence"]["spot_examples"] for one in monitor.state_dict()["measured"]]
    assert [bool(examples) for examples in checked] == [True, False, True, False]
    model.step = 4
    with pytest.raises(UserError, match="mixes the examples of a batch"):
        monitor(4)


def test_a_rule_that_a_check_has_found_wrong_is_not_trusted_in_the_measurements_after_it():
    """Weights scaled behind a subclass's back: the check puts them on the whole model, where they stay."""

    class Doubled(nn.Linear):
        def forward(self, inputs):
            return nn.functional.linear(inputs, 2 * self.weight, self.bias)

    torch.manual_seed(0)
    model, batch = Doubled(6, 3), sample()[:2]
    monitor = CoherenceMonitor(model, LOSS, batch, every=1)
    first, second = monitor(0), monitor(1)
    expected = gradient_statistics(model, LOSS, [batch])
    for found in (first, second):
        assert found["sum_sq_norm"] == pytest.approx(expected.sum_sq_norm(), rel=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_a_monitor_can_be_pickled_and_copied_and_measures_on(tmp_path, suffix):
    monitor = CoherenceMonitor(nn.Linear(6, 3), LOSS, sample()[:2], 1, path=tmp_path / f"c.{suffix}")
    monitor(0)
    other = pickle.loads(pickle.dumps(monitor))
    other(1)
    pd.testing.assert_frame_equal(other.history.head(1), monitor.history)
    assert 0 < other.cost.share <= 1
    with pytest.raises(UserError, match="give every monitor a file of its own"):
        monitor(1)
    assert copy.deepcopy(monitor)._model is not monitor._model


def test_weights_that_are_not_finite_are_a_row_of_nan_and_no_error(tmp_path):
    model = nn.Linear(2, 1)
    monitor = CoherenceMonitor(model, OUTPUT, TWO_AND_ONE, 1, ["two", "one"], tmp_path / "c.h5")
    monitor(0)
    with torch.no_grad():
        model.weight[0, 0] = math.inf
    with pytest.warns(UserWarning, match=r"^monitor: step 1: found weights that are not finite"):
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
