"""GPUs shared out between jobs. The machine's GPUs are pretended: nvidia-smi is a script that lists them."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mcoherence.errors import UserError
from workflow_scripts.jobs.gpu_lease import candidates, lease, lock_folder

ROOT = Path(__file__).parents[3]
TWO = "GPU 0: NVIDIA A100 (UUID: GPU-aa)\nGPU 1: NVIDIA A100 (UUID: GPU-bb)\n"
CUT_UP = "GPU 0: NVIDIA A100 (UUID: GPU-aa)\n  MIG 3g.20gb Device 0: (UUID: MIG-cc)\n  MIG 3g.20gb Device 1: (UUID: MIG-dd)\nGPU 1: NVIDIA A100 (UUID: GPU-bb)\n"  # noqa: E501
# Says which GPUs it was given, then holds them until its standard input ends.
JOB = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); sys.stdin.read()"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Sets the machine's GPUs; its jobs have a folder of their own for locks, and no CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)

    def with_gpus(listed):
        script = tmp_path / "nvidia-smi"
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
        script.chmod(0o755)

    with_gpus(TWO)
    return with_gpus


@pytest.fixture
def start(machine):
    """Starts a job that wants GPUs; all that were started are ended with the test."""
    jobs = []

    def begin(*options, **environment):
        command = [sys.executable, "-m", "workflow_scripts.jobs.launch", *options, "--", sys.executable, "-c", JOB]
        job = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        jobs.append(job)
        return job

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def given(job):
    return job.stdout.readline().strip()


def files_held_by(job):
    """Paths of the job's open files. A file that the job closes meanwhile is none that it holds."""
    held = []
    for link in Path(f"/proc/{job.pid}/fd").glob("*"):
        with suppress(FileNotFoundError):
            held.append(Path(os.readlink(link)))
    return held


def waits(job, folder):
    """Whether the job waits for a GPU: it holds the queue, and has not said which GPU it was given."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if folder / "queue.lock" in files_held_by(job):
            return True
        time.sleep(0.02)
    return False


def test_candidates_are_the_gpus_of_the_machine(machine):
    assert candidates({}) == ["0", "1"]
    machine(CUT_UP)
    assert candidates({}) == ["MIG-cc", "MIG-dd", "1"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("1", ["1"]), ("2, 0", ["2", "0"]), ("GPU-aa", ["GPU-aa"]), ("", []), ("-1", []), ("0,-1,1", ["0"])],
)
def test_candidates_are_those_that_the_user_or_slurm_has_chosen(machine, chosen, expected):
    assert candidates({"CUDA_VISIBLE_DEVICES": chosen}) == expected


def test_a_machine_without_gpus_has_no_candidates(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert candidates({}) == []


def test_two_jobs_get_a_gpu_each_and_a_third_waits_for_the_first_to_die(start, tmp_path):
    first, second = start("--device=cuda"), start("--device=cuda")
    assert {given(first), given(second)} == {"0", "1"}
    third = start("--device=cuda")
    assert waits(third, tmp_path / "mcoherence-gpus")
    freed = "0" if "0" in lease_of(first) else "1"
    first.kill()
    assert given(third) == freed


def lease_of(job):
    """Numbers of the GPUs whose locks the job holds."""
    names = [file.name for file in files_held_by(job)]
    return [name.removeprefix("gpu").partition(".")[0] for name in names if name.startswith("gpu")]


def test_two_jobs_share_out_the_gpus_that_the_user_has_chosen(start):
    jobs = [start("--device=auto", CUDA_VISIBLE_DEVICES="3,5") for _ in range(2)]
    assert {given(job) for job in jobs} == {"3", "5"}


def test_a_job_of_several_ranks_gets_as_many_gpus(start):
    assert given(start("--device=cuda", "--gpus=2")) == "0,1"


def test_jobs_that_want_both_gpus_take_turns(start):
    jobs = [start("--device=cuda", "--gpus=2") for _ in range(3)]
    served = []
    while len(served) < 3:
        for job in jobs:
            if job not in served and len(lease_of(job)) == 2 and given(job) == "0,1":
                served.append(job)
                job.stdin.close()
                assert job.wait(timeout=60) == 0
                job.stdin = None


def test_jobs_share_a_gpu_where_the_user_asks_for_it(start):
    options = ("--device=cuda", "--jobs-per-gpu=2")
    assert sorted(given(job) for job in [start(*options) for _ in range(4)]) == ["0", "0", "1", "1"]


def test_jobs_of_slurm_have_what_slurm_gave_them_though_they_call_it_alike(start):
    jobs = [start("--device=cuda", CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID=number) for number in ("7", "8")]
    assert [given(job) for job in jobs] == ["0", "0"]


def test_a_job_on_the_processor_leases_nothing(start):
    assert given(start("--device=cpu")) == "None"


def test_more_ranks_than_gpus_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"operational\.ranks: found 3, expected at most the 2 GPUs .*\(0, 1\)"):
        lease(3, ["0", "1"], tmp_path)


def test_locks_of_a_slurm_job_are_its_own():
    assert lock_folder({}).name == "mcoherence-gpus"
    assert lock_folder({"SLURM_JOB_ID": "7"}).name == "mcoherence-gpus-slurm-7"
