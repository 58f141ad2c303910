"""`examples/cluster` as it is typed: behind nginx, an answer goes on when the node of it is killed.

Strategy: the command is started, and what it prints is believed: addresses, processes, the key. A
reader goes through nginx alone, and comes back as a browser does, with the last id that it had. A
dead node's lease is short here. All that was started has a folder of the test's in its
environment, so what is left behind can be seen, and is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from tests import postgres_server, redis_servers
from tests.integration import asking, harness, processes, worker_processes

from holdfast import settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "cluster"
COMMAND = ("-m", "examples.cluster")
ANSWER = "tokens=100 rate=25 unicode=1"
STREAMS = "/v1/streams"


class Cluster(msgspec.Struct, frozen=True):
    """A running one. `port` is nginx's, `pids` are by name, `nodes` the names by address, `curl` is
    the line to try."""

    process: asyncio.subprocess.Process
    home: Path
    port: int
    pids: dict[str, int]
    nodes: dict[str, str]
    key: str
    curl: str

    @property
    def access(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def get(self, path: str, after: str = "") -> harness.Reader:
        """Begins to read, with the last id that was had."""
        back = {"Last-Event-ID": after} if after else {}
        return await harness.Reader.open(self.port, "GET", path, {**self.access, **back})

    async def finished(self) -> harness.Response:
        """The same answer, with nobody dying meanwhile."""
        body = asking.demo(ANSWER.replace("rate=25", "rate=1000"), flush_interval_ms=0)
        return await (await harness.begin(self.port, body, self.access.items())).rest()

    def living(self) -> list[int]:
        """Those of its servers that run."""
        return [pid for pid in self.pids.values() if not worker_processes.is_gone(pid)]

    def left(self) -> list[object]:
        """What there should not be any more: processes and files."""
        return [*self.living(), *worker_processes.left(self.home), *self.home.iterdir()]

    async def end(self, how: signal.Signals) -> tuple[int | None, str]:
        """As a terminal sends a signal, to all that belong to it; the exit code, and what the
        command printed meanwhile."""
        os.killpg(self.process.pid, how)
        async with asyncio.timeout(processes.PATIENCE):
            out, _ = await self.process.communicate()
        return self.process.returncode, out.decode()


@contextlib.asynccontextmanager
async def running(*args: str) -> AsyncIterator[Cluster]:
    """The command with these arguments, once it has told what to try."""
    with worker_processes.temporary() as home:
        home.chmod(0o711)  # PostgreSQL is another user's, where root starts it
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *COMMAND, *args),
            cwd=ROOT,
            env=processes.environment({"TMPDIR": str(home), "HOLDFAST_LOG__LEASE": "3"}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield await _started(process, home)
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(processes.PATIENCE):
                await process.communicate()


async def _started(process: asyncio.subprocess.Process, home: Path) -> Cluster:
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(processes.PATIENCE):
        while "Ctrl-C" not in said:
            line = await process.stdout.readline()
            assert line, f"{said}\n{(await process.communicate())[1].decode()}"
            said += line.decode()
    rows = re.findall(r"^(\w.*?) +127\.0\.0\.1:(\d+) +pid (\d+)$", said, re.MULTILINE)
    (key,) = re.findall(r"HOLDFAST_API_KEY=(hfk_\w+)", said)
    (curl,) = re.findall(r"^ +(curl .*?\})'$", said, re.MULTILINE | re.DOTALL)
    return Cluster(
        process,
        home,
        next(int(port) for name, port, _ in rows if name == "nginx"),
        {name: int(pid) for name, _, pid in rows},
        {f"127.0.0.1:{port}": name for name, port, _ in rows if name.startswith("node")},
        key,
        f"{curl}'",
    )


async def to_the_end(cluster: Cluster, path: str, had: bytes) -> bytes:
    """What comes after these blocks, over as many connections as it takes."""
    body = had
    for _ in range(5):
        reader = await cluster.get(path, asking.last_id(body))
        rest = await worker_processes.rest(reader)
        assert rest.status == 200
        body += harness.durable(rest.body)
        if rest.clean:
            return body
    raise AssertionError(f"it does not end: {body[-300:]!r}")


@pytest.mark.case("1.21")
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is left")
@pytest.mark.usefixtures("valkey_program", "postgres_programs")
async def test_an_answer_goes_on_when_its_node_is_killed(require: Callable[[str], Path]) -> None:
    require("nginx")
    async with running() as cluster:
        body = asking.demo(ANSWER, flush_interval_ms=0)
        maker = await harness.begin(cluster.port, body, cluster.access.items())
        writes = maker.headers["x-node"]
        path = f"{STREAMS}/{harness.stream_of(maker)}/events"
        attached = await cluster.get(path)
        assert {writes, attached.headers["x-node"]} == cluster.nodes.keys()
        await maker.until(asking.has(20))
        os.kill(cluster.pids[cluster.nodes[writes]], signal.SIGKILL)
        cut = await worker_processes.rest(maker)
        assert not cut.clean
        for _ in cluster.nodes:  # whose turn it is, nginx passes the dead one over
            shown = await (await cluster.get(path.removesuffix("/events"))).rest()
            assert (shown.status, shown.json()["status"]) == (200, "streaming")
            untouched = await cluster.finished()
            assert (untouched.status, untouched.clean) == (200, True)
        had = harness.durable(cut.body)
        whole = await to_the_end(cluster, path, had)
        stayed = await worker_processes.rest(attached)
        again = await worker_processes.rest(await cluster.get(path))
        assert (stayed.clean, again.clean) == (True, True)
        assert whole == harness.durable(stayed.body) == harness.durable(again.body)
        assert all(os.getsid(pid) == pid for pid in cluster.living())  # Ctrl-C is for one alone
        code, out = await cluster.end(signal.SIGINT)
        left = cluster.left()
    assert asking.content(whole) == asking.content(untouched.body)
    ends = [harness.said(answer)[-1].data["sha256"] for answer in (whole, untouched.body)]
    assert ends[0] == ends[1]
    assert [kind for kind in asking.kinds(whole) if kind in ("error", "complete")] == ["complete"]
    assert (code, out.strip()) == (0, f"{cluster.nodes[writes]} has ended, code -9")
    assert left == []


async def test_a_node_that_is_stopped_hands_its_answers_over(
    valkey: redis_servers.Server, postgres: postgres_server.Server, require: Callable[[str], Path]
) -> None:
    """The example's nodes drain for no time, so nothing is waited for, no lease either."""
    require("nginx")
    log = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    async with running("--redis", log, "--postgresql", await postgres.fresh()) as cluster:
        body = asking.demo(ANSWER, flush_interval_ms=0)
        maker = await harness.begin(cluster.port, body, cluster.access.items())
        path = f"{STREAMS}/{harness.stream_of(maker)}/events"
        await maker.until(asking.has(20))
        os.kill(cluster.pids[cluster.nodes[maker.headers["x-node"]]], signal.SIGTERM)
        told = await worker_processes.rest(maker)
        assert (told.clean, asking.kinds(told.body)[-1]) == (False, "reconnect")
        whole = await to_the_end(cluster, path, harness.durable(told.body))
        again = await worker_processes.rest(await cluster.get(path))
        assert whole == harness.durable(again.body)
        untouched = await cluster.finished()
    assert asking.content(whole) == asking.content(untouched.body)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is left")
