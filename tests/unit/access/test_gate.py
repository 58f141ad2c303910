"""The gate and keys: who is let in, and what is no key. Tokens and the embedder's hook are in
`test_gate_vouched`, signed URLs and the end of a right in `test_gate_ends`, what the archive is
asked and when in `test_gate_asking`.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.datastructures import Headers
from tests.unit.access import gates
from tests.unit.access.gates import of, world

from holdfast import errors
from holdfast.access import gate, keyring, keys, principal, tokens
from holdfast.archive import base, memory, sqlite
from holdfast.testing import simulated
from holdfast.testing.simulated import timed

NO_KEY = "Send a key as `Authorization: Bearer KEY`."
NOT_VALID = "This key is not valid here, or not any more."
NONE_HERE = (
    "There is no key here at all: ask without one, or start the server where the key was made."
)

# A key


@timed
async def test_a_key_lets_in_whom_it_is_for() -> None:
    async with world() as w:
        one, kept = await w.known("acme", user="alice", scopes=("read",))
        other, kept_too = await w.known("globex", expires_at=int((w.now + 9) * 1000))
        assert await w.bearer(one) == of(kept)
        assert await w.bearer(other) == of(kept_too)
        assert (await w.bearer(one)).key == f"key:{kept.id}"


@timed
async def test_the_scheme_is_read_in_any_case_and_with_blanks() -> None:
    async with world() as w:
        token, kept = await w.known()
        for scheme in ("Bearer ", "bearer ", "BEARER ", "bEaReR    "):
            assert await w.says(scheme + token) == of(kept)


@timed
async def test_a_key_that_was_revoked_or_has_expired_is_a_refusal_like_an_unknown_one() -> None:
    async with world() as w:
        revoked, kept = await w.known()
        brief, _ = await w.known(expires_at=int((w.now + 10) * 1000))
        await w.revoke(kept)
        w.now += 9.999
        assert (await w.bearer(brief)).tenant == "acme"
        w.now += 0.001
        for token in (revoked, brief, keys.new_token()[1]):
            assert await w.refusal(f"Bearer {token}") == NOT_VALID


@timed
async def test_what_a_key_says_of_its_quota() -> None:
    async with world() as w:
        _, kept = await w.known(quota=base.Quota(streams=3))
        assert w.gate.limits(kept.id) == base.Quota(streams=3)
        await w.revoke(kept)
        assert w.gate.limits(kept.id) == base.Quota(streams=3)  # what it began goes on
        assert w.gate.limits("unknown") == base.Quota()


# What is no key

BEARERS = [
    b"' OR '1'='1",
    b"Bearer ' OR '1'='1",
    b"Bearer '||pg_sleep(10)||'",
    b"Bearer 1;SELECT/**/pg_sleep(10)--",
    b"Bearer hfk_%",
    b"Bearer hfk_____________",
    b"Bearer x';DROP/**/TABLE/**/key;--",
    b"Bearer " + b"x" * 1_000_000,
    b"Bearer " + b" " * 1_000_000,
    b"x" * 1_000_000,
    b"Bearer \0",
    b"Bearer hfk_\0abc",
    b"Bearer \xff\xfe",
    b"Bearer hfk_\xc3\xa9",
    b"Bearer \xe2\x80\xa8",
    b"Bearer\xa0hfk_x",
    b"",
    b" ",
    b"Bearer",
    b"Bearer ",
    b"Bearer\thfk_x",
    b"Bearer hfk_x hfk_y",
    b"Bearer hfk_x, Bearer hfk_y",
    b"Bearer Bearer hfk_x",
    b"Bearerhfk_x",
    b" Bearer hfk_x",
    b"Bearer hfk_x\n",
    b"Basic aGZrX3g6",
    b"Digest username=hfk_x",
    b"Token hfk_x",
    b"hfk_x",
    b"Negotiate ....",
    b"Bearer null",
    b"Bearer undefined",
    b"Bearer *",
]
"""As they come over the wire; `hfk_x` stands for a key that is valid."""


@pytest.mark.case("4.4")
@pytest.mark.parametrize("number", range(len(BEARERS)))
async def test_whatever_is_said_is_the_same_refusal_and_reaches_no_statement(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real file behind it: what is asked of that is the same for everything."""
    monkeypatch.setattr(keyring, "AGAIN_SECONDS", 0.0)
    archive = sqlite.SqliteArchive(tmp_path / "a.db")
    entrance = gate.Gate(archive)
    await entrance.start()
    try:
        token, kept = keys.new(archive.secret, "name", "acme", now=0)
        await archive.add(kept)
        statements: list[str] = []
        assert archive._db is not None
        archive._db.set_trace_callback(statements.append)
        raw = BEARERS[number].replace(b"hfk_x", token.encode())
        asked = gate.Asked("GET", "/", Headers(raw=[(b"authorization", raw)]), {}, None)
        with pytest.raises(errors.Unauthorized) as caught:
            await entrance.admit(asked)
        assert caught.value.message in (NO_KEY, NOT_VALID)
        assert caught.value.__cause__ is None
        assert set(statements) <= {
            "BEGIN",
            "SELECT value FROM meta WHERE name = 'revision'",
            "SELECT data, revoked_at FROM key ORDER BY created_at, id",
            "COMMIT",
        }
        good = Headers(raw=[(b"authorization", b"Bearer " + token.encode())])
        assert await entrance.admit(gate.Asked("GET", "/", good, {}, None)) == of(kept)
        assert await archive.keys(-1) == base.Keys(1, (kept,))
    finally:
        await entrance.close()


