"""`holdfast serve --workers 2`: two processes that answer as one, and how they end.

Strategy: real processes, with a Valkey of their own that keeps nothing. A test that must know which
worker it talks to looks at the kernel's list of sockets (`worker_processes`). What keeps such a
server from starting, and what it keeps, is in test_workers_starting.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import os
import pty
import re
import signal
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import parser
from tests.integration import asking, harness, processes, worker_processes

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is whose"),
    pytest.mark.usefixtures("valkey_program"),
]

READS = 100 * int(os.environ.get("HOLDFAST_ROUNDS", "2"))
AT_ONCE = 20

LONG = {"HOLDFAST_SERVER__DRAIN_TIMEOUT": "3600"}
"""A drain that no test has the patience for."""

ANSWER = asking.demo("tokens=30 rate=40", flush_interval_ms=0)
"""An answer that takes a good half second."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def group(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[worker_processes.Group]:
    folder = tmp_path_factory.mktemp("workers")
    # Nobody reads what it says, and a full pipe would hold it up.
    env = {"HOLDFAST_MONITORING__LOG_LEVEL": "warning"}
    async with worker_processes.serving(folder=folder, env=env) as running:
        yield running


def check_whole(whole: harness.Response) -> None:
    """It ended cleanly, and is what its end says."""
    assert (whole.status, whole.clean) == (200, True)
    assert asking.kinds(whole.body)[-1] == "complete"
    end = harness.said(whole.body)[-1].data
    text = asking.content(whole.body).encode()
    assert (end["length"], end["sha256"]) == (len(text), hashlib.sha256(text).hexdigest())
    numbers = [int(one.id.rpartition("-")[2]) for one in harness.said(whole.body) if one.id]
    assert numbers == list(range(1, len(numbers) + 1))


# As one


async def test_a_reader_on_one_worker_has_what_another_writes(
    group: worker_processes.Group,
) -> None:
    """Again and again, as it comes and afterwards, on connections that have just been made; with
    HOLDFAST_ROUNDS=10 a thousand times."""
    one, other = await group.two()
    slots = asyncio.Semaphore(AT_ONCE)

    async def read(number: int) -> str:
        writing, reading = (one, other) if number % 2 else (other, one)
        options = f"tokens={5 + number % 7} unicode=1"
        body = asking.demo(options, f"Number {number}", flush_interval_ms=0)
        async with slots:
            begun = await group.begin(writing, body)
            stream = harness.stream_of(begun)
            read = await group.ask(reading, "GET", f"/v1/streams/{stream}/events")
            had = await worker_processes.rest(begun)
        check_whole(read)
        assert had.clean
        assert read.body == had.body
        return stream

    async with asyncio.TaskGroup() as all_of_them:
        streams = [all_of_them.create_task(read(number)) for number in range(READS)]
    assert len({one.result() for one in streams}) == READS


async def test_a_worker_lists_shows_and_cancels_what_another_writes(
    group: worker_processes.Group,
) -> None:
    one, other = await group.two()
    reader = await group.begin(one, asking.STALLED)
    stream = harness.stream_of(reader)
    await reader.until(lambda reader: len(asking.content(bytes(reader.body)).split()) >= 2)
    listed = await group.ask(other, "GET", "/v1/streams?status=streaming")
    assert [row["id"] for row in listed.json()["streams"]] == [stream]
    shown = await group.ask(other, "GET", f"/v1/streams/{stream}")
    assert shown.json()["content"] == asking.content(bytes(reader.body))
    cancelled = await group.ask(other, "POST", f"/v1/streams/{stream}/cancel")
    assert cancelled.status in (200, 202)
    end = harness.said((await worker_processes.rest(reader)).body)[-1]
    assert (end.event, end.data["code"]) == ("error", "cancelled")


# One ends


async def started(group: worker_processes.Group, worker: int) -> dict[str, float]:
    """What this worker tells Prometheus that each has begun, by their numbers."""
    page = (await group.ask(worker, "GET", "/metrics")).body.decode()
    families = {one.name: one for one in parser.text_string_to_metric_families(page)}
    counted = families["holdfast_streams_started"].samples
    return {one.labels["worker"]: one.value for one in counted}


async def test_a_worker_that_is_killed_is_replaced_and_the_other_goes_on(tmp_path: Path) -> None:
    async with worker_processes.serving(folder=tmp_path) as group:
        one, other = await group.two()
        check_whole(await worker_processes.rest(await group.begin(one, asking.demo("tokens=1"))))
        reader = await group.begin(other, ANSWER)
        first, second = (str(group.workers.index(pid)) for pid in (one, other))
        assert await started(group, one) == await started(group, other) == {first: 1, second: 1}
        os.kill(one, signal.SIGKILL)
        check_whole(await worker_processes.rest(reader))
        await worker_processes.until(
            lambda: len(group.workers) == 2 and one not in group.workers, "another worker"
        )
        assert other in await group.two()
        # The new one goes on with the number of the old one, and each with its own count.
        assert await started(group, other) == {first: 0, second: 1}
        done = await group.server.end(signal.SIGTERM)
    assert done.code == 0
    assert [done.err.count(word) for word in ("warning: ", " serves ", "worker_ended")] == [1] * 3
    assert "code=-9" in done.err


