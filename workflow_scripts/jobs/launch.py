"""Start a computing command as a job should: on GPUs that no other job has, and in SLURM where signals reach it.

    python -m workflow_scripts.jobs.launch [--own-step] --device D --gpus N --jobs-per-gpu J --threads T -- COMMAND ...

Without a GPU it starts as a copy of a process that has imported what it needs, where one is offered.

It is no part of the command's code digest. Every job goes through it, so what few of them need is imported where they
need it: a job that becomes a copy is started in half of the time.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from mcoherence.audit.peak_memory import peak_memory_file
from workflow_scripts.jobs.copy_client import run_as_copy

OPERATIONAL = True  # no number depends on it; docs/reruns.md

KEPT = ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTER_NAME", "SLURM_CONF")
STEP_OF = "MCOHERENCE_STEP_OF"  # set within a step of its own: the job, and the log where there is one
STEP_LOG = "MCOHERENCE_STEP_LOG"


def main() -> None:
    """Become the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own-step", action="store_true", help="run as a step of its own where this is a SLURM job")
    parser.add_argument("--device", required=True, help="auto, cpu, cuda or mps: GPUs are leased for auto and cuda")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to lease, where there are any")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU")
    parser.add_argument("--threads", type=int, default=1, help="processor cores of the command")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    job = os.environ.get("SLURM_JOB_ID")
    if arguments.own_step and job and os.environ.get(STEP_OF) != job:
        if shutil.which("srun"):
            become_a_step(job, arguments.threads)
        print("launch: no srun here, so that SLURM's signals do not reach this job", file=sys.stderr)
    if log := os.environ.pop(STEP_LOG, None):
        append_to(log)
    log_file = own_log()
    peak_memory = peak_memory_file(log_file) if log_file else None
    if peak_memory:
        peak_memory.unlink(missing_ok=True)  # of an earlier start
    wants_gpus = arguments.device in ("auto", "cuda") and may_have_gpus()
    has_gpus = wants_gpus and take_gpus(arguments.gpus, arguments.jobs_per_gpu)
    if not has_gpus and arguments.gpus == 1:  # several ranks are started afresh anyway, and need another environment
        run_as_copy(arguments.command, peak_memory)
    os.execvp(arguments.command[0], arguments.command)


def may_have_gpus() -> bool:
    """Whether to import what looks for GPUs: `gpu_lease.candidates` finds none without one of these."""
    return "CUDA_VISIBLE_DEVICES" in os.environ or shutil.which("nvidia-smi") is not None


def take_gpus(count: int, jobs_per_gpu: int) -> bool:
    """Lease as many GPUs for this process and what it becomes, once they are free; whether there are any."""
    from workflow_scripts.jobs.gpu_lease import candidates, lease, lock_folder

    gpus = candidates()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(lease(count, gpus, lock_folder(), jobs_per_gpu))
    return bool(gpus)


def become_a_step(job: str, threads: int) -> None:
    """Start again as a step of the job: SLURM signals what it started itself, and not the children of that.

    The step may use all that the job may (--overlap, --mem=0). What SLURM put into the environment for the step around
    it does not count. Where output goes to a file the step opens that itself, for srun may die long before the step.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SRUN_")) or k in KEPT}
    environment[STEP_OF] = job
    if log := own_log():
        environment[STEP_LOG] = str(log)
        append_to(str(log))
    command = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--cpus-per-task={threads}", "--mem=0", "--mpi=none"]
    os.execvpe("srun", [*command, *sys.orig_argv], environment)


def own_log() -> Path | None:
    """The file that output goes to, where it goes to one."""
    log = Path("/proc/self/fd/1").resolve()
    return log if log.is_file() else None


def append_to(log: str) -> None:
    """Send output and errors to the end of a file that others write to as well."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        from workflow_scripts.jobs.entry import in_one_line

        refused = in_one_line(error)
        if refused is None:
            raise
        sys.exit(f"error: {refused}")
