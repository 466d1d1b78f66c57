"""Training jobs killed, hindered and damaged in every way we know of: the bytes at the end are the same, or none."""

import random
import resource
import signal
import time
from dataclasses import replace

import pytest

from mcoherence.training.resume import LEAVE_STATUS
from tests.held_network import HOLD

pytestmark = pytest.mark.slow


def updates_kept(job):
    """Numbers of the updates after which the states were kept that are there, oldest first."""
    return [int(record.stem.removeprefix("record")) for record in job.records]


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_the_bytes_are_those_of_an_uninterrupted_run(job, uninterrupted, seed):
    moments = random.Random(seed)
    last = -1
    for _ in range(3):
        process = job.start_to_be_held(states=3)  # some time after the moment
        job.wait_while_running(lambda last=last: updates_kept(job)[-1:] > [last], process)
        last = updates_kept(job)[-1]
        time.sleep(moments.uniform(0, 0.3))
        kill(process)
    (job.folder / HOLD).unlink(missing_ok=True)
    said = job.finish()
    assert "resume: going on from the state after update" in said
    assert job.contents() == uninterrupted.contents()
    assert [path.name for path in (job.folder / "state").iterdir()] == [job.state.name]  # nothing is left over


def test_killed_before_the_first_state_it_starts_over(job, uninterrupted):
    job = replace(job, options=("--resume-interval", "1000"))  # so that none is due, however slow the machine is
    kill(job.start_held(updates=0))
    assert list(job.folder.glob("state/unfinished/*/step0.safetensors"))
    assert job.records == []
    assert "resume:" not in job.finish()
    assert job.contents() == uninterrupted.contents()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_leave_it_keeps_its_state_and_leaves_with_its_own_status(job, uninterrupted, number):
    job = replace(job, options=("--resume-interval", "1000"))  # so that the signal is what makes it keep a state
    process = job.start_held(updates=600)
    process.send_signal(number)
    assert process.wait(timeout=300) == LEAVE_STATUS
    assert "asked to leave: kept the state after update 601" in job.said()  # at once, after the one that it was at
    assert not any(path.exists() for path in job.outputs)
    assert "resume: going on from the state after update 601" in job.finish()
    assert job.contents() == uninterrupted.contents()


def test_a_torn_state_costs_an_interval_and_never_a_wrong_result(job, uninterrupted):
    kill(job.start_held(states=2))
    older, newer = updates_kept(job)
    torn = job.records[-1].with_name(f"state{newer}.safetensors")
    torn.write_bytes(torn.read_bytes()[:-100])
    said = job.finish()
    assert f"the state after update {newer} is damaged" in said
    assert f"going on from the state after update {older}" in said
    assert job.contents() == uninterrupted.contents()


def test_what_was_left_under_other_settings_or_code_is_not_continued(job):
    kill(job.start_held(states=1))
    changed = replace(job, settings=job.settings | {"seed": 1})
    assert "resume:" not in changed.finish()
    fresh = replace(changed, folder=job.folder.with_name("fresh"))
    fresh.finish()
    assert changed.contents() == fresh.contents()


def test_a_full_disk_ends_in_one_line_and_leaves_no_half_file(job, uninterrupted):
    """Files may have 12 kB: checkpoints fit, states with RM3's last gradients do not. The log is a file as well."""
    job = replace(job, options=("--resume-interval", "0.5"))
    process = job.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)))
    assert process.wait(timeout=300) == 1
    assert "could not be kept" in job.said()
    last = job.said().splitlines()[-1]
    assert last == (
        f"error: {job.folder}/state: could not be written (File too large), expected a file of that size to be "
        "allowed; raise the limit (ulimit -f), or take another disk; training goes on from the last state that was kept"
    )
    assert not job.state.exists()
    job.finish()
    assert job.contents() == uninterrupted.contents()


def test_a_second_trainer_waits_for_an_orphan_that_is_leaving(job, uninterrupted):
    orphan = job.start_held(states=1)
    second = replace(job, log="log of the second")
    process = second.start()
    second.wait_while_running(lambda: f"waiting for process {orphan.pid} on " in second.said(), process)
    orphan.send_signal(signal.SIGTERM)
    assert orphan.wait(timeout=300) == LEAVE_STATUS
    assert process.wait(timeout=300) == 0, second.said()
    assert "resume: going on from the state after update" in second.said()
    assert job.contents() == uninterrupted.contents()


def test_two_ranks_leave_together_and_go_on_to_the_same_bytes(two_ranks):
    whole = replace(two_ranks, folder=two_ranks.folder.with_name("whole"))
    whole.finish()
    process = two_ranks.start_held(states=1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == LEAVE_STATUS, two_ranks.said()
    assert "resume: going on from the state after update" in two_ranks.finish()
    assert two_ranks.contents() == whole.contents()
