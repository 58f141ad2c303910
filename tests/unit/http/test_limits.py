"""How much is taken of a request: bodies piece by piece, and packed ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message

from holdfast import errors
from holdfast.http import limits, shared

Field = tuple[bytes, bytes]


def request(parts: Iterable[bytes], *fields: Field) -> Request:
    """One whose body comes in these parts, and no more of it than is asked for."""
    waiting = [*parts]

    async def receive() -> Message:
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    return Request({"type": "http", "headers": [*fields]}, receive)


async def read(asked: Request, limit: int = 3) -> bytes:
    return await limits.body(asked, limit, shared.Shared(limit), "acme")


async def test_a_body_is_put_together() -> None:
    assert await read(request([b"ab", b"", b"c"])) == b"abc"
    assert await read(request([b""])) == b""


async def test_a_body_counts_as_its_tenant_s_while_it_comes() -> None:
    together, parts = shared.Shared[limits.Body](9), [b"ab", b"", b"cde"]
    seen = []

    async def receive() -> Message:
        seen.append(dict(together._sums))
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    asked = Request({"type": "http", "headers": []}, receive)
    assert await limits.body(asked, 9, together, "acme") == b"abcde"
    assert seen == [{}, {"acme": 2}, {"acme": 2}]
    assert dict(together._sums) == {}


async def test_a_body_for_which_there_is_no_room_is_refused() -> None:
    together = shared.Shared[limits.Body](9)
    quiet, loud = (limits.Body(tenant, None) for tenant in ("quiet", "loud"))
    assert together.put(quiet, 2) == together.put(loud, 3) == []
    asked = request([b"abc", b"de", b"never read"])
    with pytest.raises(errors.Overloaded):
        await limits.body(asked, 99, together, "acme")
    assert (await asked.receive())["body"] == b"never read"
    assert dict(together._sums) == {"quiet": 2, "loud": 3}


async def test_who_holds_more_is_ended_for_it() -> None:
    together = shared.Shared[limits.Body](9)
    loud = limits.Body("loud", None)
    together.put(loud, 7)
    assert await limits.body(request([b"abc"]), 99, together, "acme") == b"abc"
    assert loud.over
    with pytest.raises(errors.Overloaded):
        await limits.body(request([b"abc"] * 2), 99, Ends(9), "acme")


class Ends(shared.Shared[limits.Body]):
    """Ends whoever comes, as another's piece would."""

    def put(self, holder: limits.Body, size: int) -> list[limits.Body]:
        holder.end()
        return []


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
