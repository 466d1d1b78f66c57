"""Learning rates by hand."""

import math

import pytest

from mcoherence.training.schedules import learning_rate


def rates(schedule, updates, lr=1.0):
    return [learning_rate({"lr": lr, "schedule": schedule}, update) for update in updates]


def test_a_constant_rate_is_the_very_number_of_the_settings():
    assert learning_rate({"method": "sgd", "lr": 0.3}, 10**6) == 0.3
    assert rates({"kind": "constant"}, [0, 1, 99], lr=0.3) == [0.3] * 3


def test_steps_multiply_the_rate_once_so_many_updates_are_made():
    schedule = {"kind": "step", "milestones": [3, 5], "factor": 0.5}
    assert rates(schedule, range(7), lr=8.0) == [8, 8, 8, 4, 4, 2, 2]


def test_cosine_goes_from_the_rate_to_the_final_one_and_stays():
    schedule = {"kind": "cosine", "updates": 6, "final": 0.0}
    half = math.sqrt(3) / 2  # cos(pi / 6)
    expected = [1, (1 + half) / 2, 0.75, 0.5, 0.25, (1 - half) / 2, 0, 0]
    assert rates(schedule, range(8)) == pytest.approx(expected, abs=1e-15)
    assert rates({"kind": "cosine", "updates": 4, "final": 2.0}, [0, 2, 4, 9], lr=10.0) == pytest.approx([10, 6, 2, 2])


def test_warm_up_rises_linearly_to_the_schedule_as_goyal_et_al_have_it():
    # 0.1 to 1.6 over 5 updates, then a tenth at 30, 60 and 80
    warmup = {"updates": 5, "start": 0.1}
    schedule = {"kind": "step", "milestones": [30, 60, 80], "factor": 0.1, "warmup": warmup}
    assert rates(schedule, range(7), lr=1.6) == pytest.approx([0.1, 0.4, 0.7, 1.0, 1.3, 1.6, 1.6])
    assert rates(schedule, [29, 30, 59, 60, 80], lr=1.6) == pytest.approx([1.6, 0.16, 0.16, 0.016, 0.0016])


def test_warm_up_meets_a_cosine_where_that_has_come_to():
    schedule = {"kind": "cosine", "updates": 4, "final": 0.0, "warmup": {"updates": 2, "start": 0.0}}
    assert rates(schedule, range(5)) == pytest.approx([0, 0.25, 0.5, (1 - math.sqrt(0.5)) / 2, 0])


def test_warm_up_to_a_constant_rate():
    schedule = {"kind": "constant", "warmup": {"updates": 2, "start": 0.5}}
    assert rates(schedule, range(4)) == [0.5, 0.75, 1.0, 1.0]
