"""What copy_client.py and copy_server.py say to each other: one request, signals while the copy runs, one answer.

They meet at a socket in Linux's abstract name space, which leaves no file, and whose name one process alone can have.
Messages are named tuples: every job is a client first, and would wait for `dataclasses` to be imported.
"""

import json
import signal
import socket
import struct
from typing import Any, NamedTuple

OPERATIONAL = True  # no number depends on it; docs/reruns.md

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LENGTH = struct.Struct("!Q")  # of a message, in bytes; before it


class Request(NamedTuple):
    """What a copy needs to be like the process that asks for it, beside that one's standard streams."""

    module: str  # of workflow_scripts
    arguments: list[str]
    directory: str
    environment: dict[str, str]


class Answer(NamedTuple):
    """How a copy ended, or why there was none."""

    status: int = 0  # exit status, or minus the number of the signal that ended it
    peak_mb: float = 0.0  # largest resident memory, of it or of a process that it waited for, in MiB
    refusal: str | None = None  # why there was none


def owner_of(offered: str) -> int:
    """Number of the process that made the offer."""
    return int(offered.partition(":")[0])


def server_name(offered: str) -> str:
    """Name of the server's socket."""
    return f"\0mcoherence-{offered}"


def packed(message: Request | Answer) -> bytes:
    """The message as it is sent."""
    content = json.dumps(message._asdict()).encode()
    return LENGTH.pack(len(content)) + content


def received(connection: socket.socket, first: bytes = b"") -> dict[str, Any]:
    """The fields of the next message, of which `first` was read already.

    Raises:
        OSError: it did not come, or not in time.
    """
    (length,) = LENGTH.unpack(first + _exactly(connection, LENGTH.size - len(first)))
    fields: dict[str, Any] = json.loads(_exactly(connection, length))
    return fields


def _exactly(connection: socket.socket, size: int) -> bytes:
    """The next `size` bytes and no more: signals may follow a request."""
    content = b""
    while len(content) < size:
        more = connection.recv(size - len(content))
        if not more:
            raise ConnectionResetError("ended within a message")
        content += more
    return content