@pytest.mark.case("4.4")
@pytest.mark.parametrize(
    "said",
    ["Bearer \ud800", "\udcff", "Bearer \N{GRINNING FACE}", "Bearer hfk_\u0661", "Bearer\u2003x"],
)
@timed
async def test_text_that_no_wire_carries_is_the_same_refusal(said: str) -> None:
    async with world() as w:
        await w.known()
        assert await w.refusal(said) == NO_KEY


@pytest.mark.case("4.4")
@timed
async def test_two_keys_that_begin_alike_are_two() -> None:
    """Nothing is known of a key by a part of it."""
    async with world() as w:
        token, kept = await w.known("acme")
        likeness = token[:-1] + ("a" if token[-1] != "a" else "b")
        digest = keys.digest(w.store.secret, likeness)
        twin = msgspec.structs.replace(kept, id="b" * 12, digest=digest, tenant="globex")
        assert await w.refusal(f"Bearer {likeness}") == NOT_VALID
        await w.store.add(twin)
        assert await w.bearer(likeness) == of(twin)
        assert await w.bearer(token) == of(kept)
        long = token + "x" * tokens.MAX_TOKEN
        for count in (59, 61, keys.MAX_KEY, keys.MAX_KEY + 1, 8000):
            assert await w.refusal(f"Bearer {long[:count]}") == NOT_VALID
        await w.revoke(twin)
        assert await w.refusal(f"Bearer {likeness}") == NOT_VALID
        assert await w.bearer(token) == of(kept)


@pytest.mark.case("4.4")
@timed
async def test_what_is_too_long_is_not_looked_at() -> None:
    issuer = gates.Issuer()
    async with world(issuer) as w:
        fits = "Bearer ".ljust(tokens.MAX_TOKEN - 4, "a") + ".b.c"
        assert len(fits) == 8192
        assert await w.refusal(fits) != NO_KEY
        assert len(issuer.shown) == 1
        assert await w.refusal(fits + "c") == NO_KEY
        assert len(issuer.shown) == 1
        assert w.store.asked == []


# Unknown and wrong keys take the same way


