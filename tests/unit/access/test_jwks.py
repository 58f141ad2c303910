"""An issuer's key set: how long it serves, who waits for a fetch, and what becomes of a key that
was withdrawn. Fetches that fail are in `test_jwks_failures`."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.access import issuers
from tests.unit.access.published import NEW, OLD, answer, world

from holdfast import errors, transport
from holdfast.access import jwks

# How long a set is kept


async def test_a_set_is_fetched_once_and_serves_ten_minutes() -> None:
    async with world(answer(OLD), answer(OLD, NEW)) as w:
        assert w.fetches == 0
        assert await w.has("old")
        w.now += 599.9
        assert await w.has("old")
        assert w.fetches == 1
        w.now += 0.1
        assert await w.has("old")
        assert w.fetches == 2
        assert await w.has("new")
        assert w.fetches == 2


async def test_what_is_asked() -> None:
    async with world(answer(OLD), path="/keys?v=1") as w:
        await w.keys.get("old")
        (request,) = w.server.requests
        assert (request.method, request.target, request.body) == ("GET", "/keys?v=1", b"")
        assert request.headers["accept"] == "application/jwk-set+json, application/json"
        assert "authorization" not in request.headers


async def test_a_new_key_is_found_before_the_set_is_old() -> None:
    async with world(answer(OLD), answer(OLD, NEW)) as w:
        assert await w.has("old")
        w.now += 10.0
        assert await w.has("new")
        assert w.fetches == 2


async def test_an_unknown_key_asks_once_in_ten_seconds_for_all() -> None:
    async with world(answer(OLD)) as w:
        assert not await w.has("evil")
        assert w.fetches == 1
        for number in range(100):
            assert not await w.has(f"evil {number}")
            w.now += 0.099
        assert w.fetches == 1
        w.now += 0.1
        assert not await w.has("evil")
        assert not await w.has("worse")
        assert w.fetches == 2


async def test_a_known_key_waits_for_nobody() -> None:
    """Not for the fetch that an unknown one began, and not for the next set."""
    gate = asyncio.Event()
    slow = answer(OLD, NEW, body=(gate, issuers.document(OLD, NEW)), framing="chunked")
    async with world(answer(OLD), slow) as w:
        await w.keys.get("old")
        for later, kid in ((10.0, "new"), (600.0, "old")):
            w.now += later
            w.answers = [slow]
            gate.clear()
            w.asked.clear()
            fetching = asyncio.create_task(w.has(kid))
            await w.asked.wait()
            assert await w.has("old")
            assert not fetching.done()
            gate.set()
            assert await fetching
        assert w.fetches == 3


@pytest.mark.parametrize("kid", ["old", "evil"])
async def test_a_thousand_at_once_are_one_fetch(kid: str) -> None:
    async with world(answer(OLD)) as w:
        found = await asyncio.gather(*(w.has(kid) for _ in range(1000)))
        assert set(found) == {kid == "old"}
        assert w.fetches == 1
        w.now += 600.0
        assert set(await asyncio.gather(*(w.has(kid) for _ in range(1000)))) == {kid == "old"}
        assert w.fetches == 2


async def test_renewing_is_done_when_it_is_due() -> None:
    async with world(answer(OLD), answer(NEW)) as w:
        await w.keys.renew()
        w.now += 599.0
        await w.keys.renew()
        assert (w.fetches, w.keys.holds("old")) == (1, True)
        w.now += 1.0
        await w.keys.renew()
        assert (w.fetches, w.keys.holds("old"), w.keys.holds("new")) == (2, False, True)


async def test_renewing_is_done_by_one() -> None:
    gate = asyncio.Event()
    async with world(answer(body=(gate, issuers.document(OLD)), framing="chunked")) as w:
        first = asyncio.create_task(w.keys.renew())
        await w.asked.wait()
        await w.keys.renew()
        assert not first.done()
        gate.set()
        await first
        assert w.fetches == 1


# A key that was withdrawn


async def test_a_key_that_its_issuer_withdrew_is_held_no_more() -> None:
    async with world(answer(OLD, NEW), answer(NEW)) as w:
        assert not w.keys.holds("old")
        await w.keys.get("old")
        assert w.keys.holds("old")
        assert not w.keys.holds("evil")
        w.now += 600.0
        assert w.keys.holds("old")  # until somebody asks
        await w.keys.get("new")
        assert not w.keys.holds("old")
        assert not await w.has("old")


async def test_all_keys_can_be_withdrawn() -> None:
    async with world(answer(OLD), answer()) as w:
        await w.keys.get("old")
        w.now += 600.0
        assert not await w.has("old")
        assert not w.keys.holds("old")


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/.well-known/jwks.json",
        "https://issuer.example:8443/keys?v=1",
        "https://10.0.0.1/keys",
        "http://localhost/keys",
        "http://LOCALHOST:8080/keys",
        "http://127.0.0.1:8080/keys",
        "http://127.9.9.9/keys",
        "http://[::1]:8080/keys",
    ],
)
def test_addresses_that_can_be(url: str) -> None:
    assert jwks.fetching(url).url == url


NOT_HTTPS = "is https://"
NO_URL = "cannot be used: the url must be"


@pytest.mark.case("4.11")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://issuer.example/secret", NOT_HTTPS),
        ("http://10.0.0.1/secret", NOT_HTTPS),
        ("http://0.0.0.0/secret", NOT_HTTPS),
        ("http://169.254.169.254/secret", NOT_HTTPS),
        ("http://localhost.evil.example/secret", NOT_HTTPS),
        ("http://127.0.0.1.evil.example/secret", NOT_HTTPS),
        ("http://2130706433/secret", NOT_HTTPS),
        ("http://127.1/secret", NOT_HTTPS),
        ("http://[::2]/secret", NOT_HTTPS),
        ("https://user:secret@issuer.example/", NO_URL),
        ("http://localhost@evil.example/secret", NO_URL),
        ("file:///etc/secret", NO_URL),
        ("ftp://localhost/secret", NO_URL),
        ("//localhost/secret", NO_URL),
        ("localhost/secret", NO_URL),
        ("https://issuer.example/\r\nsecret", NO_URL),
        ("https://issuer.example:99999/secret", NO_URL),
        ("", NO_URL),
    ],
)
def test_addresses_that_cannot_be(url: str, reason: str) -> None:
    for use in (jwks.fetching, lambda url: jwks.KeySet(url, transport.Transport())):
        with pytest.raises(errors.SettingsError, match=reason) as caught:
            use(url)
        assert "secret" not in errors.trace(caught.value).splitlines()[-1]


# Who vouches


async def test_an_issuer_vouches_for_who_shows_its_token() -> None:
    listed = issuers.jwk(issuers.private("P-256"), issuers.KID["P-256"])
    async with world(answer(listed), answer(NEW)) as w:
        issuer = jwks.Issuer(issuers.RULES, w.keys)
        found = await issuer.claims(issuers.token(), issuers.NOW)
        assert (found.tenant, found.user, found.key) == ("acme", "alice", "ec-256")
        assert issuer.holds(found.key)
        with pytest.raises(errors.Unauthorized, match="expired"):
            await issuer.claims(issuers.token(), issuers.NOW + 1000)
        w.now += 600.0
        await issuer.renew()
        assert not issuer.holds(found.key)
        with pytest.raises(errors.Unauthorized, match="none of its issuer's keys"):
            await issuer.claims(issuers.token(), issuers.NOW)


@pytest.mark.case("4.11")
async def test_what_no_key_could_help_fetches_none() -> None:
    async with world(answer(NEW)) as w:
        issuer = jwks.Issuer(issuers.RULES, w.keys)
        for token in ("' OR '1'='1", issuers.token(head=issuers.header(alg="none"))):
            with pytest.raises(errors.Unauthorized):
                await issuer.claims(token, issuers.NOW)
        assert w.fetches == 0


async def test_while_there_are_no_keys_nobody_is_judged() -> None:
    async with world(answer(status=500)) as w:
        issuer = jwks.Issuer(issuers.RULES, w.keys)
        with pytest.raises(errors.KeysUnavailable):
            await issuer.claims(issuers.token(), issuers.NOW)
