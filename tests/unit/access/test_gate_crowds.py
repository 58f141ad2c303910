"""Crowds that show keys that nobody knows: a few of them wait for news, the others do not.

Strategy: simulated time, in which a caller who is told at once is told at the moment he came.
"""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from tests.unit.access import gates
from tests.unit.access.gates import claims, of, pass_, world

from holdfast import errors
from holdfast.access import keyring, keys, principal, tokens
from holdfast.testing import simulated
from holdfast.testing.simulated import timed

MOST = keyring.MAX_WAITING


class Slow(gates.Issuer):
    """Fetches for each key that it does not have, until `go` is set."""

    def __init__(self) -> None:
        super().__init__(**{head("k1").partition(".")[0]: claims()})
        self.go, self.fetching = asyncio.Event(), 0

    async def claims(self, token: str, now: float) -> tokens.Claims:
        if not token.startswith(head("k1")):
            self.fetching += 1
            await self.go.wait()
        return await super().claims(token, now)


def head(kid: object) -> str:
    said = base64.urlsafe_b64encode(json.dumps({"alg": "EdDSA", "kid": kid}).encode())
    return said.rstrip(b"=").decode() + "."


async def told_to_come_again(w: gates.World, bearer: str) -> None:
    """At once."""
    before = simulated.now()
    with pytest.raises(errors.KeysUnavailable) as caught:
        await w.bearer(bearer)
    assert caught.value.retry_after == 1.0
    assert simulated.now() == before


def crowd(w: gates.World, bearers: list[str]) -> list[asyncio.Task[principal.Principal]]:
    return [asyncio.create_task(w.bearer(one)) for one in bearers]


@timed
async def test_so_many_wait_for_news_of_keys_and_who_comes_beyond_does_not() -> None:
    async with world() as w:
        known, kept = await w.known()
        waiting = crowd(w, [keys.new_token()[1] for _ in range(MOST)])
        await simulated.idle()
        await told_to_come_again(w, keys.new_token()[1])
        assert await w.bearer(known) == of(kept)
        assert not any(task.done() for task in waiting)
        await pass_(keyring.AGAIN_SECONDS)
        said = {type(task.exception()) for task in waiting}
        assert said == {errors.Unauthorized}
        # There are places again, of which none is lost by any end.
        new, kept = await w.key()
        assert await w.bearer(new) == of(kept)


@pytest.mark.parametrize("end", ["failure", "cancelled"])
@timed
async def test_a_place_is_given_back_whatever_ends_the_waiting(end: str) -> None:
    async with world() as w:
        await w.known()
        w.store.away = end == "failure"
        for _ in range(3):
            waiting = crowd(w, [keys.new_token()[1] for _ in range(MOST)])
            await simulated.idle()
            if end == "cancelled":
                for task in waiting:
                    task.cancel()
            found = await asyncio.gather(*waiting, return_exceptions=True)
            wanted = {"failure": errors.KeysUnavailable, "cancelled": asyncio.CancelledError}
            assert {type(one) for one in found} == {wanted[end]}
            assert all(getattr(one, "retry_after", None) is None for one in found)


@timed
async def test_so_many_wait_for_keys_of_tokens_and_who_comes_beyond_does_not() -> None:
    issuer = Slow()
    async with world(issuer) as w:
        bearers = [f"{head(f'k{number}')}x.y" for number in range(10, 10 + MOST - 2)]
        waiting = crowd(w, [*bearers, f"{head(7)}x.y", "a.b.c"])
        await simulated.idle()
        assert issuer.fetching == MOST
        for more in (f"{head('k2')}x.y", "a.b.c"):
            await told_to_come_again(w, more)
        found = await w.bearer(f"{head('k1')}x.y")  # its key is known
        assert found.key == "jwt:k1"
        issuer.go.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(errors.Unauthorized):
            await w.bearer("a.b.c")


@timed
async def test_made_up_keys_take_no_places_of_tokens() -> None:
    issuer = Slow()
    async with world(issuer) as w:
        strangers = crowd(w, [keys.new_token()[1] for _ in range(MOST)])
        await simulated.idle()
        await told_to_come_again(w, keys.new_token()[1])
        users = crowd(w, [f"{head('k2')}x.y"])
        await simulated.idle()
        assert issuer.fetching == 1
        issuer.go.set()
        await asyncio.gather(*strangers, *users, return_exceptions=True)


@timed
async def test_made_up_tokens_take_no_places_of_keys() -> None:
    issuer = Slow()
    async with world(issuer) as w:
        strangers = crowd(w, ["a.b.c"] * MOST)
        await simulated.idle()
        await told_to_come_again(w, "a.b.c")
        token, kept = await w.key()
        assert await w.bearer(token) == of(kept)
        issuer.go.set()
        await asyncio.gather(*strangers, return_exceptions=True)
