"""How much is taken of a request: bodies piece by piece, and packed ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message

from holdfast import errors
from holdfast.http import limits

Field = tuple[bytes, bytes]


def request(parts: Iterable[bytes], *fields: Field) -> Request:
    """One whose body comes in these parts, and no more of it than is asked for."""
    waiting = [*parts]

    async def receive() -> Message:
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    return Request({"type": "http", "headers": [*fields]}, receive)


async def test_a_body_is_put_together() -> None:
    assert await limits.body(request([b"ab", b"", b"c"]), 3) == b"abc"
    assert await limits.body(request([b""]), 3) == b""


@pytest.mark.parametrize("length", [b"4", b"0004", b"9" * 30])
async def test_a_body_that_is_told_to_be_too_large_is_not_read(length: bytes) -> None:
    with pytest.raises(errors.BodyTooLarge):
        await limits.body(request([], (b"content-length", length)), 3)


@pytest.mark.parametrize("parts", [[b"abcd"], [b"abc", b"d"], [b"a"] * 4])
async def test_a_body_over_the_limit_is_refused_where_it_passes_it(parts: list[bytes]) -> None:
    asked = request([*parts, b"never read"])
    with pytest.raises(errors.BodyTooLarge, match=r"3 bytes"):
        await limits.body(asked, 3)
    assert (await asked.receive())["body"] == b"never read"


@pytest.mark.parametrize(
    "codings", [["gzip"], ["GZIP"], ["identity, gzip"], ["identity", "br"], ["x"], ["identity;q=1"]]
)
async def test_a_packed_body_is_not_read(codings: list[str]) -> None:
    fields = [(b"content-encoding", coding.encode()) for coding in codings]
    with pytest.raises(errors.UnsupportedEncoding):
        await limits.body(request([], *fields), 3)


@pytest.mark.parametrize("codings", [[], [""], ["identity"], [" Identity "], ["identity", ""]])
async def test_a_body_that_is_not_packed_is_read(codings: list[str]) -> None:
    fields = [(b"content-encoding", coding.encode()) for coding in codings]
    assert await limits.body(request([b"abc"], *fields), 3) == b"abc"
