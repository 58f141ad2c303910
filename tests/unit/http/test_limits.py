"""How much is taken of a request: bodies piece by piece, and packed ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message

from holdfast import errors
from holdfast.http import bodies, limits

Field = tuple[bytes, bytes]


def request(parts: Iterable[bytes], *fields: Field) -> Request:
    """One whose body comes in these parts, and no more of it than is asked for."""
    waiting = [*parts]

    async def receive() -> Message:
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    return Request({"type": "http", "headers": [*fields]}, receive)


async def read(asked: Request, limit: int = 3) -> bytes:
    return await limits.body(asked, limit, bodies.Bodies(limit), "acme")


async def test_a_body_is_put_together() -> None:
    assert await read(request([b"ab", b"", b"c"])) == b"abc"
    assert await read(request([b""])) == b""


async def test_a_body_counts_as_its_tenant_s_while_it_comes() -> None:
    together, parts = bodies.Bodies(9), [b"ab", b"", b"cde"]
    seen = []

    async def receive() -> Message:
        seen.append(dict(together._sums))
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    asked = Request({"type": "http", "headers": []}, receive)
    assert await limits.body(asked, 9, together, "acme") == b"abcde"
    assert seen == [{}, {"acme": 2}, {"acme": 2}]
    assert dict(together._sums) == {}


@pytest.mark.parametrize("length", [b"4", b"0004", b"9" * 30])
async def test_a_body_that_is_told_to_be_too_large_is_not_read(length: bytes) -> None:
    with pytest.raises(errors.BodyTooLarge):
        await read(request([], (b"content-length", length)))


@pytest.mark.parametrize("parts", [[b"abcd"], [b"abc", b"d"], [b"a"] * 4])
async def test_a_body_over_the_limit_is_refused_where_it_passes_it(parts: list[bytes]) -> None:
    asked = request([*parts, b"never read"])
    with pytest.raises(errors.BodyTooLarge, match=r"3 bytes"):
        await read(asked)
    assert (await asked.receive())["body"] == b"never read"


@pytest.mark.parametrize(
    "codings", [["gzip"], ["GZIP"], ["identity, gzip"], ["identity", "br"], ["x"], ["identity;q=1"]]
)
async def test_a_packed_body_is_not_read(codings: list[str]) -> None:
    fields = [(b"content-encoding", coding.encode()) for coding in codings]
    with pytest.raises(errors.UnsupportedEncoding):
        await read(request([], *fields))


@pytest.mark.parametrize("codings", [[], [""], ["identity"], [" Identity "], ["identity", ""]])
async def test_a_body_that_is_not_packed_is_read(codings: list[str]) -> None:
    fields = [(b"content-encoding", coding.encode()) for coding in codings]
    assert await read(request([b"abc"], *fields)) == b"abc"
