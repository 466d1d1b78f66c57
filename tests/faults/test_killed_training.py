"""Training jobs killed, hindered and damaged in every way we know of: the bytes at the end are the same, or none."""

import random
import resource
import signal
import time
from dataclasses import replace

import pytest

from mcoherence.training.resume import LEAVE_STATUS

pytestmark = pytest.mark.slow


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_the_bytes_are_those_of_an_uninterrupted_run(job, uninterrupted, seed):
    moments = random.Random(seed)
    update = -1
    for _ in range(3):
        process = job.start()
        update = job.wait_for_a_state(process, after=update)
        time.sleep(moments.uniform(0, 0.3))
        kill(process)
    said = job.finish()
    assert "resume: going on from the state after update" in said
    assert job.contents() == uninterrupted.contents()
    assert [path.name for path in (job.folder / "state").iterdir()] == [job.state.name]  # nothing is left over


def test_killed_before_the_first_state_it_starts_over(job, uninterrupted):
    job = replace(job, options=("--resume-interval", "1000"))
    process = job.start()
    while not list(job.folder.glob("state/unfinished/*/step0.safetensors")):
        assert process.poll() is None, job.said()
        time.sleep(0.01)
    kill(process)
    assert "resume:" not in job.finish()
    assert job.contents() == uninterrupted.contents()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_leave_it_keeps_its_state_and_leaves_with_its_own_status(job, uninterrupted, number):
    job = replace(job, options=("--resume-interval", "1000"))  # so that the signal is what makes it keep a state
    process = job.start()
    while not list(job.folder.glob("state/unfinished/*/step500.safetensors")):
        assert process.poll() is None, job.said()
        time.sleep(0.01)
    asked = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=60) == LEAVE_STATUS
    assert time.monotonic() - asked < 20  # seconds, on a machine that does other things too
    assert "asked to leave: kept the state after update" in job.said()
    assert not any(path.exists() for path in job.outputs)
    assert "resume: going on from the state after update" in job.finish()
    assert job.contents() == uninterrupted.contents()


def test_a_torn_state_costs_an_interval_and_never_a_wrong_result(job, uninterrupted):
    process = job.start()
    first = job.wait_for_a_state(process)
    job.wait_for_a_state(process, after=first)
    kill(process)
    older, newer = job.records[-2:]
    torn = newer.parent / newer.name.replace("record", "state").replace(".json", ".safetensors")
    torn.write_bytes(torn.read_bytes()[:-100])
    said = job.finish()
    assert f"the state after update {newer.stem.removeprefix('record')} is damaged" in said
    assert f"going on from the state after update {older.stem.removeprefix('record')}" in said
    assert job.contents() == uninterrupted.contents()


def test_what_was_left_under_other_settings_or_code_is_not_continued(job):
    process = job.start()
    job.wait_for_a_state(process)
    kill(process)
    changed = replace(job, settings=job.settings | {"seed": 1})
    assert "resume:" not in changed.finish()
    fresh = replace(changed, folder=job.folder.with_name("fresh"))
    fresh.finish()
    assert changed.contents() == fresh.contents()


def test_a_full_disk_ends_in_one_line_and_leaves_no_half_file(job, uninterrupted):
    """Files may have 12 kB: checkpoints fit, states with RM3's last gradients do not."""
    process = job.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000)))
    assert process.wait(timeout=300) == 1
    assert "could not be kept" in job.said()
    last = job.said().splitlines()[-1]
    assert last == (
        f"error: {job.folder}/state: could not be written (File too large); make room and run again, training goes on "
        "from the last state that was kept"
    )
    assert not job.state.exists()
    job.finish()
    assert job.contents() == uninterrupted.contents()


def test_a_second_trainer_waits_for_an_orphan_that_is_leaving(job, uninterrupted):
    orphan = job.start()
    job.wait_for_a_state(orphan)
    second = replace(job, folder=job.folder).start()
    orphan.send_signal(signal.SIGTERM)
    assert orphan.wait(timeout=60) == LEAVE_STATUS
    assert second.wait(timeout=300) == 0
    assert job.contents() == uninterrupted.contents()


def test_two_ranks_leave_together_and_go_on_to_the_same_bytes(two_ranks):
    whole = replace(two_ranks, folder=two_ranks.folder.with_name("whole"))
    whole.finish()
    process = two_ranks.start()
    two_ranks.wait_for_a_state(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == LEAVE_STATUS, two_ranks.said()
    assert "resume: going on from the state after update" in two_ranks.finish()
    assert two_ranks.contents() == whole.contents()
