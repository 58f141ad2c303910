"""The calls of a stream whose providers fail: whom they go to, when, and what readers are told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.producing import scripted
from tests.unit.producing.staged import TEXT, WANTED, Provider, broken, proved, stage, whole

from holdfast import errors, events, request, transport
from holdfast.eventlog import base as log_base
from holdfast.testing import simulated


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than he must."""
    monkeypatch.setattr("holdfast.producing.course.random.random", lambda: 0.0)


# Before anything is written


@pytest.mark.case("2.26")
@simulated.timed
async def test_a_target_is_asked_three_times_and_then_the_next_one() -> None:
    async with stage() as on:
        on.a.plays, on.b.plays = [broken()], [whole(TEXT)]
        found = await on.run()
        proved(found, TEXT)
        assert on.times == [("a", 0.0), ("a", 1.0), ("a", 3.0), ("b", 3.0)]
        assert found.fallbacks == [events.Fallback("a/m", "b/n", "provider_overloaded", True, 0, 0)]
        assert [(one.number, one.provider, one.error) for one in found.attempts] == [
            (number, "a", "provider_overloaded") for number in (1, 2, 3)
        ]


@simulated.timed
async def test_one_that_recovers_is_stayed_with() -> None:
    async with stage() as on:
        on.a.plays = [broken(), whole(TEXT)]
        found = await on.run()
        proved(found, TEXT)
        assert (on.times, found.fallbacks) == ([("a", 0.0), ("a", 1.0)], [])


@pytest.mark.case("2.6")
@simulated.timed
async def test_all_that_fail_end_the_stream_with_the_last_error() -> None:
    async with stage() as on:
        on.a.plays, on.b.plays = [broken()], [broken(error=errors.ProviderAuth())]
        found = await on.run()
        assert found.error == events.failure(errors.ProviderAuth())
        assert [name for name, _ in on.times] == ["a", "a", "a", "b"]


@simulated.timed
async def test_what_a_provider_cannot_take_the_next_one_may() -> None:
    async with stage() as on:

        def refuse(wanted: request.Request, model: str) -> transport.Request:
            raise errors.MissingKey

        on.a.plays = [broken(error=errors.ProviderAuth())]
        on.b.prepare = refuse  # type: ignore[method-assign]
        found = await on.run()
        # How a call failed says more than why none could be made.
        assert found.error == events.failure(errors.ProviderAuth())
        assert on.times == [("a", 0.0)]


@simulated.timed
async def test_a_cancel_ends_the_wait() -> None:
    async with stage() as on:
        on.a.plays = [broken(error=errors.ProviderRateLimited(retry_after=20))]
        running = asyncio.create_task(on.run())
        await asyncio.sleep(5.0)
        on.producer.stop(errors.Cancelled())
        await simulated.idle()
        assert (await running).error == events.failure(errors.Cancelled())
        assert len(on.a.asked) == 1


# In mid-answer


@pytest.mark.case("1.7")
@pytest.mark.parametrize("repeated", [0, 10, 23, 24, 30, 41])
@simulated.timed
async def test_the_next_one_goes_on_where_it_broke_off(repeated: int) -> None:
    async with stage() as on:
        at = 41
        cut = broken(scripted.content(TEXT[:at]), error=errors.ProviderAuth())
        on.a.plays, on.b.plays = [cut], [whole(TEXT[at - repeated :])]
        found = await on.run()
        doubled = TEXT[at - repeated : at] if repeated < 24 else ""
        proved(found, TEXT[:at] + doubled + TEXT[at:])
        trimmed = repeated if repeated >= 24 else 0
        assert found.fallbacks == [
            events.Fallback("a/m", "b/n", "provider_auth", trimmed > 0, trimmed, at)
        ]
        assert found.complete is not None
        assert found.complete.exact is (trimmed > 0)
        kinds = await on.kinds()
        assert kinds.index("Fallback") < len(kinds) - 1 - kinds[::-1].index("Chunk")


