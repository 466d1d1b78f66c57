"""Training through everything that a cluster does to jobs: at the end the bytes are those of an undisturbed run."""

import pytest

from tests.cluster.conftest import WENT_ON

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out_of_time(lab, new_training):
    """A training with a minute in all, held short of its end; begun before the other tests, for time has to pass."""
    training = new_training(lab)
    training.hold()
    training.begin(where={"slurm_partition": "cpu", "gpu": 0, "runtime": 1}, node=2)
    training.wait_until_held()
    return training


@pytest.mark.usefixtures("out_of_time")
def test_a_job_whose_slurmd_dies_that_is_requeued_and_preempted_goes_on(training, undisturbed):
    training.hold()
    training.begin()
    job = training.running_job()
    training.wait_until_held()
    node = training.lab.job(job)["NodeList"]
    training.lab.kill(node)
    training.lab.start_node(node)
    assert training.lab.job(job)["JobState"] == "RUNNING"
    assert training.lab.job(job)["Restarts"] == "0"

    training.hold()
    training.lab.command("scontrol", "requeue", job)
    run_again(training, job)
    training.wait_until_held()
    assert WENT_ON in training.log()
    assert training.lab.job(job)["Restarts"] == "1"

    preempt(training, job)
    run_again(training, job)
    training.succeed()
    assert training.lab.job(job)["Restarts"] == "2"
    assert WENT_ON in training.log()
    assert training.files() == undisturbed


def run_again(training, job):
    """Spare a job that waits in the queue again the two minutes that SLURM makes it wait."""
    training.wait_until(lambda: training.lab.job(job)["JobState"] == "PENDING", "the job waits again")
    training.lab.command("scontrol", "update", f"jobid={job}", "StartTime=now")


def preempt(training, job):
    """Have the job's node taken over by a job that is urgent, for a moment."""
    node = training.lab.job(job)["NodeList"]
    everything = ("--exclusive", f"--nodelist={node}", "--output=/dev/null", "--wrap=true")
    training.lab.command("sbatch", "--partition=urgent", *everything)


def test_a_job_that_leaves_within_the_grace_of_a_preemption_is_sent_again(training, undisturbed):
    """SLURM counts it as failed, for it was gone when its grace was over; so Snakemake sends another one."""
    training.hold()
    training.begin(where={"slurm_partition": "grace"})
    job = training.running_job()
    training.wait_until_held()
    preempt(training, job)
    training.succeed()
    assert training.lab.job(job)["JobState"] == "FAILED"
    assert training.submitted()[-1] != job
    assert WENT_ON in training.log()
    assert training.files() == undisturbed


def test_a_job_that_is_signalled_or_cancelled_leaves_in_time_and_goes_on(training, undisturbed):
    training.hold()
    training.begin("--retries", "1")
    first = training.running_job()
    training.wait_until_held()
    before = training.last_state()
    training.hold()
    training.lab.command("scancel", "--signal=USR1", first)
    second = training.running_job(after=first)
    training.wait_until_held()
    assert training.went_on_from() > before  # from the state that the first one kept to leave
    before = training.last_state()
    training.lab.command("scancel", second)
    assert training.status() == 1  # cancelled, and no retries are left
    assert training.last_state() > before
    assert training.files() == {}

    training.begin()
    training.succeed()
    assert WENT_ON in training.log()
    assert training.files() == undisturbed


def test_snakemake_killed_and_started_again_beside_its_orphan(training, undisturbed):
    training.hold()
    training.begin()
    orphan = training.running_job()
    training.wait_until_held()
    training.snakemake.kill()
    training.status()
    training.start("--unlock")
    training.succeed()
    training.begin()
    training.running_job(after=orphan)
    assert training.lab.job(orphan)["JobState"] == "RUNNING"
    training.lab.command("scancel", orphan)
    training.succeed()
    assert WENT_ON in training.log()
    assert training.files() == undisturbed


def test_a_job_that_runs_out_of_time_is_sent_again_and_goes_on(out_of_time, undisturbed):
    out_of_time.succeed()
    assert "SLURM status is: 'TIMEOUT'" in (out_of_time.folder / "said").read_text()
    limits = [out_of_time.lab.job(job)["TimeLimit"] for job in out_of_time.submitted()]
    assert limits[:2] == ["00:01:00", "00:02:00"]  # what the config asks for grows as well
    assert WENT_ON in out_of_time.log()
    assert out_of_time.files() == undisturbed
