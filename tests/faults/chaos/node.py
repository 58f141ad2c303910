"""The server under chaos: a process of `holdfast serve`, ended and begun again on one file.

Strategy: it listens on a free port each time, and readers reach it through a proxy that is told
where it is now. What it says goes into a file, as nobody reads a pipe of a process that stands
still. Its own end, an exit code that is not 0 after SIGTERM, and a traceback are problems.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path

from tests.faults.chaos import book as books
from tests.integration import processes

from holdfast.testing import fault_proxy

FAKETIME = Path("/usr/lib")
"""Where Debian puts the library, in a folder of the architecture."""

SETTINGS = """
[server]
heartbeat_interval = 1
write_timeout = 5
drain_timeout = 0.5

[log]
url = "sqlite:///{log}"

[deadlines]
connect = 2
first_byte = 4
first_content = 5
between_contents = 4
total = 60

[providers.ours]
kind = "openai_chat"
base_url = "http://127.0.0.1:{provider}/v1"
api_key = "sk-chaos"
"""


class Node:
    """`starts` holds how long each start took, in seconds; `killed` counts SIGKILLs."""

    def __init__(
        self,
        book: books.Book,
        folder: Path,
        log: Path,
        provider: int,
        readers: fault_proxy.FaultProxy,
    ) -> None:
        self._book, self._folder, self._readers = book, folder, readers
        self.clock = folder / "clock"
        self.said = folder / "server.log"
        self.faketime = next(iter(FAKETIME.glob("*/faketime/libfaketimeMT.so.1")), None)
        self.starts: list[float] = []
        self.killed = 0
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        settings = SETTINGS.format(log=log, provider=provider)
        (folder / "holdfast.toml").write_text(settings)
        self.set_clock(0)

    def set_clock(self, offset: int) -> None:
        """The server's wall clock is so many seconds off."""
        self.clock.write_text(f"{offset:+d}s\n")

    async def spawn(self) -> None:
        """A process that begins to start."""
        more = {}
        if self.faketime is not None:
            more = {
                "LD_PRELOAD": str(self.faketime),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DISABLE_SHM": "1",
                # Its mending of condition variables makes threads wait for a second.
                "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            }
        with self.said.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                *processes.COMMAND,
                *("serve", "--port", "0", "--config", str(self._folder / "holdfast.toml")),
                cwd=self._folder,
                env=processes.environment(more),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=said,
            )

    async def start(self) -> None:
        """A process that serves. Raises `RuntimeError` where it ends before."""
        begun, size = time.monotonic(), self.said.stat().st_size if self.said.exists() else 0
        await self.spawn()
        async with asyncio.timeout(processes.PATIENCE):
            while True:
                text = self.said.read_bytes()[size:].decode()
                found = re.search(r"serves http://127\.0\.0\.1:(\d+), log ", text)
                if found:
                    break
                if self._running.returncode is not None:
                    raise RuntimeError(f"the server did not start: {text[-2000:]}")
                await asyncio.sleep(0.01)
        self.port = self._readers.target = int(found[1])
        self.starts.append(time.monotonic() - begun)

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def signal(self, which: signal.Signals) -> None:
        if self._running.returncode is None:
            self._running.send_signal(which)
        else:
            self._book.problem(f"the server ended by itself with {self._running.returncode}")

    async def kill(self) -> None:
        """Ends the process with SIGKILL."""
        self.signal(signal.SIGKILL)
        self.killed += 1
        await self._ended()

    async def terminate(self) -> None:
        """Ends the process with SIGTERM, as an operator does."""
        self.signal(signal.SIGTERM)
        if code := await self._ended():
            self._book.problem(f"the server ended with {code} after SIGTERM")

    async def _ended(self) -> int:
        async with asyncio.timeout(processes.PATIENCE):
            return await self._running.wait()

    async def close(self) -> None:
        """Leaves no process behind, and looks through what they said."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        text = self.said.read_text(errors="replace") if self.said.exists() else ""
        for place in list(re.finditer(r"^Traceback", text, re.MULTILINE))[:5]:
            self._book.problem(f"the server said: {text[place.start() : place.start() + 3000]}")
