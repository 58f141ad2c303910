"""A connection that has served before: what its silence, and its loop's end, may do to a client.

Strategy: the server answers once and then holds the connection. Where the client is asynchronous
its deadline is simulated; the synchronous one has a real and short one, in a thread that is
joined with a limit, so that a client without a deadline fails and does not hang.
"""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from tests.unit.client import scripted
from tests.unit.client.test_synchronous import Server

from holdfast import client, errors
from holdfast.testing import simulated

GUARD = 30.0  # seconds
GOOD = scripted.refusal(200, b'{"a": 1}')


def keeps(answer: bytes) -> scripted.Scene:
    """Sends this answer, reads the next request, and answers it never."""

    async def scene(connection: scripted.Connection) -> None:
        await connection.send(answer)
        await connection.gone()

    return scene


def patient(server: scripted.Server, **options: float) -> client.AsyncClient:
    """A client whose clock is the loop's; it draws the shortest delays."""
    return client.AsyncClient(
        server.url,
        clock=simulated.now,
        sleep=asyncio.sleep,
        draw=lambda: 0.0,
        **options,  # type: ignore[arg-type]
    )


@simulated.timed
async def test_a_call_is_made_again_where_a_kept_connection_is_silent() -> None:
    again = scripted.says(scripted.refusal(200, b'{"b": 2}'))
    async with (
        scripted.serving(scripted.plain(), keeps(GOOD), again) as server,
        patient(server) as opened,
    ):
        assert await opened.get(scripted.STREAM) == {"a": 1}
        assert await opened.get(scripted.STREAM) == {"b": 2}
        assert simulated.now() == simulated.BEGIN + 45
        assert len(server.asked) == 2


@simulated.timed
async def test_an_answer_is_asked_for_again_where_a_kept_connection_is_silent() -> None:
    async with (
        scripted.serving(scripted.plain(), keeps(GOOD)) as server,
        patient(server) as opened,
    ):
        await opened.get(scripted.STREAM)
        async with opened.stream(**scripted.PROMPT) as answer:
            assert (await answer.final()).choice().content == "".join(scripted.TEXTS)
        assert answer.reconnects == 0
        assert simulated.now() == simulated.BEGIN + 45


@simulated.timed
async def test_a_silent_kept_connection_is_given_up() -> None:
    async with (
        scripted.serving(scripted.plain(), keeps(GOOD)) as server,
        patient(server, give_up_after=0.0, read_timeout=7.0) as opened,
    ):
        await opened.get(scripted.STREAM)
        with pytest.raises(errors.GaveUp, match="Nothing came for 7 s"):
            await opened.get(scripted.STREAM)
        assert simulated.now() == simulated.BEGIN + 7


def test_the_synchronous_client_has_the_same_deadline() -> None:
    server = Server(keeps(GOOD))
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(errors.GaveUp) as gave_up:
            opened.get(scripted.STREAM)
        told.append(gave_up.value.message)

    with client.Client(server.server.url, read_timeout=0.05, give_up_after=0.0) as opened:
        opened.get(scripted.STREAM)
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(GUARD)
    server.loop.close()
    (text,) = told
    assert "Nothing came for 0.05 s" in text


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_client_serves_one_event_loop_after_the_other() -> None:
    server = Server(keeps(GOOD), keeps(GOOD))
    opened = client.AsyncClient(server.server.url, read_timeout=5.0, give_up_after=0.0)

    async def last() -> dict[str, object]:
        async with opened:
            return await opened.get(scripted.STREAM)

    assert asyncio.run(opened.get(scripted.STREAM)) == asyncio.run(last()) == {"a": 1}
    gc.collect()
    server.loop.close()