async def test_a_worker_that_is_told_to_end_drains_and_is_replaced(tmp_path: Path) -> None:
    """So that a server is renewed worker by worker; and what a worker undoes is its own alone."""
    async with worker_processes.serving(folder=tmp_path) as group:
        one, other = await group.two()
        reader = await group.begin(one, ANSWER)
        os.kill(one, signal.SIGTERM)
        check_whole(await worker_processes.rest(reader))
        await worker_processes.until(lambda: one not in group.workers, "its end")
        await worker_processes.until(lambda: len(group.workers) == 2, "another worker")
        assert other in await group.two()
        assert (await group.server.end(signal.SIGTERM)).code == 0


async def test_without_its_valkey_the_server_says_so_and_ends(tmp_path: Path) -> None:
    """No worker waits for an answer that cannot be written any more."""
    async with worker_processes.serving(folder=tmp_path, env=LONG) as group:
        one, other = await group.two()
        reader = await group.begin(one, asking.STALLED)
        os.kill(group.valkey, signal.SIGKILL)
        assert not (await worker_processes.rest(reader)).clean
        async with asyncio.timeout(processes.PATIENCE):
            _, err = await group.server.process.communicate()
        assert group.server.process.returncode == 1
        assert worker_processes.is_gone(one)
        assert worker_processes.is_gone(other)
        assert os.listdir(group.home) == []
    last = err.decode().splitlines()[-1]
    assert last == "holdfast: Valkey has ended with code -9. [log_unavailable]"
    assert "Traceback" not in err.decode()


# All end


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_drains_all_and_leaves_nothing(how: signal.Signals, tmp_path: Path) -> None:
    async with worker_processes.serving(folder=tmp_path, env=LONG) as group:
        both = await group.two()
        readers = [await group.begin(one, ANSWER) for one in both]
        every = worker_processes.children(group.pid)
        group.server.process.send_signal(how)
        said = await group.server.more(2)
        told = re.findall(r" draining worker=(\d) node=(\w+) ", said)
        assert sorted(number for number, _ in told) == ["0", "1"]
        assert len({node for _, node in told}) == 2
        # The answers are under way, and no newcomer is left waiting for somebody to take the call.
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", group.port)
        for reader in readers:
            check_whole(await worker_processes.rest(reader))
        async with asyncio.timeout(processes.PATIENCE):
            _, err = await group.server.process.communicate()
        assert group.server.process.returncode == 0
        assert all(map(worker_processes.is_gone, every))
        assert os.listdir(group.home) == []
    stopped = re.findall(r" node_stopped worker=(\d) node=(\w+) ", err.decode())
    assert sorted(stopped) == sorted(told)  # although the log is closed by then
    assert "error" not in said + err.decode()


async def test_a_second_signal_hurries_all(tmp_path: Path) -> None:
    async with worker_processes.serving(folder=tmp_path, env=LONG) as group:
        readers = [await group.begin(one, asking.STALLED) for one in await group.two()]
        group.server.process.send_signal(signal.SIGTERM)
        assert (await group.server.more(2)).count(" draining ") == 2
        done = await group.server.end(signal.SIGTERM)
        assert done.code == 0
        for reader in readers:
            whole = await worker_processes.rest(reader)
            assert not whole.clean
            assert asking.kinds(asking.without_retry(whole.body))[-1] == "reconnect"


async def test_a_parent_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    env = {"HOLDFAST_SERVER__DRAIN_TIMEOUT": "0.5"}
    async with worker_processes.serving(folder=tmp_path, env=env) as group:
        reader = await group.begin((await group.two())[0], asking.STALLED)
        every = worker_processes.children(group.pid)
        assert len(every) == 3
        group.server.process.kill()
        await worker_processes.until(
            lambda: all(map(worker_processes.is_gone, every)), "the end of its children"
        )
        assert not (await worker_processes.rest(reader)).clean


# At a terminal


class Screen:
    """What a person sees."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._seen = b""

    async def until(self, pattern: bytes) -> re.Match[bytes]:
        """Reads on until this is there."""
        async with asyncio.timeout(processes.PATIENCE):
            while not (found := re.search(pattern, self._seen)):
                self._seen += await asyncio.to_thread(os.read, self._master, 1 << 16)
        return found


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal that stops whoever writes to it from the background."""
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] |= termios.TOSTOP
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    try:
        yield master, slave
    finally:
        os.close(master)


def lead(slave: int) -> None:
    """Makes this process the first of a session that has the terminal."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


async def test_ctrl_c_at_a_terminal_drains_once(tmp_path: Path) -> None:
    """It goes to all processes in the foreground."""
    with worker_processes.temporary() as home, terminal() as (master, slave):
        process = await asyncio.create_subprocess_exec(
            *processes.COMMAND,
            *("serve", "--port", "0", "--workers", "2", "--log-url", "memory://"),
            cwd=tmp_path,
            env=processes.environment({"TMPDIR": str(home), **LONG}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=functools.partial(lead, slave),
        )
        os.close(slave)
        screen = Screen(master)
        port = int((await screen.until(rb"serves http://127\.0\.0\.1:(\d+), log "))[1])
        group = worker_processes.Group(processes.Server(process, port, ""), home)
        readers = [await group.begin(one, ANSWER) for one in await group.two()]
        os.write(master, b"\x03")
        await screen.until(rb"(?s) draining .* draining ")
        for reader in readers:
            check_whole(await worker_processes.rest(reader))
        await screen.until(rb"(?s) node_stopped .* node_stopped ")
        async with asyncio.timeout(processes.PATIENCE):
            assert await process.wait() == 0
        assert os.listdir(home) == []
        group.hang_up()
