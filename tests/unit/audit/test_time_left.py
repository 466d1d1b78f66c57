"""What is left of a run, against values worked out by hand."""

import pytest

from mcoherence.audit.time_left import Left, TimeLeft, WeighedJob, left_in_words

TWO_CORES = {"cores": 2}


def seconds_left(clock, now):
    return clock.left(now).seconds


def test_jobs_that_wait_for_nothing_share_the_cores():
    clock = TimeLeft({number: WeighedJob("train", 10) for number in range(6)}, TWO_CORES)
    # 60 s of work by two cores, and half of the longest job, which may run alone at the end.
    assert seconds_left(clock, 0) == 60 / 2 + 10 / 2


def test_a_chain_of_jobs_takes_as_long_as_its_jobs_on_any_number_of_cores():
    chain = {1: WeighedJob("train", 10), 2: WeighedJob("evaluate", 4, needs=[1]), 3: WeighedJob("draw", 6, needs=[2])}
    for cores in (1, 2, 64):
        assert seconds_left(TimeLeft(chain, {"cores": cores}), 0) == pytest.approx(20, abs=1e-12)


def test_jobs_of_a_gpu_wait_for_it_whatever_the_number_of_cores():
    jobs = {number: WeighedJob("train", 10, uses={"cores": 1, "gpu": 1}) for number in range(6)}
    assert seconds_left(TimeLeft(jobs, {"cores": 16, "gpu": 1}), 0) == 60


def test_what_jobs_of_a_kind_took_counts_for_the_others_of_it():
    clock = TimeLeft({number: WeighedJob("train", 10) for number in range(3)}, {"cores": 1})
    clock.start(0, now=100)
    clock.end(0, now=125)  # 2.5 times as long as planned
    assert seconds_left(clock, 125) == 2 * 25
    clock.start(1, now=125)
    assert seconds_left(clock, 135) == 15 + 25
    clock.end(1, now=140)  # both together: 40 s in place of 20
    assert seconds_left(clock, 140) == 20


def test_for_jobs_of_which_none_has_ended_the_plan_keeps_a_word():
    clock = TimeLeft({1: WeighedJob("prepare", 5), 2: WeighedJob("train", 95)}, {"cores": 1})
    clock.start(1, now=0)
    clock.end(1, now=15)
    # The plan counts with 5 % of the 100 s: (15 + 5) / (5 + 5) = 2, not 3.
    assert clock.left(15) == Left(190, 15 / (15 + 190), measured=False)


def test_a_job_that_runs_longer_than_foreseen_needs_a_tenth_of_its_time_more():
    clock = TimeLeft({1: WeighedJob("train", 10)}, {"cores": 1})
    clock.start(1, now=0)
    assert seconds_left(clock, 4) == 6
    assert seconds_left(clock, 50) == pytest.approx(5, abs=1e-12)


def test_it_is_measured_once_half_of_what_is_left_is_of_kinds_that_were_timed():
    jobs = {1: WeighedJob("train", 10), 2: WeighedJob("train", 10), 3: WeighedJob("draw", 9)}
    clock = TimeLeft(jobs, {"cores": 1})
    assert not clock.left(0).measured
    clock.start(1, now=0)
    clock.end(1, now=10)
    assert clock.left(10) == Left(19, 10 / 29, measured=True)


def test_the_first_jobs_of_a_long_run_do_not_make_it_measured():
    clock = TimeLeft({number: WeighedJob("train", 1) for number in range(100)}, {"cores": 1})
    for number in range(3):
        assert not clock.left(number).measured
        clock.start(number, now=number)
        clock.end(number, now=number + 1)
    assert clock.left(3) == Left(97, 0.03, measured=True)


def test_what_waits_for_a_job_that_failed_is_not_waited_for_until_it_is_tried_again():
    jobs = {1: WeighedJob("train", 10), 2: WeighedJob("evaluate", 4, needs=[1]), 3: WeighedJob("train", 10)}
    clock = TimeLeft(jobs, {"cores": 1})
    clock.start(1, now=0)
    clock.fail(1)
    assert seconds_left(clock, 3) == 10
    assert clock.not_to_run() == 1
    clock.start(1, now=3)
    assert seconds_left(clock, 3) == 24
    assert clock.not_to_run() == 0


def test_the_plan_may_speak_after_jobs_have_run():
    clock = TimeLeft({1: WeighedJob("train", 1), 2: WeighedJob("train", 1)}, {"cores": 1})
    clock.start(1, now=0)
    clock.end(1, now=30)
    clock.plan({1: 10, 2: 20, 77: 5})  # 77 does not run this time
    assert seconds_left(clock, 30) == 60


def test_at_the_end_nothing_is_left():
    clock = TimeLeft({1: WeighedJob("all", 1)}, TWO_CORES)
    clock.start(1, now=0)
    clock.end(1, now=2)
    assert clock.left(2) == Left(0, 1, measured=True)


@pytest.mark.parametrize(
    ("seconds", "measured", "words"),
    [
        (5, True, "some seconds left"),
        (30, False, "half a minute left by the plan"),
        (100, True, "about 2 min left"),
        (1700, True, "about 30 min left"),
        (7 * 3600, False, "7 h left by the plan"),
        (6 * 86400, True, "about 6 days left"),
    ],
)
def test_what_is_left_is_said_no_finer_than_it_is_known(seconds, measured, words):
    assert left_in_words(Left(seconds, 0.5, measured)) == words
