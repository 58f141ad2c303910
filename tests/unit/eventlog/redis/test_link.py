"""A link: every reply belongs to its question, every wait has a limit, and a failure is all's.

Strategy: a real Valkey, which is stopped, killed and started again. Patience and limits are made
small for the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import exceptions
from tests import redis_servers

from holdfast import errors
from holdfast.eventlog.redis import address, link, scripts

LIMIT = 15
"""Seconds after which a test is not waiting for the link any more."""


@contextlib.asynccontextmanager
async def linked(server: redis_servers.Server) -> AsyncIterator[link.Link]:
    where = address.Address((("127.0.0.1", server.port),), database=redis_servers.next_database())
    made = link.Link("here", functools.partial(where.open, where.hosts[0]))
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(LIMIT):
            yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def line(valkey: redis_servers.Server) -> AsyncIterator[link.Link]:
    async with linked(valkey) as made:
        yield made


@pytest.fixture
def own(valkey_program: Path, tmp_path: Path) -> Iterator[redis_servers.Server]:
    """A server that the test may stop."""
    server = redis_servers.alone(valkey_program, tmp_path)
    yield server
    server.stop()


def echo(word: str) -> link.Command:
    return ("ECHO", word)


async def echoed(made: link.Link) -> None:
    """It works."""
    assert await made.ask([echo("yes")]) == [b"yes"]


async def again(made: link.Link) -> None:
    """It works, after some calls that may still fail."""
    while True:
        with contextlib.suppress(errors.LogUnavailable):
            await echoed(made)
            return


async def test_each_caller_gets_the_replies_to_its_own_commands(line: link.Link) -> None:
    asked = [line.ask([echo(f"{n} {m}") for m in range(n % 4)]) for n in range(500)]
    for number, replies in enumerate(await asyncio.gather(*asked)):
        assert replies == [f"{number} {m}".encode() for m in range(number % 4)]


async def test_one_connection_serves_all(line: link.Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MAX_COMMANDS", 3)
    found = await asyncio.gather(*(line.ask([("CLIENT", "ID")]) for _ in range(50)))
    assert len({number for (number,) in found}) == 1
    assert line.broken == 0


async def test_what_gathers_goes_out_together(line: link.Link) -> None:
    """No caller waits for the replies of another that came at the same time."""
    await echoed(line)
    info = ("INFO", "stats")
    asked = [line.ask([("CLIENT", "PAUSE", 50, "ALL")]), *(line.ask([info]) for _ in range(200))]
    first, *rest = await asyncio.gather(*asked)
    assert first == [b"OK"]
    reads = {row for (said,) in rest for row in said.splitlines() if row.startswith(b"total_reads")}
    assert len(reads) <= 3


async def test_a_refusal_is_the_answer_of_its_own_caller(line: link.Link) -> None:
    first, wrong, last = await asyncio.gather(
        line.ask([echo("a")]),
        line.ask([echo("b"), ("NONSENSE",), echo("c")]),
        line.ask([echo("d")]),
    )
    assert (first, wrong[0], wrong[2], last) == ([b"a"], b"b", b"c", [b"d"])
    assert isinstance(wrong[1], exceptions.ResponseError)
    assert line.broken == 0


async def test_callers_that_go_away_leave_nothing_to_the_next(line: link.Link) -> None:
    for number in range(100):
        gone = [line.ask([echo(f"gone {number}")]) for _ in range(5)]
        stays = line.ask([echo(f"stays {number}")])
        if number % 3:
            await asyncio.sleep(0)  # some are on their way, others have not left
        for future in gone:
            future.cancel()
        assert await stays == [f"stays {number}".encode()]
    assert line.broken == 0


async def test_so_much_may_wait(line: link.Link, monkeypatch: pytest.MonkeyPatch) -> None:
    await echoed(line)
    monkeypatch.setattr(link, "WAITING", 1000)
    large = line.ask([echo("x" * 5000)])  # alone it may be more
    with pytest.raises(errors.LogUnavailable, match="bytes wait"):
        line.ask([echo("y")])
    assert await large == [b"x" * 5000]
    some = [line.ask([echo("z" * 300)]) for _ in range(3)]
    with pytest.raises(errors.LogUnavailable, match="bytes wait"):
        line.ask([echo("z" * 300)])
    assert await asyncio.gather(*some) == 3 * [[b"z" * 300]]
    await echoed(line)


async def test_a_server_that_stands_still_is_waited_for_so_long(
    own: redis_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    async with linked(own) as made:
        await echoed(made)
        own.signal(signal.SIGSTOP)
        asked = [made.ask([echo(word)]) for word in "abc"]
        for one in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(one, errors.LogUnavailable)
            assert one.message == "Redis at here: no answer for 0.3 s."
        assert made.broken == 1
        with pytest.raises(errors.LogUnavailable):  # also where no connection is made
            await made.ask([echo("d")])
        own.signal(signal.SIGCONT)
        await again(made)


async def test_late_answers_are_never_taken_for_others(
    own: redis_servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    async with linked(own) as made:
        await made.ask([("SET", "a", "of a"), ("SET", "b", "of b")])
        own.signal(signal.SIGSTOP)
        with pytest.raises(errors.LogUnavailable):
            await made.ask([("GET", "a")])
        own.signal(signal.SIGCONT)
        await again(made)
        assert await made.ask([("GET", "b")]) == [b"of b"]


@pytest.mark.parametrize("size", [3_000_000, 30_000_000], ids=["kernel", "process"])
async def test_what_had_not_arrived_is_not_sent_later(
    own: redis_servers.Server, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Of 3 MB the kernel has taken what the server has no room for, of 30 MB not even that."""
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    async with linked(own) as made:
        (name,) = await made.ask([("CLIENT", "ID")])
        assert made._connection is not None
        assert made._connection._writer is not None
        sock = made._connection._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        own.signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, own.process.pid, os.WSTOPPED)
        with pytest.raises(errors.LogUnavailable):
            await made.ask([("SET", "late", "x" * size)])
        own.signal(signal.SIGCONT)
        own_clients = functools.partial(own.do, "CLIENT", "LIST", "ID", name)
        await asyncio.to_thread(redis_servers.wait_for, lambda: not own_clients(), "the end of it")
        await again(made)
        assert await made.ask([("EXISTS", "late")]) == [0]