async def test_with_servers_of_one_s_own_only_the_rest_is_started(
    valkey: redis_servers.Server, postgres: postgres_server.Server, require: Callable[[str], Path]
) -> None:
    require("nginx")
    require("curl")
    log = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    async with running("--redis", log, "--postgresql", await postgres.fresh()) as cluster:
        assert cluster.pids.keys() == {"node 1", "node 2", "nginx"}
        line = shlex.split(cluster.curl.replace("demo-slow", "demo-fast").replace("\\\n", " "))
        done = await processes.run(*line[1:], "-sS", command=("curl",))
        head, _, body = done.out.partition("\n\n")
        assert re.search("^X-Node: ", head, re.MULTILINE)
        assert asking.kinds(body.encode())[-1] == "complete"
        for name in ("node 1", "node 2"):
            os.kill(cluster.pids[name], signal.SIGKILL)
        async with asyncio.timeout(processes.PATIENCE):  # nobody is left to serve
            out, _ = await cluster.process.communicate()
        assert out.decode().count("has ended, code -9") == 2
        assert cluster.left() == []


async def test_what_is_missing_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    command = (sys.executable, "-S", *COMMAND)  # without what is installed
    done = await processes.run(command=command, folder=ROOT, env={"PATH": str(tmp_path)})
    assert (done.code, done.out) == (1, "")
    for name in ("Holdfast", "Valkey", "PostgreSQL"):
        assert re.search(f"^  {name}.*: pip install ", done.err, re.MULTILINE)


async def test_the_two_lines_of_the_environment_are_where_the_stores_are(tmp_path: Path) -> None:
    lines = (EXAMPLE / "holdfast.env").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    loaded = settings.load(EXAMPLE / "holdfast.toml", {}, given)
    stores = {"HOLDFAST_LOG__URL": loaded.log.url, "HOLDFAST_ARCHIVE__URL": loaded.archive.url}
    assert stores == given
