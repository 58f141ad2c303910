"""A process of `holdfast serve` under chaos: begun, stopped, killed and begun again.

Strategy: it listens where it likes, and whoever wants to know is told at each start. What it says
goes into a file, as nobody reads a pipe of a process that stands still. Its own end, an exit code
that is not 0 after SIGTERM, a traceback, and a stream that cannot be read are problems.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.faults.chaos import book as books
from tests.integration import processes


class Server:
    """`starts` holds how long each start took, in seconds; `killed` counts SIGKILLs. Its settings
    are in the file `config`; `serves` is told the port at each start; `enter`
    is called in the process before its program is; `host` is what it listens at."""

    def __init__(
        self,
        book: books.Book,
        folder: Path,
        serves: Callable[[int], None],
        *,
        name: str = "server",
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
        enter: Callable[[], None] | None = None,
    ) -> None:
        self._book, self._folder, self._serves = book, folder, serves
        self._host, self._env, self._enter = host, env, enter
        self.name = name
        self.config = folder / "holdfast.toml"
        self.said = folder / f"{name}.log"
        self.starts: list[float] = []
        self.killed = 0
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def spawn(self) -> None:
        """A process that begins to start."""
        with self.said.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                *processes.COMMAND,
                *("serve", "--host", self._host, "--port", "0", "--config", str(self.config)),
                cwd=self._folder,
                env=processes.environment(self._env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=said,
                preexec_fn=self._enter,
            )

    async def start(self) -> None:
        """A process that serves. Raises `RuntimeError` where it ends before."""
        begun, size = time.monotonic(), self.said.stat().st_size if self.said.exists() else 0
        await self.spawn()
        async with asyncio.timeout(processes.PATIENCE):
            while True:
                text = self.said.read_bytes()[size:].decode()
                found = re.search(r"serves http://[0-9.]+:(\d+), log ", text)
                if found:
                    break
                if self._running.returncode is not None:
                    raise RuntimeError(f"the {self.name} did not start: {text[-2000:]}")
                await asyncio.sleep(0.01)
        self.port = int(found[1])
        self._serves(self.port)
        self.starts.append(time.monotonic() - begun)

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def signal(self, which: signal.Signals) -> None:
        if self._running.returncode is None:
            self._running.send_signal(which)
        else:
            code = self._running.returncode
            self._book.problem(f"the {self.name} ended by itself with {code}")

    async def kill(self) -> None:
        """Ends the process with SIGKILL."""
        self.signal(signal.SIGKILL)
        self.killed += 1
        await self._ended()

    async def terminate(self) -> None:
        """Ends the process with SIGTERM, as an operator does."""
        self.signal(signal.SIGTERM)
        if code := await self._ended():
            self._book.problem(f"the {self.name} ended with {code} after SIGTERM")

    async def _ended(self) -> int:
        async with asyncio.timeout(processes.PATIENCE):
            return await self._running.wait()

    async def close(self) -> None:
        """Leaves no process behind, and looks through what they said."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        text = self.said.read_text(errors="replace") if self.said.exists() else ""
        for place in list(re.finditer(r"^Traceback|.*stream_unreadable", text, re.MULTILINE))[:5]:
            said = text[place.start() : place.start() + 3000]
            self._book.problem(f"the {self.name} said: {said}")
