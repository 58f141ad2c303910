"""What only a process shows of the client's commands: pipes that close, terminals, Ctrl-C.

Strategy: the server is in this process. A terminal is a pseudo-terminal's slave as stdout; what
its master reads is what a person would see.
"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import asking, harness, processes

from holdfast import client

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIPE = asyncio.subprocess.PIPE

PIPE_SIZE = 1 << 16
"""Bytes that Linux keeps in a pipe that nobody reads."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running


async def answer(server: harness.Running, prompt: str) -> str:
    """Its id, once it is complete."""
    async with (
        client.AsyncClient(server.url) as asked,
        asked.stream(model="demo", prompt=prompt) as stream,
    ):
        await stream.final()
        return stream.stream_id


async def begin(
    server: harness.Running, *args: str, stdout: int = PIPE
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *processes.COMMAND,
        *args,
        env=processes.environment({"HOLDFAST_URL": server.url}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=PIPE,
    )


@pytest.mark.parametrize("option", ["--quiet", "--json"])
async def test_a_pipe_that_is_closed_ends_it_quietly(option: str, server: harness.Running) -> None:
    """As `| head -c 1` does it. The answer is larger than the pipe."""
    stream = await answer(server, "/demo tokens=20000 rate=100000")
    shown = (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()
    assert shown["length"] > PIPE_SIZE
    reading, writing = os.pipe()
    tail = await begin(server, "tail", option, stream, stdout=writing)
    os.close(writing)
    async with asyncio.timeout(processes.PATIENCE):
        assert await asyncio.to_thread(os.read, reading, 1)
        os.close(reading)
        _, err = await tail.communicate()
    assert (tail.returncode, err) == (1, b"")


async def test_the_list_too(server: harness.Running) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    listed = await begin(server, "streams", "list", stdout=writing)
    os.close(writing)
    async with asyncio.timeout(processes.PATIENCE):
        _, err = await listed.communicate()
    assert (listed.returncode, err) == (1, b"")


CLOSED = "There is no stdout to write to: it is closed."
FULL = "stdout cannot be written: No space left on device."


@pytest.mark.parametrize("option", ["--reasoning", "--json"])
@pytest.mark.parametrize(("where", "why"), [(">&-", CLOSED), ("> /dev/full", FULL)])
async def test_a_stdout_that_takes_nothing_is_one_line(
    where: str, why: str, option: str, server: harness.Running
) -> None:
    """As a shell redirects it."""
    line = f'"$0" "$@" {where}'
    ask = ("ask", "--url", server.url, "--quiet", option, "/demo tokens=4 rate=1000")
    done = await processes.run("-c", line, *processes.COMMAND, *ask, command=("sh",))
    assert (done.code, done.out, done.err) == (1, "", f"holdfast: {why} [client_error]\n")


async def test_ctrl_c_ends_the_reader_alone(server: harness.Running) -> None:
    reader = await asking.stalled(server.port)
    (stream,) = [
        row["id"]
        for row in (await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"]
        if row["status"] == "streaming"
    ]
    tail = await begin(server, "tail", stream)
    assert tail.stdout is not None
    async with asyncio.timeout(processes.PATIENCE):
        assert await tail.stdout.read(1)
        tail.send_signal(signal.SIGINT)
        _, err = await tail.communicate()
    assert (tail.returncode, err) == (130, b"")
    shown = (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()
    assert shown["status"] == "streaming"
    cancelled = await begin(server, "streams", "cancel", stream)
    async with asyncio.timeout(processes.PATIENCE):
        out, _ = await cancelled.communicate()
    assert out.decode() == f"{stream} cancelled\n"
    await reader.close()


async def on_a_terminal(server: harness.Running, *args: str) -> tuple[int, str]:
    """The exit code, and what a person sees of stdout."""
    master, slave = pty.openpty()
    try:
        process = await begin(server, *args, stdout=slave)
        os.close(slave)
        async with asyncio.timeout(processes.PATIENCE):
            seen = await asyncio.to_thread(_all, master)
            code = await process.wait()
            await process.communicate()
    finally:
        os.close(master)
    return code, seen.replace("\r\n", "\n")


def _all(master: int) -> str:
    """Reads until nobody holds the terminal, which Linux tells with EIO."""
    found = b""
    try:
        while data := os.read(master, 1 << 16):
            found += data
    except OSError:
        pass
    return found.decode()


async def test_a_terminal_is_not_commanded_by_an_answer(server: harness.Running) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    stream = await answer(server, f"{evil}\n/demo tokens=4 rate=1000")
    piped = await processes.run("tail", "--url", server.url, "--quiet", stream)
    assert evil in piped.out
    harmless = evil.translate({ord(each): "\ufffd" for each in "\x1b\x07\x9b"})
    for command in (
        ["tail"],
        ["tail", "--json"],
        ["streams", "show"],
        ["streams", "show", "--json"],
    ):
        code, seen = await on_a_terminal(server, *command, stream)
        assert code == 0
        if "--json" not in command:
            assert piped.out.replace(evil, harmless) in seen
        assert not set(seen) & {"\x1b", "\x07", "\x9b"}


async def test_from_the_moment_it_says_so_a_server_ends_as_it_should(tmp_path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(*processes.COMMAND, "serve", "--port", "0", "--log-url", "memory://"),
        cwd=tmp_path,
        env=processes.environment(),
        stdout=pipe,
        stderr=pipe,
    )
    async with asyncio.timeout(processes.PATIENCE):
        await processes.announced(process)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