class Watched(dict[Any, Any]):
    """Tells which key is looked up, and has no other use than that."""

    def __init__(self, held: dict[Any, Any], told: list[tuple[str, Any]]) -> None:
        super().__init__(held)
        self._told = told

    def get(self, name: Any, default: Any = None) -> Any:
        self._told.append(("look-up", name))
        return super().get(name, default)

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("a key is found by one look-up and nothing else")

    __contains__ = __getitem__ = __iter__ = keys = values = items = _refuse


@pytest.mark.case("4.10")
@timed
async def test_unknown_and_wrong_keys_take_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of a key is right, its whole digest is looked up, once before the archive is
    asked and once if there was news, and digests are compared by what takes the same time."""
    async with world() as w:
        token, kept = await w.known()
        last = token[:-1] + ("a" if token[-1] != "a" else "b")
        told: list[tuple[str, Any]] = []
        ring = w.gate.keyring.ring
        watched = keys.Ring(ring.revision, Watched(ring.by_digest, told), Watched({}, told))
        w.gate.keyring.ring = watched
        real = hmac.compare_digest

        def compare(one: Any, other: Any) -> bool:
            assert type(one) is type(other) is bytes
            assert len(one) == len(other) == 32
            told.append(("compare", one))
            return real(one, other)

        monkeypatch.setattr(hmac, "compare_digest", compare)
        wrong = {
            "unknown": keys.new_token()[1],
            "its last letter": last,
            "its first letter": "x" + token[1:],
            "its id with another secret": token[:17] + "x" * 43,
            "its secret with another id": token[:4] + "x" * 12 + token[16:],
            "a part": token[:30],
            "a letter": "x",
            "more": token + "x",
        }
        for name, said in wrong.items():
            told.clear()
            w.store.asked.clear()
            assert await w.refusal(f"Bearer {said}") == NOT_VALID, name
            digest = keys.digest(w.store.secret, said)
            assert told == [("look-up", digest), ("compare", digest)], name
            assert len(w.store.asked) == 1, name
        told.clear()
        assert await w.bearer(token) == of(kept)
        assert told == [("look-up", kept.digest), ("compare", kept.digest)]


@pytest.mark.case("4.10")
@timed
async def test_unknown_and_wrong_keys_wait_as_long_for_the_archive() -> None:
    async with world() as w:
        token, _ = await w.known()
        waits = set()
        for said in ("x", keys.new_token()[1], token[:-1] + "~", token[:30], token + "x"):
            before = simulated.now()
            await w.refusal(f"Bearer {said}")
            waits.add(round(simulated.now() - before, 9))
        assert waits == {keyring.AGAIN_SECONDS}


# Nobody needs to say who he is


@timed
async def test_a_node_without_keys_is_open() -> None:
    async with world() as w:
        assert w.gate.is_open
        assert await w.says(None) is principal.ANYBODY
        for said in ("", "Bearer x", "Basic x", "Bearer " + keys.new_token()[1]):
            assert await w.refusal(said) in (NO_KEY, NONE_HERE)  # who says something is asked


@timed
async def test_a_key_closes_it_for_ever() -> None:
    async with world() as w:
        _, kept = await w.known()
        assert not w.gate.is_open
        assert await w.refusal(None) == NO_KEY
        await w.revoke(kept)
        assert not w.gate.is_open
        assert await w.refusal(None) == NO_KEY


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_node_that_once_had_keys_starts_closed(how: str) -> None:
    archive = memory.MemoryArchive()
    _, kept = keys.new(archive.secret, "a", "acme", now=0, expires_at=1)
    await archive.add(kept)
    if how == "revoked":
        await archive.revoke(kept.id, 1)
    entrance = gate.Gate(archive)
    await entrance.start()
    assert not entrance.is_open


@timed
async def test_an_issuer_or_a_hook_closes_it() -> None:
    async def nobody(asked: gate.Asked) -> None:
        return None

    for issuer, hook in ((gates.Issuer(), None), (None, nobody), (gates.Issuer(), nobody)):
        async with world(issuer, hook) as w:
            assert not w.gate.is_open
            assert await w.refusal(None) == NO_KEY
