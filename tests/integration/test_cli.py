"""The command line, as processes: what it prints, how it fails, how it stops.

Strategy: every complaint is one line on stderr, with exit code 1 and no traceback; the cases are a
table. A stop is looked at from a reader's side: what came, and how it ended.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import asking, harness, processes, raw_sockets

import holdfast
from holdfast import client, events

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAIN = ("--log-url", "memory://")


def check_failed(done: processes.Done, code: str, *words: str) -> None:
    """One readable line on stderr."""
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("holdfast: ")
    assert line.endswith(f" [{code}]")
    for word in words:
        assert word in line
    assert len(line) < 500


# Help


async def test_help_shows_examples() -> None:
    commands = ("serve", "demo", "ask", "tail")
    helps = await asyncio.gather(*(processes.run(command, "--help") for command in commands))
    for command, done in zip(commands, helps, strict=True):
        assert (done.code, done.err) == (0, "")
        usage, examples = done.out.split("\nExamples:\n")
        assert f"{command} [OPTIONS]" in usage
        assert examples.startswith(f"  holdfast {command}")


async def test_help_lists_the_commands_and_the_version_is_told() -> None:
    helped, version = await asyncio.gather(processes.run("--help"), processes.run("--version"))
    assert helped.code == 0
    for command in ("serve", "demo", "ask", "tail", "streams", "config", "completion"):
        assert f"\n  {command} " in helped.out
    assert version.out == f"holdfast, version {holdfast.__version__}\n"


async def test_a_wrong_command_is_told_with_exit_code_2() -> None:
    wrong = (("sevre",), ("serve", "--prot", "1"), ("ask",))
    for done in await asyncio.gather(*(processes.run(*args) for args in wrong)):
        assert (done.code, done.out) == (2, "")
        assert "Error: " in done.err
        assert "Traceback" not in done.err


# What keeps a server from starting


def config(text: str) -> Callable[[Path], tuple[str, ...]]:
    def prepare(folder: Path) -> tuple[str, ...]:
        (folder / "holdfast.toml").write_text(text)
        return ()

    return prepare


def log_in_no_folder(folder: Path) -> tuple[str, ...]:
    return ("--log-url", f"sqlite:///{folder}/missing/log.db")


def log_is_a_folder(folder: Path) -> tuple[str, ...]:
    (folder / "log.db").mkdir()
    return ("--log-url", f"sqlite:///{folder}/log.db")


def log_is_no_database(folder: Path) -> tuple[str, ...]:
    (folder / "log.db").write_bytes(b"This is a letter to my grandmother.\n" * 100)
    return ("--log-url", f"sqlite:///{folder}/log.db")


def log_is_another_database(folder: Path) -> tuple[str, ...]:
    with sqlite3.connect(folder / "log.db") as db:
        db.execute("CREATE TABLE letters (text TEXT)")
    db.close()
    return ("--log-url", f"sqlite:///{folder}/log.db")


def log_is_damaged(folder: Path) -> tuple[str, ...]:
    with sqlite3.connect(folder / "log.db") as db:
        db.executescript("CREATE TABLE a (b); INSERT INTO a VALUES (zeroblob(40000));")
    db.close()
    whole = (folder / "log.db").read_bytes()
    (folder / "log.db").write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    return ("--log-url", f"sqlite:///{folder}/log.db")


def no_such_config(folder: Path) -> tuple[str, ...]:
    return ("--config", str(folder / "missing.toml"))


CANNOT_START: dict[str, tuple[Callable[[Path], tuple[str, ...]], str, str]] = {
    "log in no folder": (log_in_no_folder, "log_unavailable", "missing/log.db"),
    "log is a folder": (log_is_a_folder, "log_unavailable", "log.db"),
    "log is no database": (log_is_no_database, "log_corrupt", "log.db"),
    "log of another program": (log_is_another_database, "log_corrupt", "not an event log"),
    "log is damaged": (log_is_damaged, "log_corrupt", "log.db"),
    "log of no engine": (lambda _: ("--log-url", "kafka://x"), "settings_error", "kafka"),
    "log where no Redis is": (
        lambda _: ("--log-url", "redis://:secret@127.0.0.1:1"),
        "log_unavailable",
        "Redis at 127.0.0.1:1",
    ),
    "no such file": (no_such_config, "settings_error", "missing.toml"),
    "unknown key": (config("[server]\nprot = 1\n"), "unknown_setting", "server.port"),
    "unknown table": (config("[sever]\nport = 1\n"), "unknown_setting", "sever.port"),
    "no TOML": (config("[server\nport = 1\n"), "settings_error", "line 1"),
    "wrong value": (config('[log]\nretention = "long"\n'), "settings_error", "log.retention"),
    "no such kind": (
        config('[providers.a]\nkind = "oracle"\n'),
        "settings_error",
        "providers.a.kind",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def not_started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, processes.Done]:
    """How each of them ended; they are started side by side, as a start takes a while."""
    slots = asyncio.Semaphore(4)

    async def start(prepare: Callable[[Path], tuple[str, ...]]) -> processes.Done:
        folder = tmp_path_factory.mktemp("start")
        async with slots:
            return await processes.run("serve", "--port", "0", *prepare(folder), folder=folder)

    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(start(prepare))
            for name, (prepare, _, _) in CANNOT_START.items()
        }
    return {name: task.result() for name, task in tasks.items()}


@pytest.mark.parametrize("case", CANNOT_START)
async def test_what_keeps_a_server_from_starting_is_one_line(
    case: str, not_started: dict[str, processes.Done]
) -> None:
    _, code, word = CANNOT_START[case]
    check_failed(not_started[case], code, word)


async def test_a_variable_that_is_no_setting_is_one_line(tmp_path: Path) -> None:
    env = {"HOLDFAST_SERVER__PROT": "1"}
    done = await processes.run("serve", *PLAIN, folder=tmp_path, env=env)
    check_failed(done, "unknown_setting", "HOLDFAST_SERVER__PROT", "HOLDFAST_SERVER__PORT")


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = await processes.run("serve", "--port", port, *PLAIN, folder=tmp_path)
        check_failed(done, "port_taken", f"127.0.0.1:{port}", "--port")


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.1"])
async def test_an_address_that_is_not_ours_is_one_line(host: str, tmp_path: Path) -> None:
    done = await processes.run("serve", "--host", host, "--port", "0", *PLAIN, folder=tmp_path)
    check_failed(done, "port_taken", host)


async def test_a_log_that_another_process_owns_is_one_line(tmp_path: Path) -> None:
    log = ("--log-url", f"sqlite:///{tmp_path}/log.db")
    async with processes.serving(*log, folder=tmp_path) as server:
        done = await processes.run("serve", "--port", "0", *log, folder=tmp_path)
        check_failed(done, "log_locked", "log.db", f"process {server.process.pid}")
        assert (await harness.ask(server.port, "GET", "/readyz")).status == 200


def no_room() -> None:
    """As on a full disk: no file may grow over 8 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


