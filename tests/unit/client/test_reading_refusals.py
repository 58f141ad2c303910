"""Refusals for who asks and how much: 401 and 403 at any time, 429 by a limit of the caller's."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.client import scripted

from holdfast import client, errors
from holdfast.client import background


def refuses(status: int, code: str, *headers: str) -> scripted.Scene:
    problem = {"title": "T", "status": status, "detail": "Not now.", "code": code}
    return scripted.says(scripted.refusal(status, json.dumps(problem).encode(), *headers))


FULL = refuses(429, "stream_limit", "Retry-After: 7")


def check_full(refused: errors.RequestRefused) -> None:
    assert (refused.status, refused.code, refused.message) == (429, "stream_limit", "Not now.")
    assert (refused.retryable, refused.retry_after) == (True, 7.0)


async def test_a_limit_is_told_at_once_and_asking_again_is_for_who_asks() -> None:
    clock = scripted.Time()
    async with (
        scripted.serving(scripted.plain(), FULL) as server,
        scripted.connected(server, clock) as opened,
    ):
        with pytest.raises(errors.RequestRefused) as refused:
            await opened.stream(**scripted.PROMPT, idempotency_key="k").__aenter__()
        check_full(refused.value)
        assert (clock.slept, len(server.asked)) == ([], 1)
        async with opened.stream(**scripted.PROMPT, idempotency_key="k") as answer:
            assert await scripted.texts(answer) == list(scripted.TEXTS)


async def test_a_limit_is_told_where_the_first_response_was_lost() -> None:
    """The second POST is a request too: with the same key, so nothing is asked for twice."""
    clock = scripted.Time()
    async with (
        scripted.serving(scripted.plain(), scripted.says(), FULL) as server,
        scripted.connected(server, clock) as opened,
    ):
        with pytest.raises(errors.RequestRefused) as refused:
            await opened.stream(**scripted.PROMPT).__aenter__()
        check_full(refused.value)
        assert clock.slept == [0.25]
        assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1


CALLS: dict[str, Callable[[client.AsyncClient], Awaitable[Any]]] = {
    "get": lambda opened: opened.get(scripted.STREAM),
    "cancel": lambda opened: opened.cancel(scripted.STREAM),
    "streams": lambda opened: opened.streams(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_is_told_too(call: Callable[[client.AsyncClient], Awaitable[Any]]) -> None:
    clock = scripted.Time()
    async with (
        scripted.serving(scripted.plain(), FULL) as server,
        scripted.connected(server, clock) as opened,
    ):
        with pytest.raises(errors.RequestRefused) as refused:
            await call(opened)
        check_full(refused.value)
        assert (clock.slept, len(server.asked)) == ([], 1)


def test_the_synchronous_client_says_the_same() -> None:
    server = scripted.Server(scripted.plain(), FULL, refuses(401, "unauthorized"))
    loop = background.Background(server.close)
    loop.run(lambda: server.open())
    try:
        with client.Client(server.url) as opened:
            with pytest.raises(errors.RequestRefused) as refused:
                opened.stream(**scripted.PROMPT).__enter__()
            check_full(refused.value)
            with pytest.raises(errors.RequestRefused) as refused:
                opened.stream(**scripted.PROMPT).__enter__()
            assert (refused.value.status, refused.value.code) == (401, "unauthorized")
        assert len(server.asked) == 2
    finally:
        loop.close()


async def test_a_reader_that_is_over_a_limit_comes_back() -> None:
    """Who reads what is there is never refused by a status for it."""
    story, clock = scripted.plain(), scripted.Time()
    away = [scripted.begin(), scripted.chunk(scripted.away(500))]
    async with (
        scripted.serving(story, scripted.says(*away), scripted.says(*away)) as server,
        scripted.connected(server, clock) as opened,
        opened.resume(scripted.STREAM) as answer,
    ):
        assert await scripted.texts(answer) == list(scripted.TEXTS)
    assert clock.slept == [0.75, 1.0]


WHO = [(401, "unauthorized"), (403, "forbidden")]


@pytest.mark.parametrize(("status", "code"), WHO)
@pytest.mark.parametrize("end", ["cut", "sent away"])
@pytest.mark.parametrize("how", ["stream", "resume"])
async def test_who_may_no_longer_is_told_at_once(
    how: str, end: str, status: int, code: str
) -> None:
    """In the midst of an answer, as where its key was revoked; it is not asked again."""
    story, clock = scripted.plain(), scripted.Time()
    begun = [scripted.begin(), *map(scripted.chunk, story.blocks()[:2])]
    if end == "sent away":
        begun.append(scripted.chunk(scripted.away(0)))
    async with (
        scripted.serving(story, scripted.says(*begun), refuses(status, code)) as server,
        scripted.connected(server, clock) as opened,
    ):
        asked = opened.resume(scripted.STREAM) if how == "resume" else None
        async with asked or opened.stream(**scripted.PROMPT) as answer:
            assert [(await anext(answer)).seq for _ in range(2)] == [1, 2]
            for read in (answer.__anext__, answer.final, answer.text_stream.__anext__):
                with pytest.raises(errors.RequestRefused, match=r"^Not now\.$") as refused:
                    await read()
                assert (refused.value.status, refused.value.code) == (status, code)
                assert (refused.value.retryable, refused.value.retry_after) == (False, None)
            assert answer.position.seq == 2
        assert len(server.asked) == 2
    assert len(clock.slept) == 1  # before it came back, and not after the verdict


@pytest.mark.parametrize(("status", "code"), WHO)
async def test_who_may_not_is_told_at_once(status: int, code: str) -> None:
    clock = scripted.Time()
    # Whatever a server adds: it is a verdict.
    scene = refuses(status, code, "Retry-After: 3", "WWW-Authenticate: Bearer")
    async with (
        scripted.serving(scripted.plain(), scene, scene, scene) as server,
        scripted.connected(server, clock) as opened,
    ):
        for ask in (
            lambda: opened.stream(**scripted.PROMPT).__aenter__(),
            lambda: opened.resume(scripted.STREAM).__aenter__(),
            lambda: opened.get(scripted.STREAM),
        ):
            with pytest.raises(errors.RequestRefused) as refused:
                await ask()
            assert (refused.value.status, refused.value.code) == (status, code)
        assert len(server.asked) == 3
    assert clock.slept == []


async def test_keys_that_cannot_be_looked_up_are_waited_for() -> None:
    story, clock = scripted.plain(), scripted.Time()
    scene = refuses(503, "keys_unavailable", "Retry-After: 2")
    async with (
        scripted.serving(story, scene) as server,
        scripted.connected(server, clock) as opened,
        opened.stream(**scripted.PROMPT) as answer,
    ):
        assert await scripted.texts(answer) == list(scripted.TEXTS)
    assert clock.slept == [2.25]
