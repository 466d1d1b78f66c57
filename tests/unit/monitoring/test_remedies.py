"""The advice of the monitor: what was refused works once it was done."""

import pytest
import torch
from torch import nn

from mcoherence import CoherenceMonitor
from mcoherence.monitoring.storage import monitor_file
from tests.remedies.following import cases_of, follow, follows
from tests.unit.monitoring.small_training import LOSS, sample


def network(width=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))


def monitor(model=None, batch=None, every=1, **options):
    return CoherenceMonitor(network() if model is None else model, LOSS, batch or sample(6)[:2], every, **options)


@follows("log: found {}, {}; hand over its method, such as writer.add_scalar")
def an_object_for_a_logger():
    class Writer:
        def add_scalar(self, name, value, step):
            return None

    yield lambda: monitor(log=Writer())
    yield lambda: monitor(log=Writer().add_scalar)(0)


@follows("log: found {}, {} ({}); wrap it: log=lambda values, step: ...")
def a_logger_of_other_arguments():
    def log(a, b, c, d):
        return None

    yield lambda: monitor(log=log)
    yield lambda: monitor(log=lambda values, step: log(values, step, None, None))(0)


@follows("log: found {}, whose {} is where the step would go; {}; wrap it: log=lambda values, step: ...")
def a_logger_with_something_else_for_the_step():
    def log(name, value, prefix="x"):
        return None

    yield lambda: monitor(log=log)
    yield lambda: monitor(log=lambda values, step: [log(name, value) for name, value in values.items()])(0)


@follows(
    "step: found {} after a measurement at step {}, expected steps that grow; of training that starts over or goes on"
)
def training_that_starts_over():
    first = monitor()
    state = first.state_dict()
    first(5)
    yield lambda: first(3)
    yield lambda: monitor()(3)

    def gone_on():
        again = monitor()
        again.load_state_dict(state)
        again(3)

    yield gone_on


STATES = [
    ("state: found {} parameters, this monitor's network has {} that require a gradient ({} is not in both, or in",
     lambda: monitor(nn.Sequential(nn.Linear(6, 3))), [monitor]),
    ("state: found {} {}, this monitor has {}; expected {} all along a run; make the monitor as it was made",
     lambda: monitor(batch=sample(7)[:2]), [monitor]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "wrong", "ways_out"), STATES, ids=[message[:60] for message, *_ in STATES])
def test_a_state_is_loaded_as_the_message_says(message, wrong, ways_out):
    measured = monitor()
    measured(0)

    def steps():
        for make in (wrong, *ways_out):
            yield lambda make=make: make().load_state_dict(measured.state_dict())
        yield lambda: wrong()(0)  # a new one, without the state

    follow(message, steps, None)


@follows(
    "state: found step {} after step {}, expected steps that grow, as state_dict() returns them; load the state as it"
)
def a_state_out_of_order():
    measured = monitor()
    measured(0)
    measured(1)
    state = measured.state_dict()
    yield lambda: monitor().load_state_dict(state | {"measured": state["measured"][::-1]})
    yield lambda: monitor().load_state_dict(state)


@follows(
    "monitor: found {} parameters that require a gradient, expected the {} of the measurements so far; where layers"
)
def layers_that_are_frozen_on_the_way():
    model = network()
    whole = monitor(model)
    whole(0)
    model[0].requires_grad_(False)
    yield lambda: whole(1)
    yield lambda: monitor(model)(1)


@follows("sample: {}: found {} in example {} of batch {}, expected finite numbers; mend the example or leave it out")
def an_example_with_nan():
    inputs, targets = sample(6)[:2]
    inputs[2, 0] = torch.nan
    yield lambda: monitor(batch=(inputs, targets))
    yield lambda: monitor(batch=(inputs.nan_to_num(), targets))(0)
    kept = torch.arange(6) != 2
    yield lambda: monitor(batch=(inputs[kept], targets[kept]))(0)


@follows("{}: found a tensor on the meta device, which holds no values, expected one on cpu or a GPU; make it there")
def a_sample_without_numbers():
    inputs, targets = sample(6)[:2]
    yield lambda: monitor(batch=(inputs.to("meta"), targets.to("meta")))
    yield lambda: monitor(batch=(inputs, targets))(0)


@follows("groups: found {}, of which {} is what files call all of them together; give that group another name")
def a_group_called_as_the_whole():
    yield lambda: monitor(batch=sample(6), groups=["all", "b"])
    yield lambda: monitor(batch=sample(6), groups=["first", "b"])(0)


@pytest.mark.parametrize(
    ("message", "suffix"),
    [
        ("{}: found {}, expected the {} that this monitor has written and nobody else; give every",
         ".csv"),
        ("{}: found another file than this monitor has written last; give every monitor a file of its own", ".h5"),
    ],
)  # fmt: skip
def test_two_monitors_write_two_files(tmp_path, message, suffix):
    path = tmp_path / f"m{suffix}"

    def steps():
        for other in (path, tmp_path / f"other{suffix}"):
            path.unlink(missing_ok=True)
            one, two = monitor(path=path), monitor(path=other)

            def both(one=one, two=two):
                for step in range(2):
                    one(step)
                    two(step)

            yield both

    follow(message, steps, None)


@follows("path: found {} in {}, {}; choose a folder of yours")
def a_file_for_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    yield lambda: monitor_file(tmp_path / "file/m.csv", dict)
    yield lambda: monitor_file(tmp_path / "folder/m.csv", dict)


@cases_of(__name__)
def test_the_advice_is_followed(message, case, request):
    follow(message, case, request)