async def test_a_disk_without_room_is_one_line(tmp_path: Path) -> None:
    log = ("--log-url", f"sqlite:///{tmp_path}/log.db")
    done = await processes.run("serve", "--port", "0", *log, folder=tmp_path, preexec_fn=no_room)
    check_failed(done, "log_unavailable", "log.db")


# Stopping


@pytest.mark.parametrize(("how", "log"), [(signal.SIGINT, "memory"), (signal.SIGTERM, "sqlite")])
async def test_a_signal_with_open_streams_ends_it_in_order(
    how: signal.Signals, log: str, tmp_path: Path
) -> None:
    url = "memory://" if log == "memory" else f"sqlite:///{tmp_path}/log.db"
    env = {"HOLDFAST_SERVER__DRAIN_TIMEOUT": "0"}
    async with processes.serving("--log-url", url, folder=tmp_path, env=env) as server:
        readers = [await asking.stalled(server.port) for _ in range(5)]
        deaf = raw_sockets.deaf(server.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET")
        done = await server.end(how)
        deaf.close()
        for reader in readers:
            answer = await reader.rest()
            assert not answer.clean
            assert answer.blocks[-1].startswith(b"event: reconnect\nretry: ")
            assert b'"reason":"draining"' in answer.blocks[-1]
    assert (done.code, done.out) == (0, "")
    assert "Traceback" not in done.err
    assert " error" not in done.err.lower()
    assert "node_stopped" in done.err
    if log == "sqlite":
        assert not (tmp_path / "log.db-wal").exists()  # closed as SQLite closes


async def test_a_demo_starts_without_any_file_and_says_what_to_try(tmp_path: Path) -> None:
    async with processes.serving(command="demo", folder=tmp_path) as server:
        whole = await asking.finished(server.port)
        assert asking.kinds(whole.body)[-1] == "complete"
        done = await server.end(signal.SIGINT)
    assert done.code == 0
    assert f"curl -N {server.url}/v1/streams" in done.err
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []


async def test_a_killed_server_s_streams_go_on_at_its_next_start(tmp_path: Path) -> None:
    """A client of ours that was attached reads to the end, and nothing twice."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    log = ("--log-url", f"sqlite:///{tmp_path}/log.db", "--port", port)
    async with (
        client.AsyncClient(f"http://127.0.0.1:{port}") as reader,
        processes.serving(*log, folder=tmp_path) as server,
        reader.stream(model="demo", prompt="x\n/demo rate=20 tokens=30") as answer,
    ):
        seen = [await anext(answer)]
        while seen[-1].kind != "chunk":
            seen.append(await anext(answer))
        assert (await server.end(signal.SIGKILL)).code == -signal.SIGKILL
        async with processes.serving(*log, folder=tmp_path) as again:
            seen += [event async for event in answer]
            assert (await again.end(signal.SIGTERM)).code == 0
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert isinstance(seen[-1].body, events.Complete)
    assert sum(isinstance(event.body, events.Adopted) for event in seen) == 1


# Asking


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[processes.Server]:
    """One that answers all questions."""
    folder = tmp_path_factory.mktemp("asked")
    env = {"HOLDFAST_FALLBACK__DELAY": "0"}  # nobody waits for a call that is made again
    async with processes.serving(*PLAIN, folder=folder, env=env) as running:
        yield running


async def ask(server: processes.Server, *args: str, stdin: bytes = b"") -> processes.Done:
    return await processes.run("ask", "--url", server.url, *args, stdin=stdin)


async def test_ask_prints_the_answer_and_nothing_else(server: processes.Server) -> None:
    whole = await asking.finished(server.port, "tokens=20 unicode=1")
    prompt = "What is a holdfast?\n/demo rate=10000 tokens=20 unicode=1"
    done = await ask(server, prompt)
    assert (done.code, done.out) == (0, asking.content(whole.body) + "\n")
    (line,) = done.err.splitlines()
    assert line.startswith(f"[{len(done.out.encode()) - 1} bytes in ")
    quiet = await ask(server, "--quiet", prompt)
    assert (quiet.code, quiet.out, quiet.err) == (0, done.out, "")


async def test_ask_reads_the_prompt_from_stdin(server: processes.Server) -> None:
    said = "Kelp 🌊\n/demo rate=10000 tokens=4".encode()
    done = await ask(server, "--quiet", "-", stdin=said)
    assert (done.code, done.out, done.err) == (0, "You asked: “Kelp 🌊”\n", "")


async def test_ask_takes_a_model_and_a_system_message(server: processes.Server) -> None:
    done = await ask(server, "--quiet", "--model", "demo/x", "--system", "/demo refuse=1", "Hm")
    assert (done.code, done.out, done.err) == (0, "\n", "")
    listed = await harness.ask(server.port, "GET", "/v1/streams?limit=1")
    (entry,) = listed.json()["streams"]
    assert entry["model"] == "x"


ASKED_WRONG = {
    "an error in the answer": ("demo", "/demo rate=1000 tokens=3 error_at=2", "provider_failed"),
    "a refusal of the provider": ("demo", "/demo status=429", "provider_rate_limited"),
    "an unknown model": ("nothing", "Hello", "unknown_model"),
    "a wrong option": ("demo", "/demo speed=1", "invalid_field"),
}


@pytest.mark.parametrize(("model", "prompt", "code"), ASKED_WRONG.values(), ids=ASKED_WRONG)
async def test_ask_tells_an_error_in_one_line(
    model: str, prompt: str, code: str, server: processes.Server
) -> None:
    done = await ask(server, "--model", model, prompt)
    # The calls that failed before stand above it.
    *calls, last = done.err.splitlines(keepends=True)
    assert all(line.startswith("[attempt ") for line in calls)
    check_failed(processes.Done(done.code, "", last), code)
    assert len(done.out.split()) == (2 if "error_at" in prompt else 0)


async def test_ask_can_be_interrupted(server: processes.Server) -> None:
    """The answer goes on without it."""
    args = ("ask", "--url", server.url, "/demo rate=1000 tokens=5 stall_at=4")
    pipe = asyncio.subprocess.PIPE
    asked = await asyncio.create_subprocess_exec(
        *processes.COMMAND, *args, env=processes.environment(), stdout=pipe, stderr=pipe
    )
    assert asked.stdout is not None
    async with asyncio.timeout(processes.PATIENCE):
        assert await asked.stdout.read(1)
        asked.send_signal(signal.SIGINT)
        _, err = await asked.communicate()
    listed = await harness.ask(server.port, "GET", "/v1/streams?status=streaming")
    (entry,) = listed.json()["streams"]
    reads_on = f"tail --url {server.url} {entry['id']}"
    said = f"[the answer goes on: holdfast {reads_on}]\n"
    assert (asked.returncode, err.decode()) == (130, said)
    # What was said works as it was said, wherever the server is.
    await harness.ask(server.port, "POST", f"/v1/streams/{entry['id']}/cancel")
    done = await processes.run(*reads_on.split())
    check_failed(processes.Done(done.code, "", done.err), "cancelled")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://127.0.0.1:{port}", "`holdfast serve`"),
        ("http://nowhere.invalid", "--url"),
        ("localhost:8080", "--url (HOLDFAST_URL)"),
    ],
)
async def test_ask_without_a_server_gives_up_at_once(url: str, hint: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = await processes.run("ask", "--url", url.format(port=port), "Hello", folder=tmp_path)
    code = "gave_up" if "//" in url else "invalid_field"
    check_failed(done, code, hint)


async def test_the_script_is_installed() -> None:
    """Where the package is installed, `holdfast` is this command."""
    script = shutil.which("holdfast", path=os.path.dirname(sys.executable))
    if script is None:
        pytest.skip("the package is not installed here")
    done = await processes.run("--version", command=(script,))
    assert done.out == f"holdfast, version {holdfast.__version__}\n"
