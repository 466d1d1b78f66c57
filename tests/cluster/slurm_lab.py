"""A real SLURM on this machine, thrown away afterwards: munged, slurmctld and a slurmd for each of two virtual nodes.

Everything is in one folder with a short name, for it holds unix sockets, and listens on 127.0.0.1 only; no systemd and
nothing under /etc is needed. The GPUs are links to /dev/null, which SLURM hands out like any others.

To try things by hand: `python -m tests.cluster.slurm_lab /tmp/lab`, and what it prints.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

SBIN = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
CLIENTS = ("sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue")
CPUS, GPUS, MEMORY_MB = 8, 2, 64000  # of each node; claimed, not there
GRACE = 30  # seconds between SIGTERM and SIGKILL, SLURM's own default
FREEZER = Path("/sys/fs/cgroup/freezer")

CONFIGURATION = """
ClusterName={name}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
# Without these two, daemons and srun listen on every interface.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
# What is submitted starts at once, not seconds later.
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
JobRequeue=1
JobFileAppend=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait={grace}
# Jobs that ended stay visible to squeue.
MinJobAge=86400
FirstJobId={first_job}
ReturnToService=2
SlurmdTimeout=300
# Nodes may claim more than the machine has.
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1-0 PriorityTier=1
PartitionName=gpu Nodes=ALL MaxTime=1-0 PriorityTier=1
PartitionName=grace Nodes=ALL MaxTime=1-0 PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=ALL MaxTime=1-0 PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}"
)


def missing_programs() -> list[str]:
    """Programs of SLURM and munge that are not installed."""
    path = os.environ["PATH"] + os.pathsep + SBIN
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