@pytest.mark.case("2.24")
@simulated.timed
async def test_what_the_next_one_is_sent() -> None:
    thought = events.Chunk("reasoning", "Nobody else may see this.")
    async with stage() as on:
        said = (thought, scripted.content(TEXT[:40]), events.Usage(10, 400, 410))
        on.a.plays = [broken(*said, error=errors.ProviderAuth())]
        on.b.plays = [whole(TEXT[40:])]
        found = await on.run()
        proved(found, TEXT)
        assert found.attempts[0].usage == events.Tokens(10, 400, 410)
        [(_, asked)] = on.b.asked
        assert asked.messages == [
            *WANTED.messages,
            request.Message("assistant", TEXT[:40]),
            request.Message("user", "⏵"),
        ]
        assert asked.max_tokens == 600


@pytest.mark.case("2.24")
@simulated.timed
async def test_a_prefill_is_gone_on_from_and_one_that_is_refused_is_done_without() -> None:
    async with stage(prefill=True) as on:
        on.a.plays = [broken(scripted.content(TEXT[:30] + " "), error=errors.ProviderAuth())]
        on.b.plays = [broken(error=errors.ProviderRejected()), whole(TEXT[30:])]
        found = await on.run()
        proved(found, TEXT[:30] + " " + TEXT[30:])
        roles = [[message.role for message in asked.messages] for _, asked in on.b.asked]
        assert roles == [["user", "assistant"], ["user", "assistant", "user"]]
        assert on.b.asked[0][1].messages[-1].content == TEXT[:30].rstrip()
        assert on.times == [("a", 0.0), ("b", 0.0), ("b", 0.0)]


@simulated.timed
async def test_two_targets_may_fail_one_after_the_other() -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:20]), error=errors.ProviderAuth())]
        on.b.plays = [broken(scripted.content(TEXT[20:50])), whole(TEXT[50:])]
        found = await on.run()
        proved(found, TEXT)
        assert [(one.from_, one.to, one.at) for one in found.fallbacks] == [
            ("a/m", "b/n", 20),
            ("b/n", "b/n", 50),
        ]


HALF_A_CALL = events.Chunk("tool_call", '{"a"', call=0, id="c", name="f")


@pytest.mark.case("1.7")
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (HALF_A_CALL, WANTED),
        (events.Chunk("refusal", "I can't"), WANTED),
        (
            scripted.content('{"a": '),
            msgspec.structs.replace(WANTED, response_format={"type": "json_object"}),
        ),
        (scripted.content("one"), msgspec.structs.replace(WANTED, n=2)),
    ],
    ids=["tool call", "refusal", "json", "two answers"],
)
@pytest.mark.parametrize("otherwise", ["restart", "error"])
@simulated.timed
async def test_what_cannot_be_continued_is_told_anew_or_ends(
    said: events.Chunk, wanted: request.Request, otherwise: str
) -> None:
    async with stage() as on:
        on.a.plays = [broken(said, error=errors.ProviderQuota())]
        on.b.plays = [whole(TEXT, *([scripted.stop(1)] if wanted.n == 2 else []))]
        found = await on.run(wanted, otherwise=otherwise)
        if otherwise == "error":
            assert found.error == events.failure(errors.ProviderQuota())
            assert on.b.asked == []
            return
        proved(found, TEXT)
        assert found.choice().reasoning == found.choice().refusal == ""
        assert found.choice().tool_calls == {}
        kinds = await on.kinds()
        assert kinds[kinds.index("Fallback") + 1] == "Rewind"
        assert on.b.asked[0][1] == wanted


@pytest.mark.parametrize("policy", [{"otherwise": "error"}, {"mode": "none"}, {"mode": "restart"}])
@simulated.timed
async def test_reasoning_alone_is_before_the_answer(policy: dict[str, Any]) -> None:
    """Whoever is next tells it anew, whatever is to follow once there is an answer."""
    async with stage() as on:
        on.a.plays = [broken(events.Chunk("reasoning", "Hm."), error=errors.ProviderQuota())]
        on.b.plays = [whole(TEXT)]
        found = await on.run(**policy)
        proved(found, TEXT)
        assert found.choice().reasoning == ""
        kinds = await on.kinds()
        assert kinds[kinds.index("Fallback") + 1] == "Rewind"