async def test_the_end_of_a_server_is_told_to_all_and_its_return_found(
    own: redis_servers.Server,
) -> None:
    async with linked(own) as made:
        await echoed(made)
        own.signal(signal.SIGSTOP)
        asked = [made.ask([echo(word)]) for word in "abc"]
        await asyncio.sleep(0)
        own.signal(signal.SIGKILL)  # it answers nothing before
        own.stop()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in found} == {errors.LogUnavailable}
        with pytest.raises(errors.LogUnavailable, match=r"^Redis at here: .*[^.]\.$"):
            await made.ask([echo("d")])
        await asyncio.to_thread(own.start)
        await again(made)


async def test_scripts_that_a_server_has_forgotten_are_loaded_again(
    own: redis_servers.Server,
) -> None:
    call = scripts.CANCEL.call((b"{nothing}",), b"channel", b"message")
    async with linked(own) as made:
        assert await made.ask([call]) == [0]
        own.do("SCRIPT", "FLUSH")
        ((first, kept), second) = await asyncio.gather(
            made.ask([call, echo("kept")]), made.ask([call])
        )
        assert isinstance(first, exceptions.NoScriptError)
        assert isinstance(second[0], exceptions.NoScriptError)
        assert kept == b"kept"
        assert await made.ask([call]) == [0]


async def test_a_link_that_is_closed_keeps_nobody_waiting(own: redis_servers.Server) -> None:
    async with linked(own) as made:
        await echoed(made)
        own.signal(signal.SIGSTOP)
        sent = made.ask([echo("a")])
        await asyncio.sleep(0)
        waits = made.ask([echo("b")])
    async with asyncio.timeout(LIMIT):
        for one in (sent, waits):
            with pytest.raises(errors.LogUnavailable, match="closed"):
                await one
    with pytest.raises(errors.LogUnavailable, match="not open"):
        made.ask([echo("c")])
