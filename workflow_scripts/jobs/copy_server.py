"""The process that jobs of a local study are copies of: it imports a command's module once and forks for every job.

    python -m workflow_scripts.jobs.copy_server --offer OFFER

copy_client.py starts it and asks it. It never computes, so that nothing but modules is shared: a copy has its job's
directory, environment, options and standard streams, and a job whose environment differs gets none, since libraries
read some variables when they are loaded. It ends with the Snakemake that offered it, after the copies of that.
"""

import argparse
import atexit
import contextlib
import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib import import_module
from multiprocessing.connection import wait
from typing import NoReturn

from workflow_scripts.jobs.copy_protocol import FORWARDED, Answer, Request, owner_of, packed, received, server_name
from workflow_scripts.jobs.entry import run
from workflow_scripts.jobs.started import Edited

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
    clients: dict[int, socket.socket] = {}  # process number of a copy -> connection to its client
    ended_reader, ended_writer = socket.socketpair()  # readable once a copy has ended
    ended_writer.setblocking(False)
    signal.set_wakeup_fd(ended_writer.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while runs(owner) or clients:
        copies = {client: copy for copy, client in clients.items() if client.fileno() >= 0}
        for ready in wait([listener, ended_reader, *copies], LOOKS_FOR_OWNER):
            if ready is listener:
                client, _ = listener.accept()
                if copy := copy_for(client, [listener, ended_reader, ended_writer, *copies]):
                    clients[copy] = client
            elif ready is ended_reader:
                ended_reader.recv(4096)
            elif isinstance(ready, socket.socket):
                pass_signals_on(ready, copies[ready])
        for copy in list(clients):
            ended, status, used = os.wait4(copy, os.WNOHANG)
            if ended:
                answer = Answer(os.waitstatus_to_exitcode(status), peak_mb=used.ru_maxrss / 1024)
                tell(clients.pop(copy), answer)


def runs(process: int) -> bool:
    """Whether there is a process of that number, and of this user."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def copy_for(client: socket.socket, held: Iterable[socket.socket]) -> int | None:
    """Process number of the copy that a client asks for; None where it asks for none, or is told why it gets none.

    `held` are sockets that the copy must not keep open.
    """
    client.settimeout(PATIENCE)
    try:
        request, streams = asked(client)
    except (OSError, ValueError):  # ValueError: no JSON
        client.close()
        return None
    client.settimeout(None)
    copy = None
    if (reason := refusal(request)) is not None:
        tell(client, Answer(refusal=reason))
    else:
        gc.freeze()  # a copy that looked through what is imported would write to all of it
        copy = os.fork()
        if copy == 0:
            work(request, streams, [client, *held])
    for stream in streams:
        os.close(stream)
    return copy


def asked(client: socket.socket) -> tuple[Request, list[int]]:
    """A client's request, and its standard streams.

    Raises:
        OSError: it is another user's, or did not say in time what it wants.
    """
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    if CREDENTIALS.unpack(credentials)[1] != os.getuid():
        raise PermissionError("another user's process")
    first, streams, _, _ = socket.recv_fds(client, 1, 3)
    return Request(**received(client, first)), streams


def refusal(request: Request) -> str | None:
    """Why a request gets no copy, for the log of its job; None where it gets one, its module imported."""
    own, others = comparable(os.environ), comparable(request.environment)
    if differing := sorted(name for name in own | others if own.get(name) != others.get(name)):
        return f"its environment is another than the first job's ({', '.join(differing)})"
    try:
        import_module(request.module)
    except (Exception, Edited) as error:  # the job will show where when it is started
        return f"{request.module} cannot be imported ({error})"
    if len(os.listdir("/proc/self/task")) > 1:
        return "a library has started a thread, and a copy could wait for what that one held"
    return None


def comparable(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that must be equal."""
    return {name: value for name, value in environment.items() if name not in PER_JOB}


def work(request: Request, streams: list[int], held: Iterable[socket.socket]) -> NoReturn:
    """What a copy does: run the command that was asked for and end as Python does.

    Only its modules are not taken apart one by one, which takes 0.3 s where torch is among them.
    """
    status = 1
    try:
        become(request, streams, held)
        run(sys.modules[request.module].main)
        status = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            status = end.code or 0
        else:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def become(request: Request, streams: list[int], held: Iterable[socket.socket]) -> None:
    """Turn a copy into the process that was asked for."""
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
    sys.argv = [str(sys.modules[request.module].__file__), *request.arguments]


def pass_signals_on(client: socket.socket, copy: int) -> None:
    """Send a copy the signals that its client has got; end it where the client has ended."""
    numbers = client.recv(64)
    if not numbers:
        client.close()
        os.kill(copy, signal.SIGKILL)
    for number in numbers:
        if number in FORWARDED:
            os.kill(copy, number)


def tell(client: socket.socket, answer: Answer) -> None:
    """Send a client its answer, if it still listens."""
    with contextlib.suppress(OSError), client:
        client.sendall(packed(answer))


if __name__ == "__main__":
    run(main)
