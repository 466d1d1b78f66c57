"""A headless Chromium that has no network, asked through its own protocol: a page's state, clicks, and what it says."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

OWN_READY = "document.documentElement?.dataset.ready"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def require_chromium() -> None:
    """Skip the test where no Chromium is installed; fail it where MCOHERENCE_REQUIRE_CHROMIUM says that one must be."""
    if CHROMIUM is None:
        if os.environ.get("MCOHERENCE_REQUIRE_CHROMIUM"):
            pytest.fail("found no Chromium; install Debian's chromium")
        pytest.skip("needs Chromium (Debian: chromium)")


@dataclass
class Page:
    """An open page.

    requests: addresses that it asked for, its own file and data inside of it left out.
    errors: what it could not do, in its console's words.
    """

    socket: aiohttp.ClientWebSocketResponse
    loop: asyncio.AbstractEventLoop
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    number: int = 0

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the DevTools protocol."""
        return self.loop.run_until_complete(asyncio.wait_for(self._ask(method, parameters), 120))

    async def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self.socket.receive()).data)
            self._note(message)
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            address = said["request"]["url"]
            if not address.startswith(("file:", "data:", "blob:")):
                self.requests.append(address)
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(said["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, once it is settled."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path: Path, width: int, height: int, ready: str = OWN_READY) -> None:
        """Open a file in a window of this size and wait until it is `ready`; ours say so themselves."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + 120
        while not self.value(f"location.href == {path.resolve().as_uri()!r} && {ready}"):
            assert time.monotonic() < deadline, self.errors
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key pressed and let go."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": " "} if key == "Space" and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=" " if key == "Space" else key, code=key, **text)


@contextmanager
def browser() -> Iterator[Page]:
    """A page of a fresh Chromium without network, which ends with the block."""
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # its children write as they die
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-port=0", "--no-first-run",
                   f"--user-data-dir={profile}", "about:blank")  # fmt: skip
        process = subprocess.Popen(
            [str(CHROMIUM), *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            address = next(line.split()[-1] for line in process.stderr if line.startswith("DevTools listening on"))
            port = address.split("/")[2]
            session, socket = loop.run_until_complete(_connected(port))
            page = Page(socket, loop)
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.ask(f"{domain}.enable")
            yield page
            loop.run_until_complete(session.close())
        finally:
            process.kill()
            process.wait()
            loop.close()


async def _connected(port: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://{port}/json/list") as answer:
        tabs = await answer.json()
    tab = next(tab for tab in tabs if tab["type"] == "page")
    return session, await session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)
