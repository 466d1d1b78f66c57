"""A command that is launched as a step of its own gets SLURM's signals, however SLURM keeps track of processes."""

import sys

import pytest

from tests.cluster.conftest import ROOT
from tests.cluster.slurm_lab import wait_until

# Takes its time to leave, as a trainer does that writes its state. Waits on without an end if nothing comes. Its last
# words go to a file of their own: SLURM writes into the midst of what it is told to pass on.
PROGRAM = """
import os, signal, sys, time
def leave(number, frame):
    with open("last words", "a", buffering=1) as file:
        print("asked by", signal.Signals(number).name, file=file)
        time.sleep(2)
        print("left in peace", file=file)
    sys.exit(75)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, leave)
print("GPU", os.environ["CUDA_VISIBLE_DEVICES"], "cores", os.environ["SLURM_CPUS_PER_TASK"], flush=True)
while True:
    signal.pause()
"""
# As Snakemake's executor has it: a step of the job, in it a shell, and in that the rule's command.
JOB = """#!/bin/sh
srun --ntasks=1 --cpus-per-task=2 --gpus=1 sh -c 'sh -c "{command} > log 2>&1"; true'
"""


@pytest.mark.parametrize("tracking", ["lab", "lab_by_process_group"])
@pytest.mark.parametrize(
    ("what", "name"),
    [(("scancel",), "SIGTERM"), (("scancel", "--signal=USR1"), "SIGUSR1"), (("scontrol", "requeue"), "SIGTERM")],
)
def test_a_step_of_its_own_is_signalled_and_given_its_grace(what, name, tracking, request, tmp_path):
    lab = request.getfixturevalue(tracking)
    (tmp_path / "program.py").write_text(PROGRAM)
    launch = "-m workflow_scripts.jobs.launch --own-step --device=cuda --threads=2 --"
    command = f"exec {sys.executable} {launch} {sys.executable} program.py"
    (tmp_path / "job").write_text(JOB.format(command=command))
    options = ["--gpus=1", "--cpus-per-task=2", "--mem=700", f"--chdir={tmp_path}", "--output=said"]
    environment = f"--export=ALL,PYTHONPATH={ROOT}"
    job = lab.command("sbatch", "--parsable", "--partition=gpu", "--requeue", environment, *options, f"{tmp_path}/job")

    def lines(name: str) -> list[str]:
        return (tmp_path / name).read_text().splitlines() if (tmp_path / name).exists() else []

    wait_until(lambda: {"GPU 0 cores 2", "GPU 1 cores 2"} & set(lines("log")), "the program runs")
    lab.command(*what, job)
    wait_until(lambda: "left in peace" in lines("last words"), "the program has left", seconds=120)
    assert f"asked by {name}" in lines("last words")
    lab.ask("scancel", job)
