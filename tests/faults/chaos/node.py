"""The server of a run of chaos: one process after the other on one SQLite file, and its clock.

Strategy: readers reach it through a proxy that is told where it is now.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults.chaos import book as books
from tests.faults.chaos import keys, server

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


class Node(server.Server):
    """A server whose wall clock can be set, where `faketime` is there. `sealed`: whether the last
    process that served sealed what was new."""

    def __init__(
        self,
        book: books.Book,
        folder: Path,
        log: Path,
        provider: int,
        readers: fault_proxy.FaultProxy,
        sealed: bool = False,
    ) -> None:
        self.sealed = False
        self.clock = folder / "clock"
        self.faketime = next(iter(FAKETIME.glob("*/faketime/libfaketimeMT.so.1")), None)
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

        def serves(port: int) -> None:
            readers.target = port

        super().__init__(book, folder, serves, env=more)
        said = SETTINGS.format(log=log, provider=provider)
        self.config.write_text(said + keys.settings(folder, sealed))
        self.set_clock(0)

    async def start(self) -> None:
        seals = self.seals
        await super().start()
        self.sealed = seals

    @property
    def seals(self) -> bool:
        """Whether one that starts now seals what is new."""
        return "on = true" in self.config.read_text()

    def set_clock(self, offset: int) -> None:
        """The server's wall clock is so many seconds off."""
        self.clock.write_text(f"{offset:+d}s\n")
