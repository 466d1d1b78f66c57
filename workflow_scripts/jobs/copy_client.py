"""Start a command of this package as a copy of a process that has imported what it needs, where there is one to copy.

Python and torch take 1.3 s to start, most of the time of a short job. The jobs of a local study therefore share one
fork server (copy_server.py), which the first of them starts and which ends with their Snakemake. A job's own process
stays as its client: it passes signals on and leaves as the copy left, and the copy does not outlive it.

Every job is such a client first. So nothing heavy is imported, and what few jobs need is imported where they need it.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workflow_scripts.jobs.copy_protocol import FORWARDED, Answer, Request, owner_of, packed, received, server_name

OPERATIONAL = True  # no number depends on it; docs/reruns.md

OFFER = "MCOHERENCE_FORK_SERVER"  # in the environment of jobs: process number of their Snakemake, and a random token
# A process of several threads cannot be copied safely. pyarrow's second allocator starts one when it is loaded, which
# only gives back its unused memory, of which it has none: another one is the default.
WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")  # these may end what a job leaves behind


def offer(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the jobs that this process will start share a fork server; on Linux only, elsewhere copies are not safe.

    It is one offer, however often it is made, as by several studies that are modules of one workflow.
    """
    import secrets

    offered = environment.get(OFFER)
    if sys.platform == "linux" and not (offered and owner_of(offered) == os.getpid()):
        environment[OFFER] = f"{os.getpid()}:{secrets.token_hex(8)}"
        environment.update(WITHOUT_THREADS)


def run_as_copy(command: Sequence[str], peak_memory: Path | None = None) -> None:
    """Run `python -m workflow_scripts.NAME ...` in a copy and leave as that leaves; return where none is to be had.

    Where they were offered to this job, its log says why it is none.

    Args:
        command: the command, as it would be started.
        peak_memory: file for the copy's largest resident memory in MiB, which Snakemake cannot see.
    """
    offered = os.environ.get(OFFER)
    if not offered or list(command[:2]) != ["python", "-m"] or not command[2].startswith("workflow_scripts."):
        return
    if not descends_from(owner_of(offered)):  # an offer is for its maker's own jobs, on its machine
        return
    if any(name in os.environ for name in CONTAINERS):
        reason = "it is in a container"
    else:
        try:
            server = connected(offered)
            request = packed(Request(command[2], list(command[3:]), os.getcwd(), dict(os.environ)))
            socket.send_fds(server, [request[:1]], [0, 1, 2])
            server.sendall(request[1:])
        except OSError as error:
            reason = f"the process to copy is out of reach ({error})"
        else:
            reason = follow_copy(server, peak_memory)
    print(f"launch: this job is no copy and takes longer to start: {reason}", file=sys.stderr)


def follow_copy(server: socket.socket, peak_memory: Path | None) -> str:
    """Wait for the copy, write down its memory and leave as it left; return why there is none."""
    with server:
        forwarded = forward_signals(server)  # before this they end the client, and with it the copy
        try:
            answer = Answer(**received(server))
        except (OSError, ValueError, TypeError):  # it was cut off, within a message maybe
            sys.exit("error: the process that this job was copied from has ended, and the job with it; start it again")
    if answer.refusal is None:
        if peak_memory:
            with contextlib.suppress(OSError):  # a full disk: nobody's result depends on it
                peak_memory.write_text(f"{answer.peak_mb:.1f}\n")
        leave(answer.status)
    if forwarded:
        leave(-forwarded[0])
    return answer.refusal


def descends_from(ancestor: int) -> bool:
    """Whether that process started this one, or one that this one descends from."""
    process = os.getpid()
    with contextlib.suppress(OSError):  # others' processes may be hidden, or just have ended
        while process not in (0, ancestor):
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process == ancestor


def connected(offered: str) -> socket.socket:
    """Connection to the fork server, which is started where there is none yet.

    Raises:
        OSError: there is none, and it did not start.
    """
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(server_name(offered))
    except ConnectionRefusedError:
        import subprocess

        start = [sys.executable, "-m", "workflow_scripts.jobs.copy_server", "--offer", offered]
        # What goes wrong there is said in this job's log. The end of a pipe would be kept open, and its reader waiting.
        errors = None if os.path.isfile("/proc/self/fd/2") else subprocess.DEVNULL
        subprocess.run(start, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, check=False)
        server.connect(server_name(offered))
    return server


def forward_signals(server: socket.socket) -> list[int]:
    """Pass signals to this process on to its copy from now on. Returns the growing list of those that came."""
    came: list[int] = []

    def forward(number: int, _: Any) -> None:
        came.append(number)
        with contextlib.suppress(OSError):  # the server has ended, and the copy with it
            server.send(bytes([number]))

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    return came


def leave(status: int) -> NoReturn:
    """End as a process did whose exit status this is, or minus the number of the signal that ended it."""
    if status < 0:
        if -status != signal.SIGKILL:  # which nobody can treat otherwise
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
