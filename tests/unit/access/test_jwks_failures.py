"""An issuer's key set whose fetches fail: what is no answer, and what holds then.

Strategy: as in `test_jwks`. Only the deadline of a fetch is the event loop's own; there it is
simulated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog.testing
from tests.unit.access import issuers
from tests.unit.access.published import GUARD, OLD, World, answer, world
from tests.unit.transport import peers

from holdfast import errors, transport
from holdfast.access import jwks, public_keys
from holdfast.testing import provider, simulated


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


# Fetches that fail

BAD: dict[str, tuple[provider.Answer, str]] = {
    "500": (answer(OLD, status=500), "The key set's address answers with status 500."),
    "404": (answer(OLD, status=404), "The key set's address answers with status 404."),
    "204": (answer(status=204, body=()), "The key set's address answers with status 204."),
    "another success": (answer(OLD, status=203), "The key set's address answers with status 203."),
    "a part": (answer(OLD, status=206), "The key set's address answers with status 206."),
    "a redirect": (
        answer(OLD, status=302, headers=(("Location", "/elsewhere"),)),
        "The key set's address answers with status 302.",
    ),
    "a redirect for good": (
        answer(OLD, status=308, headers=(("Location", "/elsewhere"),)),
        "The key set's address answers with status 308.",
    ),
    "nothing": (answer(body=()), "Expecting value: line 1 column 1 (char 0)"),
    "a page": (answer(body=(b"<html>",)), "Expecting value: line 1 column 1 (char 0)"),
    "no key set": (answer(body=(b"{}",)), "a key set is an object with a list of keys"),
    "too many keys": (answer(*[OLD] * 101), "a key set has at most 100 keys"),
    "cut off": (
        answer(OLD, ending="fin"),
        "The connection closed in the middle of the response's body.",
    ),
    "reset": (
        answer(OLD, ending="rst"),
        "The connection was reset",
    ),
    "without a length": (
        answer(OLD, framing="close"),
        "The connection closed and the response has no length, so that its end cannot be known.",
    ),
    "compressed": (
        answer(OLD, headers=(("Content-Encoding", "gzip"),)),
        "The response has a content-encoding other than identity.",
    ),
    "too large": (answer(body=(b" " * 65537,)), "The key set has over 65536 bytes."),
    "without an end": (
        answer(body=(b" " * 4096,) * 17, framing="chunked", ending="stall"),
        "The key set has over 65536 bytes.",
    ),
    "500 without an end": (
        answer(status=500, ending="stall"),
        "The key set's address answers with status 500.",
    ),
}


@pytest.mark.case("4.11")
@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_answer(name: str, told: list[Any]) -> None:
    bad, reason = BAD[name]
    async with world(bad, answer(OLD)) as w:
        assert await w.unavailable("old") == 10.0
        assert not w.keys.holds("old")
        (entry,) = told
        assert reason in entry["error"]
        await w.server.records[0].ended.wait()  # its connection is closed, also if it has no end
        w.now += 9.9
        assert await w.unavailable("old") == pytest.approx(0.1)
        assert w.fetches == 1
        w.now += 0.1
        assert await w.has("old")
        assert [request.target for request in w.server.requests] == ["/keys"] * 2


async def test_a_thousand_at_once_are_one_failure(told: list[Any]) -> None:
    async with world(answer(status=500)) as w:
        assert set(await asyncio.gather(*(w.unavailable("old") for _ in range(1000)))) == {10.0}
        assert w.fetches == 1
        assert len(told) == 1


async def test_a_key_set_in_one_read_with_a_failure_is_not_taken() -> None:
    text = issuers.document(OLD)
    head = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(text)
    carrier = transport.Transport()
    async with asyncio.timeout(GUARD), peers.serving(lambda *asked: head + text) as server:
        keys = jwks.KeySet(f"http://127.0.0.1:{server.port}/", carrier, lambda: 0.0)
        with pytest.raises(errors.KeysUnavailable):
            await keys.get("old")
        await carrier.close()


async def test_a_document_may_have_64_kib() -> None:
    text = issuers.document(OLD)
    full = text + b" " * (public_keys.MAX_DOCUMENT - len(text))
    async with world(answer(body=(full,))) as w:
        assert await w.has("old")


async def test_while_fetching_fails_the_last_set_holds_for_a_day(told: list[Any]) -> None:
    async with world(answer(OLD), answer(status=500)) as w:
        await w.keys.get("old")
        w.now += 600.0
        assert await w.has("old")
        assert w.fetches == 2
        w.now += 9.9
        assert await w.has("old")
        assert w.fetches == 2
        w.now += 86400.0 - 609.9 - 0.1
        assert await w.has("old")
        assert w.keys.holds("old")
        w.now += 0.1
        assert not w.keys.holds("old")
        assert await w.unavailable("old") == pytest.approx(9.9)
        assert [entry["log_level"] for entry in told] == ["warning"] * 2
        w.answers = [answer(OLD)]
        w.now += 10.0
        assert await w.has("old")
        assert w.keys.holds("old")


async def test_while_fetching_fails_an_unknown_key_is_no_verdict() -> None:
    async with world(answer(OLD), answer(status=500), answer(OLD)) as w:
        await w.keys.get("old")
        w.now += 10.0
        assert await w.unavailable("new") == 10.0
        assert await w.has("old")
        w.now += 10.0
        assert not await w.has("new")  # now it is one


async def test_nobody_is_there(told: list[Any]) -> None:
    async with world(answer(OLD)) as w:
        await w.keys.get("old")
        await w.server.close()
        w.now += 600.0
        assert await w.has("old")
        (entry,) = told
        assert "refused the connection" in entry["error"]


async def test_the_log_names_the_place_and_no_more(told: list[Any]) -> None:
    async with world(answer(status=500), path="/secret-path?key=secret") as w:
        await w.unavailable("old")
        (entry,) = told
        assert entry == {
            "event": "key_set_not_fetched",
            "log_level": "warning",
            "issuer": f"127.0.0.1:{w.server.port}",
            "error": "The key set's address answers with status 500.",
        }


# Deadlines, and who goes away


def slow_world(work: Callable[[World], Any], *answers: provider.Answer) -> float:
    """How many simulated seconds it took."""

    async def run() -> float:
        async with asyncio.timeout(1000):
            made = World(*answers)
            carrier = transport.Transport()
            async with made.server:
                made.keys = jwks.KeySet(f"{made.server.url}/keys", carrier, simulated.now)
                await work(made)
                took = simulated.now() - simulated.BEGIN
                await carrier.close()
            return took

    return simulated.run(run())


@pytest.mark.parametrize(
    "silent",
    [
        answer(body=(), framing="chunked", ending="stall"),
        answer(body=(b"{",), framing="chunked", ending="stall"),
    ],
)
def test_a_fetch_has_a_deadline(silent: provider.Answer, told: list[Any]) -> None:
    async def work(w: World) -> None:
        await w.unavailable("old")

    assert slow_world(work, silent) == 10.0
    assert [entry["error"] for entry in told] == ["The key set did not come within 10 s."]


def test_bytes_that_come_one_by_one_do_not_make_it_longer(told: list[Any]) -> None:
    """A byte a second: each is in time, all are not."""
    gates = [asyncio.Event() for _ in range(100)]
    pieces = tuple(piece for gate in gates for piece in (gate, b" "))

    async def work(w: World) -> None:
        loop = asyncio.get_running_loop()
        for number, gate in enumerate(gates):
            loop.call_later(number, gate.set)
        await w.unavailable("old")

    assert slow_world(work, answer(body=pieces, framing="chunked")) == 10.0
    assert len(told) == 1


async def test_who_goes_away_while_fetching_leaves_it_to_the_next() -> None:
    never = asyncio.Event()
    silent = answer(body=(never, b"{"), framing="chunked")
    async with world(silent, answer(OLD)) as w:
        first = asyncio.create_task(w.has("old"))
        await w.asked.wait()
        second = asyncio.create_task(w.has("old"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        assert w.fetches == 2
        with pytest.raises(asyncio.CancelledError):
            await first
        never.set()
