"""The nodes of a storm: whole processes that tell everything that they can tell, and may be killed.

Strategy: the command line's own program, with an OpenTelemetry SDK as its operator would set it up,
temporary files in a folder of the storm, a redo log that is short of room, so that checkpoints are
made, and an archive that is written at once. What it says goes into a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.faults import served, telling
from tests.faults.stolen import places, planted
from tests.integration import processes

from holdfast.testing import provider as replay

PROGRAM = """
from holdfast.archiving import archiver
from holdfast.cli import main
from holdfast.eventlog.sqlite import engine
engine.SqliteLog.__init__.__kwdefaults__["checkpoint_bytes"] = 100 * 1024
archiver.SETTLED_MS = 0
main()
"""
TRACED = """
import os
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = sdk.TracerProvider()
spans = OTLPSpanExporter(os.environ["SPANS"])
provider.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=200))
trace.set_tracer_provider(provider)
"""
SETTINGS = """
[server]
heartbeat_interval = "500ms"
drain_timeout = "100ms"
[log]
url = "{log}"
lease = "1s"
live = "{live}s"
retention = "{retention}s"
[archive]
url = "{archive}"
[monitoring]
log_level = "debug"
log_format = "json"
access_log = true
opentelemetry = {traced}
[deadlines]
between_contents = "120s"
[fallback]
attempts = 1
breaker_failures = 1000
[providers.vendor]
kind = "openai_chat"
base_url = "{vendor}/v1"
api_key_env = "PLANTED"
[sealing]
{sealing}
"""
RING = "ring.keys"


class Nodes:
    """In `folder`; `traced`: their spans go to `collector`."""

    def __init__(self, folder: Path, stores: places.Stores, secrets: planted.Planted) -> None:
        self.folder, self._stores, self._secrets = folder, stores, secrets
        self.all: list[telling.Node] = []
        self.logs: list[Path] = []
        self.traced = True
        self.collector = replay.ReplayServer([TAKEN])
        self.temporary = folder / "temporary"
        self.temporary.mkdir()

    def configure(self, vendor: str, sealed: bool, retention: int = 86_400) -> None:
        said = SETTINGS.format(
            log=self._stores.log_url,
            archive=self._stores.archive_url,
            vendor=vendor,
            traced=str(self.traced).lower(),
            retention=retention,
            live=min(600, retention),
            sealing=f'keys = "{self.folder / RING}"' if sealed else "",
        )
        (self.folder / "holdfast.toml").write_text(said)

    @property
    def env(self) -> Mapping[str, str]:
        folder = str(self.temporary)
        return {
            "PLANTED": self._secrets["key of the provider"],
            "TMPDIR": folder,
            "SQLITE_TMPDIR": folder,
            "HOLDFAST_MONITORING__LOG_FORMAT": "json",
            "SPANS": f"{self.collector.url}/v1/traces",
        }

    async def start(self) -> telling.Node:
        """One more."""
        log = self.folder / f"node{len(self.logs)}.log"
        self.logs.append(log)
        program = TRACED + PROGRAM if self.traced else PROGRAM
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", program, "serve", "--port", "0"),
                cwd=self.folder,
                env=processes.environment(self.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        node = telling.Node(process, log)
        self.all.append(node)
        await served.until(node.ready, every=0.02)
        assert node.port, log.read_text()
        return node

    async def end(self, node: telling.Node, how: signal.Signals) -> None:
        self.all.remove(node)
        code = await node.end(how)
        assert code == (0 if how == signal.SIGTERM else -how), node.log.read_text()[-3000:]

    async def make_key(self, name: str, *options: str) -> str:
        done = await processes.run(
            "keys", "create", name, *options, folder=self.folder, env={"PLANTED": "unused"}
        )
        assert done.code == 0, done.err
        return done.out.strip()


@contextlib.asynccontextmanager
async def running(
    folder: Path, stores: places.Stores, secrets: planted.Planted
) -> AsyncIterator[Nodes]:
    """None yet; none is left behind."""
    nodes = Nodes(folder, stores, secrets)
    async with nodes.collector:
        try:
            yield nodes
        finally:
            for node in nodes.all:
                with contextlib.suppress(ProcessLookupError):
                    node.process.kill()
                await node.process.wait()


TAKEN = replay.Answer(headers=(("Content-Type", "application/x-protobuf"),), framing="length")