@pytest.mark.parametrize("mode", ["restart", "none"])
@simulated.timed
async def test_a_request_may_want_it_anew_or_not_at_all(mode: str) -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:40]), error=errors.ProviderQuota())]
        on.b.plays = [whole(TEXT)]
        found = await on.run(mode=mode)
        if mode == "none":
            assert found.error == events.failure(errors.ProviderQuota())
            assert found.choice().content == TEXT[:40]
        else:
            proved(found, TEXT)
            assert found.complete is not None
            assert found.complete.exact is True


LONG = f"{TEXT} {TEXT[::-1]}"


@pytest.mark.parametrize(("begin", "text"), [(LONG[:90], LONG), (LONG[:90] + "X", LONG)])
@simulated.timed
async def test_one_that_starts_over_is_swallowed_or_diverges(begin: str, text: str) -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(begin), error=errors.ProviderQuota())]
        on.b.plays = [whole(text)]
        found = await on.run()
        proved(found, text)
        diverged = begin != LONG[: len(begin)]
        assert ("Rewind" in await on.kinds()) is diverged
        codes = [one.error for one in found.attempts]
        assert ("continuation_diverged" in codes) is diverged
        if not diverged:
            assert found.fallbacks[0].trimmed == len(begin)


@simulated.timed
async def test_a_provider_that_brings_nothing_changes_nothing() -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:40]), error=errors.ProviderQuota())]
        on.b.plays = [broken(error=errors.ProviderQuota())]
        found = await on.run(mode="restart")
        assert found.error == events.failure(errors.ProviderQuota())
        assert found.choice().content == TEXT[:40]
        assert found.fallbacks == []


# What a provider keeps


def keeps(provider: Provider) -> None:
    """It keeps its answers, and tells one again that it kept."""

    def replay(
        wanted: request.Request, model: str, kept: str | None, written: int
    ) -> transport.Request | None:
        return scripted.CALL if kept else None

    provider.replay = replay  # type: ignore[method-assign]


@simulated.timed
async def test_a_kept_answer_is_told_again_and_gone_on_with() -> None:
    async with stage() as on:
        keeps(on.a)
        kept = events.Kept("r")
        on.a.plays = [broken(kept, scripted.content(TEXT[:30])), broken(kept), whole(TEXT)]
        proved(await on.run(), TEXT)
        assert on.times == [("a", 0.0), ("a", 1.0), ("a", 3.0)]
        assert on.discarded == []


@pytest.mark.parametrize("mode", ["continue", "restart"])
@simulated.timed
async def test_what_is_kept_is_discarded_when_another_goes_on(mode: str) -> None:
    async with stage() as on:
        keeps(on.a)
        keeps(on.b)
        lasting = errors.ProviderQuota()
        on.a.plays = [broken(events.Kept("r"), scripted.content(TEXT[:30]), error=lasting)]
        on.b.plays = [broken(), whole(TEXT[30:] if mode == "continue" else TEXT)]
        proved(await on.run(mode=mode), TEXT)
        assert on.discarded == [("a", "r")]
        # Nobody asks one provider for what another one keeps.
        assert [name for name, _ in on.times] == ["a", "b", "b"]


@simulated.timed
async def test_what_is_kept_and_goes_on_otherwise_is_discarded() -> None:
    async with stage() as on:
        keeps(on.a)
        on.a.plays = [broken(events.Kept("r"), scripted.content("Something else.")), whole(TEXT)]
        found = await on.run()
        proved(found, TEXT)
        assert [one.error for one in found.attempts][1] == "continuation_diverged"
        assert on.discarded == [("a", "r")]


@simulated.timed
async def test_one_that_tells_less_than_it_had_has_failed() -> None:
    """For readers, and for who looks which provider fails."""

    def shorter(exchange: scripted.Exchange) -> None:
        exchange.head()
        exchange.say(scripted.content(TEXT[:20]), finished=True)
        exchange.say(done=True)

    async with stage() as on:
        keeps(on.a)
        on.a.plays = [broken(events.Kept("r"), scripted.content(TEXT[:30])), shorter, whole(TEXT)]
        found = await on.run()
        proved(found, TEXT)
        codes = [(one.provider, one.error) for one in found.attempts]
        assert codes == [("a", "provider_overloaded"), ("a", "continuation_diverged")]
        noted = on.producer._counted.failures.told()
        assert [(one.provider, one.code) for one in noted] == codes