def tracks_by_cgroup() -> bool:
    """Whether SLURM can keep a job's processes together as most clusters do: by cgroups (version 1), as root."""
    return os.geteuid() == 0 and os.access(FREEZER / "cgroup.procs", os.W_OK)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 900) -> None:
    """Wait until the condition holds; AssertionError that names `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.1)


@dataclass
class SlurmLab:
    """The cluster: where it lives, and how it tells a job's processes from others ("cgroup" or "pgid")."""

    folder: Path
    tracking: str = "pgid"
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"lab{secrets.token_hex(3)}"  # cgroups are named after nodes, so labs must differ in them
        self.nodes = (f"{self.name}n1", f"{self.name}n2")
        self.ports = dict(zip(("slurmctld", *self.nodes), _free_ports(1 + len(self.nodes)), strict=True))
        self.environment = os.environ | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": os.pathsep.join((str(self.folder / "bin"), os.environ["PATH"], SBIN)),
        }

    def start(self) -> None:
        """Start the daemons and wait until the nodes take jobs."""
        for name in ("bin", "dev", "log", "munge", "spool", "state"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        munge = self.folder / "munge"
        (munge / "key").write_bytes(secrets.token_bytes(128))
        (munge / "key").chmod(0o600)
        for path in (self.folder, munge):
            path.chmod(0o755)
        files = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
        options = [f"--{key}-file={munge / name}" for key, name in files.items() if key != "socket"]
        self._launch("munged", "--foreground", f"--socket={munge / 'socket'}", *options)
        wait_until((munge / "socket").exists, "munged listens")
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        wait_until(lambda: self.ask("sinfo", "-h", "-p", "cpu", "-t", "idle", "-o", "%D") == "2", "both nodes are idle")

    def start_controller(self) -> None:
        """Start slurmctld."""
        self._launch("slurmctld", "-D")

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node, and wait until it listens."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._launch("slurmd", "-D", "-N", node, name=node)
        wait_until(lambda: _listens(self.ports[node]), "slurmd listens")

    def kill(self, name: str) -> None:
        """SIGKILL to a daemon: "slurmctld" or a node's name. Jobs live on."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def stop(self) -> None:
        """End all jobs and daemons, and remove the folder."""
        if "slurmctld" in self.daemons:
            subprocess.run(["scancel", "--signal=KILL", "--full", "--state=RUNNING"], env=self.environment, check=False)
            subprocess.run(["scancel", f"--user={os.geteuid()}"], env=self.environment, check=False)
        for process in self._processes_of_jobs():
            os.kill(process, signal.SIGKILL)
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in self._processes_of_jobs():  # what was being started meanwhile
            os.kill(process, signal.SIGKILL)
        for node in self.nodes:
            for group in sorted(FREEZER.glob(f"slurm_{node}/**/"), reverse=True):
                with suppress(OSError):  # a process is still on its way out
                    group.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints; empty where it fails."""
        answer = subprocess.run(command, env=self.environment, text=True, capture_output=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else ""

    def command(self, *command: str) -> str:
        """What a command of SLURM prints; AssertionError where it fails."""
        answer = subprocess.run(command, env=self.environment, text=True, capture_output=True, check=False)
        assert answer.returncode == 0, f"{command}: {answer.stderr}"
        return answer.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What SLURM knows of a job, as `scontrol show job` names it."""
        return dict(
            pair.split("=", 1) for pair in self.command("scontrol", "show", "job", "-o", number).split() if "=" in pair
        )

    def said(self) -> str:
        """The end of the daemons' logs."""
        logs = sorted((self.folder / "log").glob("*"))
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in logs
        )

    def _launch(self, program: str, *options: str, name: str | None = None) -> None:
        with (self.folder / "log" / f"{name or program}.err").open("ab") as log:
            found = shutil.which(program, path=self.environment["PATH"])
            assert found is not None, f"{program} is not installed"
            self.daemons[name or program] = subprocess.Popen(
                [found, *options],
                env=self.environment, cwd=self.folder, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _write_configuration(self) -> None:
        nodes = [
            NODE.format(name=name, port=self.ports[name], cpus=CPUS, memory=MEMORY_MB, gpus=GPUS) for name in self.nodes
        ]
        text = CONFIGURATION.format(
            name=self.name, folder=self.folder, controller_port=self.ports["slurmctld"], nodes="\n".join(nodes),
            user=subprocess.check_output(["id", "-un"], text=True).strip(),
            tracking=self.tracking, grace=GRACE, first_job=secrets.randbelow(50_000_000) + 1,
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        if self.tracking == "cgroup":
            (self.folder / "cgroup.conf").write_text(
                "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n"
            )
        # A GPU needs a file of its own; the digit at its end becomes its number in CUDA_VISIBLE_DEVICES.
        for number in range(GPUS):
            (self.folder / f"dev/gpu{number}").symlink_to("/dev/null")
        files = f"{self.folder}/dev/gpu[0-{GPUS - 1}]"
        lines = [f"NodeName={node} Name=gpu File={files}" for node in self.nodes]
        (self.folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *lines, ""]))
        # Snakemake's executor takes SLURM_CONF from the environment of jobs, so the commands themselves put it back.
        for client in CLIENTS:
            script = self.folder / "bin" / client
            script.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which(client)} "$@"\n')
            script.chmod(0o755)

    def _processes_of_jobs(self) -> Iterator[int]:
        """Processes that belong to jobs of this cluster: their environment names its configuration."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        daemons = {daemon.pid for daemon in self.daemons.values()}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            inside = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
            stepd = mark in variables and (folder / "comm").read_text().strip() == "slurmstepd"
            if int(folder.name) not in daemons and mark in variables and (inside or stepd):
                yield int(folder.name)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def running(folder: Path, tracking: str) -> Iterator[SlurmLab]:
    """A cluster that runs inside the block."""
    starting = FileLock(Path(tempfile.gettempdir(), "slurm_lab.lock"))  # no other takes ports that are free as yet
    starting.acquire()
    lab = SlurmLab(folder, tracking)
    try:
        lab.start()
        starting.release()
        yield lab
    except AssertionError:
        print(lab.said(), file=sys.stderr)
        raise
    finally:
        starting.release()
        lab.stop()


def main() -> None:
    """Run a cluster until interrupted."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    with running(folder, "cgroup" if tracks_by_cgroup() else "pgid"):
        print(f"export SLURM_CONF={folder}/slurm.conf PATH={folder}/bin:$PATH", flush=True)
        leave = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, leave)
        signal.sigwait(leave)


if __name__ == "__main__":
    main()
