"""When the gate asks the archive, who waits for the answer, and what holds while there is none.

Strategy: simulated time, so that each moment is exact. `Store.asked` are the moments of questions.
"""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.unit.access import gates
from tests.unit.access.gates import of, pass_, verdict, world

from holdfast import errors
from holdfast.access import gate, keyring, keys
from holdfast.testing import simulated
from holdfast.testing.simulated import timed

AGAIN, REFRESH, STALE = keyring.AGAIN_SECONDS, gate.REFRESH_SECONDS, keyring.STALE_SECONDS

# New keys


@timed
async def test_a_new_key_is_known_at_once() -> None:
    async with world() as w:
        await pass_(AGAIN)
        token, kept = await w.key()
        before = simulated.now()
        assert await w.bearer(token) == of(kept)
        assert simulated.now() == before
        assert await w.bearer(token) == of(kept)
        assert w.store.asked == [before]


@timed
async def test_a_new_key_is_known_also_right_after_a_question() -> None:
    """It was made since: a refusal would be final, so it waits for the next question."""
    async with world() as w:
        await pass_(REFRESH)
        await w.refusal("Bearer unknown")
        token, kept = await w.key()
        await asyncio.sleep(0.1)
        before = simulated.now()
        assert await w.bearer(token) == of(kept)
        assert simulated.now() == pytest.approx(before + AGAIN - 0.1)


@timed
async def test_a_known_key_asks_nothing() -> None:
    async with world() as w:
        token, kept = await w.known()
        w.store.asked.clear()
        for _ in range(100):
            assert await w.bearer(token) == of(kept)
            await asyncio.sleep(0.1)
        assert w.store.asked == []


@pytest.mark.parametrize("new", [True, False])
@timed
async def test_a_crowd_at_once_is_one_question(new: bool) -> None:
    async with world() as w:
        await pass_(REFRESH)
        token, kept = await w.key() if new else (None, None)
        said = [token or keys.new_token()[1] for _ in range(keyring.MAX_WAITING)]
        found = await asyncio.gather(*(verdict(w.bearer(one)) for one in said))
        assert len(w.store.asked) == 1
        assert set(found) == {of(kept) if kept is not None else errors.Unauthorized}


@timed
async def test_a_crowd_that_comes_while_it_is_asked_is_one_question_more() -> None:
    """What is answered may be older than what they bring."""
    async with world() as w:
        await pass_(REFRESH)
        w.store.go.clear()
        first = asyncio.create_task(verdict(w.bearer("unknown")))
        await simulated.idle()
        token, kept = await w.key()
        crowd = range(keyring.MAX_WAITING - 1)
        said = [token if number % 2 else keys.new_token()[1] for number in crowd]
        rest = [asyncio.create_task(verdict(w.bearer(one))) for one in said]
        await simulated.idle()
        assert len(w.store.asked) == 1
        w.store.go.set()
        found = await asyncio.gather(*rest)
        assert found == [of(kept) if one == token else errors.Unauthorized for one in said]
        assert await first is errors.Unauthorized
        begun = w.store.asked[0]
        assert w.store.asked == [begun, begun + AGAIN]


@timed
async def test_unknown_keys_without_end_ask_twice_a_second() -> None:
    async with world() as w:
        await pass_(REFRESH)
        begin = simulated.now()
        async with asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(w.refusal(f"Bearer {keys.new_token()[1]}"))
                await asyncio.sleep(0.01)
        assert len(w.store.asked) <= (simulated.now() - begin) / AGAIN + 1.001
        pauses = [
            later - earlier
            for earlier, later in zip(w.store.asked, w.store.asked[1:], strict=False)
        ]
        assert min(pauses) >= AGAIN - 1e-9


@timed
async def test_who_goes_away_takes_nobody_along() -> None:
    """The one who asked is cancelled; the others who waited with him ask for themselves."""
    async with world() as w:
        await pass_(REFRESH)
        w.store.go.clear()
        first = asyncio.create_task(verdict(w.bearer("unknown")))
        await simulated.idle()
        token, kept = await w.key()
        second = asyncio.create_task(verdict(w.bearer(token)))
        await simulated.idle()
        first.cancel()
        await simulated.idle()
        assert not second.done()
        w.store.go.set()
        assert await second == of(kept)
        third, kept = await w.key()
        assert await w.bearer(third) == of(kept)


@timed
async def test_who_waited_for_one_that_was_cancelled_has_a_verdict_of_his_own() -> None:
    """He came before the question began that was never answered, and is not held to it."""
    async with world() as w:
        w.store.go.clear()
        first = asyncio.create_task(verdict(w.bearer("unknown")))
        second = asyncio.create_task(verdict(w.bearer("unknown-too")))
        await pass_(AGAIN)
        assert len(w.store.asked) == 1
        first.cancel()
        w.store.go.set()
        assert await second is errors.Unauthorized
        assert len(w.store.asked) == 2


# Changes


@timed
async def test_a_revoked_key_is_refused_within_the_refresh() -> None:
    async with world() as w, w.running():
        token, kept = await w.known()
        found = await w.bearer(token)
        await w.store.revoke(kept.id, 0)
        assert await w.bearer(token) == found
        await pass_(REFRESH)
        assert not w.gate.holds(found)
        assert "not valid" in await w.refusal(f"Bearer {token}")
        assert "not valid" in await w.refusal(f"Bearer {token}")


@timed
async def test_a_key_that_is_not_asked_for_is_known_within_the_refresh() -> None:
    """Of the first key also who says nothing is told."""
    async with world() as w, w.running():
        await w.key()
        assert w.gate.is_open
        await pass_(REFRESH)
        assert not w.gate.is_open


