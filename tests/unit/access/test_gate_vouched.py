"""The gate and those for whom others vouch: an issuer by its tokens, and the embedder's hook."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.unit.access import gates
from tests.unit.access.gates import claims, of, verdict, world

from holdfast import errors
from holdfast.access import gate, principal
from holdfast.testing import simulated
from holdfast.testing.simulated import timed

NO_KEY = "Send a key as `Authorization: Bearer KEY`."
NOT_VALID = "This key is not valid here, or not any more."

# Tokens


@timed
async def test_a_token_goes_to_its_issuer() -> None:
    issuer = gates.Issuer(good=claims("alice", "kid:1", 2**33))
    async with world(issuer) as w:
        scopes, ends = frozenset(("read",)), float(2**33)
        right = principal.Principal("acme", "alice", scopes, "jwt:kid:1", ends)
        assert await w.bearer("good.payload.signature") == right
        assert "signature" in await w.refusal("Bearer evil.payload.signature")
        w.now = ends
        assert "signature" in await w.refusal("Bearer good.payload.signature")
        assert w.store.asked == []  # no key has this shape
        issuer.ready = False
        assert await verdict(w.bearer("good.payload.signature")) is errors.KeysUnavailable


@timed
async def test_what_has_the_shape_of_a_token() -> None:
    issuer = gates.Issuer()
    async with world(issuer) as w:
        token, kept = await w.known()
        for said in ("a.b.c", "a.b.", "-_.-_.-_", "hfk_x.b.c"):
            await w.refusal(f"Bearer {said}")
            assert issuer.shown.pop() == said
        for said in ("a.b", ".b.c", "a..c", "a.b.c.d", "a.b.c=", "a.b.c.", "...", "a/b.c.d"):
            assert await w.refusal(f"Bearer {said}") == NOT_VALID
        assert await w.bearer(token) == of(kept)
        assert issuer.shown == []


@timed
async def test_without_an_issuer_a_token_is_an_unknown_key() -> None:
    async with world() as w:
        await w.known()
        assert await w.refusal("Bearer a.b.c") == NOT_VALID


@timed
async def test_the_issuer_is_asked_for_changes_apart_from_the_archive() -> None:
    issuer = gates.Issuer()
    async with world(issuer) as w:
        task = asyncio.get_running_loop().create_task(w.gate.follow_issuer())
        await gates.pass_(2 * gate.REFRESH_SECONDS)
        task.cancel()
        begin = issuer.renewed[0]
        assert issuer.renewed == [begin, begin + 5.0, begin + 10.0]
        assert w.store.asked == []
    async with world() as w:
        await w.gate.follow_issuer()  # there is none, so that is that


# The embedder's hook


@timed
async def test_the_hook_is_asked_first_and_says_who_it_is() -> None:
    seen: list[gate.Asked] = []
    said: principal.Principal | None = None

    async def hook(asked: gate.Asked) -> principal.Principal | None:
        seen.append(asked)
        return said

    async with world(authorize=hook) as w:
        token, kept = await w.known()
        assert await w.bearer(token) == of(kept)  # None is nobody that it knows
        assert await w.refusal("Bearer x") == NOT_VALID
        assert await w.refusal(None) == NO_KEY
        said = principal.Principal("globex", "bob", frozenset(), expires_at=7.0)
        for way in (f"Bearer {token}", "Bearer x", "", None, "Basic x", "\udcff"):
            found = await w.says(way, "a=b", gates.OTHER)
            assert found == gates.replaced(said, key="hook:")
        assert seen[-1] == gate.Asked(
            "GET", "/v1/streams", {"authorization": "\udcff"}, {"a": "b"}, "127.0.0.1"
        )


@pytest.mark.parametrize("key", ["", "sso", "key:0123456789ab", "jwt:k1", "hook:x"])
@timed
async def test_the_hooks_people_never_pass_for_those_of_a_key(key: str) -> None:
    """That one's quota and end are not theirs; nor are they held to one stream."""

    async def hook(asked: gate.Asked) -> principal.Principal | None:
        return principal.Principal("acme", key=key, stream=gates.STREAM)

    async with world(authorize=hook) as w:
        found = await w.says(None)
        assert (found.key, found.stream) == ("hook:", None)


@pytest.mark.parametrize("nobody", [principal.ANYBODY, principal.Principal("", "alice")])
@timed
async def test_who_has_no_tenant_is_nobody_that_the_hook_knows(
    nobody: principal.Principal,
) -> None:
    """Whoever needs no key is for a node that asks for none."""

    async def hook(asked: gate.Asked) -> principal.Principal | None:
        return nobody

    async with world(authorize=hook) as w:
        token, kept = await w.known()
        assert await w.refusal(None) == NO_KEY
        assert await w.bearer(token) == of(kept)


@timed
async def test_a_verdict_of_the_hook_is_one() -> None:
    async def hook(asked: gate.Asked) -> principal.Principal | None:
        raise errors.Forbidden("Not on Sundays.")

    async with world(authorize=hook) as w:
        token, _ = await w.key()
        with pytest.raises(errors.Forbidden, match="Not on Sundays"):
            await w.bearer(token)


@timed
async def test_a_hook_that_fails_is_no_verdict_and_repeats_nothing() -> None:
    """Nobody is let in, by a key neither; what was sent to it stays out of the log."""

    async def hook(asked: gate.Asked) -> principal.Principal | None:
        raise LookupError(f"no user {asked.headers['authorization']}")

    async with world(authorize=hook) as w:
        token, _ = await w.key()
        with capture_logs() as logs, pytest.raises(errors.KeysUnavailable) as caught:
            await w.bearer(token)
        assert logs == [{"event": "authorize_failed", "log_level": "error", "error": "LookupError"}]
        assert token not in errors.trace(caught.value)
        assert caught.value.__suppress_context__
        assert caught.value.__cause__ is None


@timed
async def test_a_hook_has_a_time_to_answer() -> None:
    async def hook(asked: gate.Asked) -> principal.Principal | None:
        await asyncio.sleep(takes)
        return principal.Principal("acme")

    async with world(authorize=hook) as w:
        takes = gate.HOOK_SECONDS - 0.01
        assert (await w.says(None)).tenant == "acme"
        takes, before = 3600.0, simulated.now()
        with capture_logs():
            assert await verdict(w.says(None)) is errors.KeysUnavailable
        assert simulated.now() == before + gate.HOOK_SECONDS
