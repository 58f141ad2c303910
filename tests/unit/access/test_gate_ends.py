"""Signed URLs, and whether what let somebody in still does."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from tests.unit.access import gates
from tests.unit.access.gates import NOW, OTHER, STREAM, claims, of, verdict, world

from holdfast import errors, events
from holdfast.access import gate, ids, keys, principal, signing
from holdfast.testing.simulated import timed

NOT_SIGNED = "The signed URL is not valid, or not any more."
ENDED = "The key that signed this URL is not valid any more."
NO_KEY = "Send a key as `Authorization: Bearer KEY`."

ALICE = principal.Principal("acme", "alice", key="hook:")


async def nobody(asked: gate.Asked) -> None:
    """A hook that knows none."""


def link(w: gates.World, asker: principal.Principal, seconds: float = 600.0) -> str:
    return w.gate.link(asker, events.StreamId(STREAM), seconds)[0]


# Signed URLs


@timed
async def test_a_link_lets_anybody_read_one_stream() -> None:
    async with world() as w:
        token, kept = await w.known(user="alice", scopes=("read", "admin", "generate"))
        query, until = w.gate.link(await w.bearer(token), events.StreamId(STREAM), 600.9)
        assert until == NOW + 600
        reader = await w.says(None, query, STREAM)
        assert reader == principal.Principal(
            "acme", "alice", frozenset(("read",)), f"key:{kept.id}", until, STREAM
        )
        assert await w.says(None, f"after=1-2&{query}", STREAM) == reader
        assert principal.may(reader, "follow")
        assert not principal.may(reader, "read")
        assert principal.owns(reader, "globex/", STREAM)
        assert not principal.owns(reader, "acme/alice", OTHER)


@timed
async def test_a_link_tells_whose_key_made_it_and_gives_none_of_their_rights() -> None:
    issuer = gates.Issuer(token=claims())
    async with world(issuer) as w:
        users, _ = await w.known(user="alice")
        tenants, _ = await w.known("globex", scopes=("admin",))
        made = {"acme/alice": users, "globex/": tenants, "": "token.x.y"}
        for owner, said in made.items():
            reader = await w.says(None, link(w, await w.bearer(said)), STREAM)
            assert reader.owner == owner
            assert not reader.sees_all
            allowed = {one for one in principal.NEEDS if principal.may(reader, one)}
            assert allowed == {"follow", "public"}
            assert principal.owns(reader, "umbrella/", STREAM)
            assert not principal.owns(reader, owner, OTHER)
            assert ids.may_be(w.store.secret, events.StreamId(STREAM), reader)
    async with world() as w:
        reader = await w.says(None, link(w, principal.ANYBODY), STREAM)
        assert reader.owner == ""


@timed
async def test_a_link_is_for_its_stream_and_for_reading() -> None:
    async with world() as w:
        token, _ = await w.known()
        query = link(w, await w.bearer(token))
        assert await w.refusal(None, query, OTHER) == NOT_SIGNED
        assert await w.refusal(None, query, "") == NOT_SIGNED
        assert await w.refusal(None, query, None) == NO_KEY  # not events that are asked for


@timed
async def test_who_shows_a_key_is_judged_by_it_alone() -> None:
    async with world() as w:
        token, kept = await w.known()
        query = link(w, await w.bearer(token))
        assert await w.says(f"Bearer {token}", query, STREAM) == of(kept)
        assert await w.says(f"Bearer {token}", "signature=wrong", STREAM) == of(kept)
        for said in ("", "Bearer unknown", "Basic x"):
            await w.refusal(said, query, STREAM)


@timed
async def test_a_wrong_signature_is_refused_also_where_none_is_needed() -> None:
    async with world() as w:
        assert await w.refusal(None, "signature=wrong&key=&expires=9", STREAM) == NOT_SIGNED
        assert await w.says(None, "key=&expires=9", STREAM) is principal.ANYBODY
        assert await w.says(None, "signature=wrong&key=&expires=9") is principal.ANYBODY


@timed
async def test_a_link_ends_with_its_time() -> None:
    async with world() as w:
        token, _ = await w.known()
        query = link(w, await w.bearer(token))
        w.now += 599.999
        reader = await w.says(None, query, STREAM)
        assert w.gate.holds(reader)
        w.now += 0.001
        assert not w.gate.holds(reader)
        assert await w.refusal(None, query, STREAM) == NOT_SIGNED


@pytest.mark.parametrize("how", ["revoked", "expired"])
@timed
async def test_a_link_dies_with_its_key(how: str) -> None:
    async with world() as w:
        token, kept = await w.known(expires_at=int((NOW + 60) * 1000))
        query = link(w, await w.bearer(token))
        reader = await w.says(None, query, STREAM)
        assert w.gate.holds(reader)
        if how == "revoked":
            await w.revoke(kept)
        else:
            w.now += 60
        assert not w.gate.holds(reader)
        told = ENDED if how == "revoked" else NOT_SIGNED  # it says when, and that is no later
        assert await w.refusal(None, query, STREAM) == told


@timed
async def test_a_link_is_not_said_to_be_valid_for_longer_than_its_key() -> None:
    async with world() as w:
        for life, lasts in ((60, 60), (599, 599), (601, 600)):
            token, _ = await w.known(expires_at=int((NOW + life) * 1000))
            _, expires = w.gate.link(await w.bearer(token), events.StreamId(STREAM), 600)
            assert expires == NOW + lasts


@timed
async def test_a_link_of_an_open_node_ends_with_the_first_key() -> None:
    async with world() as w:
        query = link(w, await w.says(None))
        reader = await w.says(None, query, STREAM)
        assert w.gate.holds(reader)
        await w.known()
        assert not w.gate.holds(reader)
        assert await w.refusal(None, query, STREAM) == ENDED


@timed
async def test_a_link_by_a_token_lasts_longer_than_it_and_dies_with_the_issuers_key() -> None:
    issuer = gates.Issuer(good=claims("alice", "k1", int(NOW) + 60))
    async with world(issuer) as w:
        query = link(w, await w.bearer("good.b.c"))
        w.now += 120
        reader = await w.says(None, query, STREAM)
        assert (reader.key, reader.expires_at) == ("jwt:k1", NOW + 600)
        issuer.kids.clear()
        assert not w.gate.holds(reader)
        assert await w.refusal(None, query, STREAM) == ENDED


@timed
async def test_while_the_issuers_keys_are_not_known_there_is_no_verdict_on_its_links() -> None:
    issuer = gates.Issuer(good=claims())
    async with world(issuer) as w:
        query = link(w, await w.bearer("good.b.c"))
        token, _ = await w.known()
        other = link(w, await w.bearer(token))
        issuer.ready, issuer.kids = False, set()
        assert await verdict(w.says(None, query, STREAM)) is errors.KeysUnavailable
        assert (await w.says(None, other, STREAM)).stream == STREAM
        # What nobody signed is refused for good, however it calls itself.
        forged = query.replace("signature=", "signature=x")
        assert await w.refusal(None, forged, STREAM) == NOT_SIGNED
        assert await w.refusal(None, query, OTHER) == NOT_SIGNED


@pytest.mark.parametrize(("lasts", "until"), [(None, 600), (60.9, 60), (599.0, 599), (6000.0, 600)])
@timed
async def test_a_link_by_the_hook_lasts_no_longer_than_it_said(
    lasts: float | None, until: int
) -> None:
    async with world(authorize=nobody) as w:
        asker = gates.replaced(ALICE, expires_at=None if lasts is None else NOW + lasts)
        query, ends = w.gate.link(asker, events.StreamId(STREAM), 600.0)
        assert ends == NOW + until
        w.now += until - 0.001
        reader = await w.says(None, query, STREAM)
        assert w.gate.holds(reader)
        w.now += 0.001
        assert await w.refusal(None, query, STREAM) == NOT_SIGNED


@timed
async def test_a_link_is_of_no_use_where_the_archive_is_another() -> None:
    async with world() as w, world() as other:
        token, _ = await w.known()
        query = link(w, await w.bearer(token))
        await other.known()
        assert await other.refusal(None, query, STREAM) == NOT_SIGNED


@timed
async def test_with_the_secret_no_link_is_made_for_a_key_that_is_not_there() -> None:
    async with world() as w:
        await w.known()
        for key in ("key:", "key:unknown", "key", "", ":", "jwt:k1", "hook:", "other:x"):
            grant = signing.Grant(STREAM, key, int(NOW) + 60)
            query = signing.query(w.store.secret, grant)
            assert await w.refusal(None, query, STREAM) == ENDED, key


# Whether it still holds


def by(key: str, expires_at: float | None = None) -> principal.Principal:
    return principal.Principal("acme", "alice", key=key, expires_at=expires_at)


@timed
async def test_whether_a_key_holds() -> None:
    async with world() as w:
        _, kept = await w.known()
        _, brief = await w.known(expires_at=int((NOW + 60) * 1000))
        gone = msgspec.structs.replace(kept, id="z" * 12)
        assert w.gate.holds(of(kept))
        assert w.gate.holds(of(brief))
        assert w.gate.holds(by(f"key:{brief.id}"))
        assert not w.gate.holds(of(gone))
        w.now += 59.999
        assert w.gate.holds(of(brief))
        w.now += 0.001
        assert not w.gate.holds(of(brief))
        assert not w.gate.holds(by(f"key:{brief.id}"))  # by what is kept, whatever he has
        assert w.gate.holds(of(kept))
        await w.revoke(kept)
        assert not w.gate.holds(of(kept))


KINDS = ["key:unknown", "jwt:k1", "jwt:k2", "jwt:", "hook:", "hook", "", "else:x", "key:", "JWT:k1"]

HOLDS: Mapping[tuple[bool, bool], Mapping[str, bool]] = {
    (True, False): {"jwt:k1": True},
    (False, True): {"hook:": True, "hook": True},
    (True, True): {"jwt:k1": True, "hook:": True, "hook": True},
}
"""By whether there are an issuer and a hook; all else does not hold."""


@pytest.mark.parametrize(("issues", "hooked"), HOLDS)
@timed
async def test_what_holds_beside_keys(issues: bool, hooked: bool) -> None:
    """Each kind as long as there is who vouches for it."""
    issuer = gates.Issuer(good=claims(key="k1")) if issues else None
    async with world(issuer, nobody if hooked else None) as w:
        for kind in KINDS:
            right = HOLDS[issues, hooked].get(kind, False)
            assert w.gate.holds(by(kind)) is right, kind
            assert w.gate.holds(by(kind, NOW + 60)) is right, kind
            assert not w.gate.holds(by(kind, NOW)), kind
            assert not w.gate.holds(by(kind, NOW - 60)), kind


@timed
async def test_anybody_holds_while_it_is_open() -> None:
    async with world() as w:
        assert w.gate.holds(principal.ANYBODY)
        for kind in ("key:unknown", "jwt:k1", "hook:"):
            assert not w.gate.holds(by(kind)), kind
        await w.known()
        assert not w.gate.holds(principal.ANYBODY)


@timed
async def test_an_issuers_key_may_have_any_name() -> None:
    issuer = gates.Issuer(good=claims(key="key:a:b"))
    async with world(issuer) as w:
        found = await w.bearer("good.b.c")
        assert found.key == "jwt:key:a:b"
        assert w.gate.holds(found)
        issuer.kids = {"key", "a:b", "a", ""}
        assert not w.gate.holds(found)


@timed
async def test_a_right_ends_for_those_who_are_in() -> None:
    """All at once, and nobody else's."""
    issuer = gates.Issuer(good=claims(expires_at=int(NOW) + 60))
    async with world(issuer, nobody) as w:
        token, kept = await w.known()
        other, _ = await w.known()
        readers = [await w.bearer(token) for _ in range(10)]
        stays = [await w.bearer(other), ALICE]
        readers.append(await w.says(None, link(w, readers[0]), STREAM))
        brief = await w.bearer("good.b.c")
        await w.revoke(kept)
        assert [w.gate.holds(one) for one in readers] == [False] * 11
        assert all(map(w.gate.holds, [*stays, brief]))
        w.now += 60
        assert not w.gate.holds(brief)
        assert all(map(w.gate.holds, stays))


def test_a_key_has_a_name_that_no_other_kind_has() -> None:
    assert keys.Held.of(keys.new(b"x", "n", "t", now=0)[1]).principal.key.startswith("key:")