@timed
async def test_the_refresh_can_be_shorter() -> None:
    store = gates.Store()
    entrance = gate.Gate(store, refresh=0.2)
    await entrance.start()
    begin = simulated.now()
    task = asyncio.create_task(entrance.run())
    await pass_(1.1)
    task.cancel()
    expected = [begin + step / 5 for step in range(6)]
    assert store.asked == pytest.approx(expected)


@timed
async def test_what_has_not_changed_is_not_read_again() -> None:
    async with world() as w, w.running():
        await w.known()
        ring = w.gate.keyring.ring
        await pass_(10 * REFRESH)
        assert w.gate.keyring.ring is ring


# While there is no answer


@timed
async def test_who_cannot_be_looked_up_is_not_refused() -> None:
    """By none of all who show an unknown key, when and however they come; and none of them is told
    where the archive is."""
    async with world() as w:
        known, kept = await w.known()
        w.store.away = True
        for count in (1, 100):
            said = [keys.new_token()[1] for _ in range(count)]
            found = await asyncio.gather(*(verdict(w.bearer(one)) for one in said))
            assert set(found) == {errors.KeysUnavailable}
        for _ in range(5):
            with pytest.raises(errors.KeysUnavailable) as caught:
                await w.bearer("unknown")
            assert caught.value.message == errors.KeysUnavailable().message
            assert await w.bearer(known) == of(kept)
            await asyncio.sleep(0.2)
        w.store.away = False
        assert await verdict(w.bearer("unknown")) is errors.Unauthorized


@timed
async def test_a_failure_is_shared_like_an_answer() -> None:
    async with world() as w:
        await pass_(REFRESH)
        w.store.go.clear()
        w.store.away = True
        first = asyncio.create_task(verdict(w.bearer("unknown")))
        await simulated.idle()
        rest = [asyncio.create_task(verdict(w.bearer("unknown"))) for _ in range(100)]
        await simulated.idle()
        w.store.go.set()
        assert set(await asyncio.gather(first, *rest)) == {errors.KeysUnavailable}
        assert len(w.store.asked) == 2


@timed
async def test_who_waits_takes_the_failure_of_his_question_and_not_of_an_older_one() -> None:
    async with world() as w:
        await pass_(REFRESH)
        w.store.go.clear()
        w.store.away = True
        first = asyncio.create_task(verdict(w.bearer("unknown")))
        await simulated.idle()
        token, kept = await w.key()
        second = asyncio.create_task(verdict(w.bearer(token)))
        await simulated.idle()
        w.store.go.set()
        assert await first is errors.KeysUnavailable
        w.store.away = False
        assert await second == of(kept)


@timed
async def test_keys_hold_for_a_time_without_the_archive() -> None:
    async with world() as w, w.running():
        token, kept = await w.known()
        await pass_(REFRESH)
        since = w.store.asked[-1]
        w.store.away = True
        with capture_logs() as logs:
            await asyncio.sleep(since + STALE - simulated.now())
            assert await w.bearer(token) == of(kept)
            await asyncio.sleep(0.001)
            for said in (f"Bearer {token}", "Bearer unknown", None, "Basic x"):
                assert await verdict(w.says(said)) is errors.KeysUnavailable
        # Said once, however often it is asked; where it is, is for the operator.
        assert [(log["event"], log["error"]) for log in logs] == [("keys_unavailable", gates.PLACE)]
        w.store.away = False
        with capture_logs() as logs:
            await pass_(2 * REFRESH)
        assert [log["event"] for log in logs] == ["keys_recovered"]
        assert await w.bearer(token) == of(kept)


@timed
async def test_without_the_archive_an_open_node_does_not_stay_open() -> None:
    """A first key may have been made meanwhile; a hook is not asked either, nor a token."""

    async def hook(asked: gate.Asked) -> None:
        raise AssertionError

    for issuer, authorize in ((None, None), (gates.Issuer(a=gates.claims()), None), (None, hook)):
        async with world(issuer, authorize) as w:
            w.store.away = True
            await asyncio.sleep(STALE + 0.001)
            for said in (None, "Bearer a.b.c"):
                assert await verdict(w.says(said)) is errors.KeysUnavailable


@timed
async def test_an_archive_that_has_nothing_new_is_there() -> None:
    async with world() as w, w.running():
        token, kept = await w.known()
        await pass_(10 * STALE)
        assert await w.bearer(token) == of(kept)


@timed
async def test_a_question_counts_from_when_it_was_asked() -> None:
    """What takes long to answer is as old as the question."""
    async with world() as w, w.running():
        token, _ = await w.known()
        await pass_(REFRESH)
        since = w.store.asked[-1]
        w.store.go.clear()
        await asyncio.sleep(since + STALE - 1.0 - simulated.now())
        asked = w.store.asked[-1]
        w.store.go.set()
        await simulated.idle()
        w.store.away = True
        await asyncio.sleep(asked + STALE - simulated.now() + 0.001)
        assert await verdict(w.bearer(token)) is errors.KeysUnavailable


# Begin and end


async def test_it_does_not_begin_without_the_archive() -> None:
    store = gates.Store()
    store.away = True
    entrance = gate.Gate(store)
    with pytest.raises(errors.KeysUnavailable, match="secret-place"):
        await entrance.start()
    with pytest.raises(errors.KeysUnavailable):
        await entrance.admit(gate.Asked("GET", "/", {}, {}, None))
    await entrance.close()


async def test_it_closes_what_it_has() -> None:
    issuer, store = gates.Issuer(), gates.Store()
    entrance = gate.Gate(store, issuer)
    for count in (1, 2):
        await entrance.close()
        assert (issuer.closed, store.closed) == (count, count)
    await gate.Gate(gates.Store()).close()


async def test_its_times_fit_each_other() -> None:
    assert 0 < AGAIN < REFRESH < STALE
