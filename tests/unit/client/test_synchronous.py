"""The synchronous client is the asynchronous one: no name, and no step, is missing or lost."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import Iterator

import pytest
from tests.unit.client import interrupting, scripted

from holdfast import client, errors
from holdfast.client import background, reading, synchronous

NOWHERE = "http://127.0.0.1:1"


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_it_has_the_same_names() -> None:
    assert public(client.Client) == public(client.AsyncClient)
    assert public(synchronous.AnswerStream) == public(reading.AnswerStream)


@pytest.mark.parametrize("name", sorted(public(client.AsyncClient) - {"close"}))
def test_methods_take_the_same(name: str) -> None:
    ours, theirs = getattr(client.Client, name), getattr(client.AsyncClient, name)
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert ours.__doc__ == theirs.__doc__
    assert not inspect.iscoroutinefunction(ours)


def test_the_constructor_takes_the_same_and_refuses_the_same() -> None:
    assert inspect.signature(client.Client) == inspect.signature(client.AsyncClient)
    before = threading.active_count()
    with pytest.raises(errors.InvalidField):
        client.Client("ftp://x")
    with pytest.raises(errors.SettingsError):
        client.Client("https://x", ca_file="/nowhere/ca.pem")
    assert threading.active_count() == before


def test_after_close_it_is_an_error_and_closing_twice_is_nothing() -> None:
    with client.Client(NOWHERE) as opened:
        answer = opened.resume(scripted.STREAM)
    opened.close()
    with pytest.raises(errors.ClientError, match="The client is closed"):
        opened.get(scripted.STREAM)
    with pytest.raises(errors.ClientError, match="The client is closed"):
        answer.__enter__()


def threads() -> int:
    return sum(thread.name == "holdfast client" for thread in threading.enumerate())


def test_one_that_nobody_holds_ends() -> None:
    made = client.Client(NOWHERE)
    answer = made.resume(scripted.STREAM)
    thread = made._loop._thread
    del made
    gc.collect()
    assert threads() == 1  # the answer holds it
    del answer
    gc.collect()
    thread.join(30)
    assert threads() == 0


class Server:
    """A scripted server in a thread."""

    def __init__(self, *scenes: scripted.Scene) -> None:
        self.loop = background.Background(self._close)
        self.server = scripted.Server(scripted.plain(), *scenes)
        self.loop.run(self.server.open)

    async def _close(self) -> None:
        await self.server.close()


@pytest.fixture
def stalled() -> Iterator[Server]:
    """Begins the answer, and then says no more."""
    story = scripted.plain()
    begun = [scripted.chunk(block) for block in story.blocks()[:3]]
    made = Server(scripted.holds(scripted.begin(), *begun))
    yield made
    made.loop.close()


def test_ctrl_c_leaves_the_answer_as_it_was(stalled: Server) -> None:
    with client.Client(stalled.server.url) as opened:
        with opened.stream(**scripted.PROMPT) as answer:
            seen = [next(answer) for _ in range(3)]
            for _ in range(2):
                with interrupting.interrupted(), pytest.raises(KeyboardInterrupt):
                    next(answer)
            with interrupting.interrupted(), pytest.raises(KeyboardInterrupt):
                answer.final()
            assert answer.position == seen[-1].position
        with opened.resume(answer.stream_id, after=answer.position) as again:
            seen += list(again)
    assert [event.seq for event in seen] == list(range(1, 9))


def test_ctrl_c_before_the_answer_begins() -> None:
    asked = threading.Event()  # before that the second request would meet what holds the first

    async def holds(connection: scripted.Connection) -> None:
        asked.set()
        await connection.gone()

    server = Server(holds)
    with client.Client(server.server.url) as opened:
        with interrupting.interrupted(asked), pytest.raises(KeyboardInterrupt):
            opened.stream(**scripted.PROMPT).__enter__()
        with opened.stream(**scripted.PROMPT) as answer:
            assert "".join(answer.text_stream) == "".join(scripted.TEXTS)
    server.loop.close()


def test_what_was_done_when_ctrl_c_came_is_the_next() -> None:
    """The wait is interrupted in the moment in which the step is over."""
    given = iter(range(3))
    begun = threading.Event()

    async def step() -> int:
        number = next(given)
        if number == 1:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return number
        return number

    async def close() -> None:
        pass

    loop = background.Background(close)
    steps = synchronous._Steps(loop, step)
    assert steps.next() == 0
    with interrupting.interrupted(begun), pytest.raises(KeyboardInterrupt):
        steps.next()
    assert [steps.next(), steps.next()] == [1, 2]
    loop.close()