@pytest.mark.parametrize("ending", ["cancelled", "failed"])
@simulated.timed
async def test_what_the_one_who_goes_on_keeps_is_known(ending: str) -> None:
    """So that it is told to stop where nobody will read it."""
    async with stage() as on:
        keeps(on.b)
        on.a.plays = [broken(scripted.content(TEXT[:30]), error=errors.ProviderQuota())]

        def begins(exchange: scripted.Exchange) -> None:
            exchange.head()
            exchange.say(events.Kept("r"))
            if ending == "failed":
                exchange.say(error=errors.ProviderQuota())

        on.b.plays = [begins]
        running = asyncio.create_task(on.run())
        await asyncio.sleep(1.0)
        on.producer.stop(errors.Cancelled())
        assert (await running).error is not None
        assert on.producer.keeping == (on.b, "r")


@simulated.timed
async def test_what_is_kept_is_discarded_where_a_cancel_comes_before_the_next_call() -> None:
    """The log tells of it with the very note of that call."""
    async with stage() as on:
        keeps(on.a)
        lasting = errors.ProviderQuota()
        on.a.plays = [broken(events.Kept("r"), scripted.content(TEXT[:30]), error=lasting)]
        on.b.plays = [whole(TEXT[30:])]
        append = on.log.append

        async def cancelling(tick: log_base.Tick) -> list[log_base.Result]:
            if any(b"continue" in draft.data for batch in tick for draft in batch.drafts):
                await on.log.request_cancel(on.stream)
            return await append(tick)

        on.log.append = cancelling  # type: ignore
        found = await on.run()
        assert found.error == events.failure(errors.Cancelled())
        assert on.b.asked == []
        assert on.discarded == [("a", "r")]


@simulated.timed
async def test_one_that_is_not_kept_any_more_is_gone_on_with() -> None:
    """By whom it was asked of, who is there and only has forgotten it."""
    async with stage() as on:
        keeps(on.a)
        gone = errors.ProviderModelNotFound()
        begun = broken(events.Kept("r"), scripted.content(TEXT[:30]))
        on.a.plays = [begun, broken(error=gone), whole(TEXT[30:])]
        proved(await on.run(), TEXT)
        assert [name for name, _ in on.times] == ["a", "a", "a"]
        assert on.discarded == [("a", "r")]


@simulated.timed
async def test_what_a_filter_cuts_off_when_it_is_told_again_is_void_too() -> None:
    async with stage() as on:
        keeps(on.a)
        filtered = broken(scripted.content(TEXT[:20]), error=errors.ProviderRejected())
        on.a.plays = [broken(events.Kept("r"), scripted.content(TEXT[:30])), filtered]
        on.b.plays = [whole(TEXT)]
        proved(await on.run(), TEXT)
        assert "Rewind" in await on.kinds()
        assert on.b.asked[0][1].messages == WANTED.messages


# When the log is away


@pytest.mark.parametrize(("reads", "lost"), [(20, False), (30, False), (31, True)])
@simulated.timed
async def test_a_log_that_cannot_be_read_is_waited_for_and_not_for_ever(
    reads: int, lost: bool
) -> None:
    async with stage() as on:
        on.a.plays = [broken(scripted.content(TEXT[:30]), error=errors.ProviderQuota())]
        on.b.plays = [whole(TEXT[30:])]
        read, left = on.log.read, [errors.LogUnavailable()] * reads

        async def failing(*given: Any) -> log_base.Page:
            if left:
                raise left.pop()
            return await read(*given)

        on.log.read = failing  # type: ignore
        found = await on.run()
        if lost:
            assert found.error is not None
            assert found.error.code == "log_lost"
        else:
            proved(found, TEXT)
            assert on.times == [("a", 0.0), ("b", float(reads))]
