"""A command's event loop, while the system looks up a name for long."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import structlog

from holdfast import errors
from holdfast.cli import running


def test_a_look_up_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, over = threading.Event(), threading.Event()

    def look_up(*args: object, **options: object) -> list[object]:
        go_on.wait(10)
        over.set()
        return []

    async def work() -> str:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await loop.getaddrinfo("host.example", 80)
        return "done"

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert running.run(work()) == "done"
    assert not over.is_set()
    go_on.set()
    assert over.wait(10)


def test_what_a_call_gives_and_raises_is_the_caller_s() -> None:
    async def work() -> int:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="x"):
            await loop.run_in_executor(None, int, "x")
        return await loop.run_in_executor(None, int, "7")

    assert running.run(work()) == 7


def test_a_call_that_was_cancelled_before_it_began_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: waiting.append(thread))
    made: list[int] = []
    future = running._Daemons().submit(made.append, 1)
    assert future.cancel()
    waiting[0].run()
    assert made == []


def test_what_is_raised_ends_it() -> None:
    async def work() -> None:
        raise errors.GaveUp

    with pytest.raises(errors.GaveUp):
        running.run(work())


@pytest.fixture
def unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def test_what_is_logged_is_no_part_of_what_a_command_prints(
    unconfigured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        structlog.get_logger("holdfast").info("store_vacuumed")
        print("{}")

    running.run(work())
    out, err = capsys.readouterr()
    assert out == "{}\n"
    assert "store_vacuumed" in err
