"""The process that jobs of a local study are copies of: it imports a command's module once and forks for every job.

    python -m workflow_scripts.jobs.copy_server --offer OFFER

copy_client.py starts it and asks it. It never computes, so that nothing but modules is shared: a copy has its job's
directory, environment, options and standard streams, and a job whose environment differs gets none, since libraries
read some variables when they are loaded. It ends with the Snakemake that offered it, after the copies of that.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess as Copy
from pathlib import Path
from types import ModuleType

from workflow_scripts.jobs.copy_client import ANSWER, FORWARDED, LENGTH, NO_COPY, Request, owner_of, server_name
from workflow_scripts.jobs.entry import run

OPERATIONAL = True  # no number depends on it; docs/reruns.md

PER_JOB = {"_", "SHLVL", "OLDPWD"}  # variables that say nothing to a library
LOOKS_FOR_OWNER = 1.0  # seconds between two looks
PATIENCE = 10.0  # seconds that a client may take to say what it wants
CREDENTIALS = struct.Struct("3i")  # process, user, group
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take the name, let go on who waits for that, and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offer", required=True, help="process number of the Snakemake that offers it, and a token")
    offered = parser.parse_args().offer
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(server_name(offered))
    except OSError:  # another job was faster
        return
    listener.listen(1024)
    if os.fork():
        os._exit(0)  # the server is nobody's child: Snakemake would count its memory as the first job's
    os.setsid()
    serve(listener, owner_of(offered))


def serve(listener: socket.socket, owner: int) -> None:
    """Make copies until their owner has ended, and they have."""
    copies: dict[socket.socket, Copy] = {}  # by the connections of their clients
    bell, rope = socket.socketpair()  # rung when a copy has ended
    rope.setblocking(False)
    signal.set_wakeup_fd(rope.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while runs(owner) or copies:
        listening = [client for client in copies if client.fileno() >= 0]
        for ready in wait([listener, bell, *listening], LOOKS_FOR_OWNER):
            if ready is listener:
                client, _ = listener.accept()
                if copy := copy_for(client, [listener, bell, rope, *listening]):
                    copies[client] = copy
            elif ready is bell:
                bell.recv(4096)
            elif isinstance(ready, socket.socket):
                pass_signals_on(ready, copies[ready])
        for client, copy in list(copies.items()):
            if copy.exitcode is not None:
                answer(client, copy.exitcode)
                del copies[client]


def runs(process: int) -> bool:
    """Whether there is a process of that number, and of this user."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def copy_for(client: socket.socket, held: Iterable[socket.socket]) -> Copy | None:
    """The copy that a client asks for; None, which it is told, where it gets none.

    `held` are sockets that the copy must not keep open.
    """
    client.settimeout(PATIENCE)
    try:
        request, streams = received(client)
    except (OSError, ValueError):  # ValueError: no JSON
        client.close()
        return None
    client.settimeout(None)
    module = loaded(request.module) if comparable(request.environment) == comparable(os.environ) else None
    copy = None
    if module and len(os.listdir("/proc/self/task")) == 1:  # else a copy could wait for what another thread had
        gc.freeze()
        copy = Copy(target=work, args=(module, request, streams, [client, *held]))
        copy.start()
    else:
        answer(client, NO_COPY)
    for stream in streams:
        os.close(stream)
    return copy


def received(client: socket.socket) -> tuple[Request, list[int]]:
    """A client's request, and its standard streams.

    Raises:
        OSError: it is another user's, or did not say in time what it wants.
    """
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    if CREDENTIALS.unpack(credentials)[1] != os.getuid():
        raise PermissionError("another user's process")
    first, streams, _, _ = socket.recv_fds(client, 1, 3)
    (length,) = LENGTH.unpack(first + exactly(client, LENGTH.size - 1))
    return Request(**json.loads(exactly(client, length))), streams


def exactly(client: socket.socket, size: int) -> bytes:
    """The next `size` bytes and no more: signals may follow.

    Raises:
        OSError: they did not come in time.
    """
    content = b""
    while len(content) < size:
        more = client.recv(size - len(content))
        if not more:
            raise ConnectionResetError("ended within a request")
        content += more
    return content


def comparable(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that must be equal."""
    return {name: value for name, value in environment.items() if name not in PER_JOB}


def loaded(name: str) -> ModuleType | None:
    """The module, or None where it cannot be imported: the job will say why when it is started without a copy."""
    try:
        return import_module(name)
    except Exception:
        return None


def work(module: ModuleType, request: Request, streams: list[int], held: Iterable[socket.socket]) -> None:
    """What a copy does: turn into the process that was asked for, run the module's command, note its memory."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no copy outlives the server, which could not tell
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in held:
        one.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [str(module.__file__), *request.arguments]
    try:
        run(module.main)
    finally:
        if request.peak_memory:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            Path(request.peak_memory).write_text(f"{peak:.1f}\n")


def pass_signals_on(client: socket.socket, copy: Copy) -> None:
    """Send a copy the signals that its client has got; end it where the client has ended."""
    numbers = client.recv(64)
    if not numbers:
        client.close()
        copy.kill()
    for number in numbers:
        if number in FORWARDED and copy.pid:
            os.kill(copy.pid, number)


def answer(client: socket.socket, status: int) -> None:
    """Tell a client how its copy left, if it still listens."""
    with contextlib.suppress(OSError), client:
        client.sendall(ANSWER.pack(status))


if __name__ == "__main__":
    run(main)
