"""The calls of one stream: who is asked, in which order and how, until the answer is whole.

Strategy: a loop of a step and a call. The step is the pure policy's (`fallback`), the call is made
through the producer, which alone writes. Between two calls everything said is in the log first:
what the next step goes by, and what an answer is continued from, is what readers have.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from holdfast import errors, events, request, transport
from holdfast.producing import (
    breaker,
    continuation,
    disclosing,
    fallback,
    joint,
    replay,
    rereading,
    seam,
    tally,
)
from holdfast.providers import base, registry

AGAIN = 1.0
"""Seconds before a log is read again that could not be reached."""

PATIENCE = 30.0
"""Seconds after which a log that still cannot be read is given up."""

Reread = Callable[[], Awaitable[rereading.Reread]]


class Filter(Protocol):
    """What stands between a call and the stream. Both raise `errors.ContinuationDiverged`."""

    def take(self, bodies: list[events.Body]) -> list[events.Body]: ...
    def end(self) -> list[events.Body]: ...


class Call(msgspec.Struct, frozen=True):
    """One call: the target by its number, what is asked and how, and what stands between."""

    target: int
    request: transport.Request
    between: Filter | None = None
    how: fallback.How = "fresh"
    prefilled: bool = False


class Route(msgspec.Struct, frozen=True):
    """Whom a stream may ask, in order, and how far it may go. `first` is the name of whom it was
    left to at first, `kind` the one whose own parts may stand in the conversation. `instruction`
    has a target go on that takes no prefill. `strict`: whoever cannot be told all that a foreign
    request says is not asked."""

    targets: tuple[registry.Target, ...] = ()
    first: str = ""
    policy: fallback.Policy = fallback.Policy()
    instruction: str = "…"
    kind: str = ""
    strict: bool = True


Begin = Call | fallback.Step

Keeping = tuple[base.Provider, str]
"""A provider, and the id under which it keeps the answer."""


class Writer(Protocol):
    """The producer, as the course sees it."""

    tally: tally.Tally

    stopped: errors.HoldfastError | None
    """Why the stream ends, once that is so."""

    async def rest(self, seconds: float) -> None:
        """Returns when the time is over, or the stream is stopped."""

    async def until_saved(self) -> None:
        """Returns when all that was said is in the log, or the stream is stopped."""

    async def ask(
        self, target: registry.Target, call: transport.Request, between: Filter | None
    ) -> errors.HoldfastError | None:
        """Makes the call; None is a whole answer."""

    def say(self, bodies: list[events.Body]) -> None:
        """Writes these."""

    @property
    def keeping(self) -> Keeping | None:
        """What is kept of the answer, if anything is."""

    def discard(self, kept: Keeping) -> None:
        """Nobody will ask for this any more."""


class Course:
    """One course for one life of a stream's writer."""

    def __init__(
        self,
        wanted: request.Request,
        route: Route,
        writer: Writer,
        reread: Reread,
        breakers: breaker.Breakers,
    ) -> None:
        self._wanted, self._route, self._writer = wanted, route, writer
        self._reread, self._breakers = reread, breakers
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._target: int | None = None
        self._left: set[int] = set()
        self._bare: set[int] = set()  # targets that have refused a prefill
        self._attempts = 0
        self._fresh = False  # the first call, which the stream's start tells of, is not made yet
        self._prefilled = self._spoke = self._retold = self._orphan = False
        self._failure: errors.HoldfastError | None = None
        self._reason = errors.Interrupted.code

    async def run(self, step: Begin) -> errors.HoldfastError | None:
        """The error that the stream ends with; None where its answer is whole."""
        number = len(self._route.targets)
        if isinstance(step, Call):
            self._left, self._fresh = set(range(number)), True
        elif isinstance(step, fallback.Ask):
            self._left = set(range(step.target, number))
            # An orphan's first replay: as long as it brings nothing, its readers have met no
            # failure.
            self._orphan = step.how == "replay"
        while True:
            match step:
                case fallback.Finish():
                    return None
                case fallback.GiveUp(error):
                    return self._last(error)
            failed = await self._take(step)
            if failed is None:
                return None
            if self._writer.stopped is not None:
                return self._writer.stopped
            step = self._after(failed)

    def _last(self, error: errors.HoldfastError) -> errors.HoldfastError:
        """What the stream ends with: rather how a call failed than why none could be made."""
        unasked = isinstance(error, errors.RequestError | errors.SettingsError)
        return self._failure if unasked and self._failure is not None else error

    async def _take(self, step: Call | fallback.Ask) -> errors.HoldfastError | None:
        """One step; the error that its call ended with, or that kept it from being made."""
        self._prefilled = self._spoke = self._retold = False
        if step.target != self._target:
            self._target, self._attempts = step.target, 0
        call = step
        if isinstance(call, fallback.Ask):
            await self._writer.rest(call.delay)
            try:
                call = await self._prepared(call)
            except errors.HoldfastError as error:
                self._left.discard(step.target)
                self._retold = step.how == "replay"
                return self._unmade(error)
        if self._writer.stopped is not None:
            return self._writer.stopped
        return await self._make(call)

    async def _make(self, call: Call) -> errors.HoldfastError | None:
        target = self._route.targets[call.target]
        guard = self._breakers.of(target.provider.name)
        admitted = guard.admits(self._loop.time())
        if not admitted and self._elsewhere(call):
            self._left.add(call.target)
            why = "This provider is left alone for a while."
            return self._unmade(errors.ProviderOverloaded(why))
        self._left.discard(call.target)
        self._attempts += 1
        self._prefilled = call.prefilled
        error: errors.HoldfastError | None = errors.Interrupted()
        begun = self._loop.time()
        try:
            error = await self._ask(call, target, guard)
        finally:
            if admitted:
                guard.ended(error, self._loop.time(), began=begun)
        between = call.between
        self._orphan = self._orphan and isinstance(between, replay.Replay) and not between.new
        return error

    async def _ask(
        self, call: Call, target: registry.Target, guard: breaker.Breaker
    ) -> errors.HoldfastError | None:
        """The call, with what is written of it before and after."""
        writer, name = self._writer, target.provider.name
        number, kept = 1, None
        if not (self._fresh and target.name == self._route.first):
            number = writer.tally.calls + (not self._fresh)
            kept = writer.keeping if call.how != "replay" else None
            await self._note(events.Attempt(number, name, target.model, how=call.how))
            if kept is not None and not isinstance(writer.stopped, errors.Interrupted):
                writer.discard(kept)  # else another life writes, and may want it
            if writer.stopped is not None:
                return writer.stopped
        self._fresh = False
        between, said = call.between, writer.tally.chunks
        if guard.state == "half_open":
            between = _Heard(between, guard)
        asked_at = self._loop.time()
        error = await writer.ask(target, call.request, between)
        if isinstance(error, errors.ProviderError | errors.ContinuationDiverged):
            self._failure, self._reason = error, error.code
            taken_ms = int((self._loop.time() - asked_at) * 1000)
            await writer.until_saved()
            retold = call.between if isinstance(call.between, replay.Replay) else None
            heard = retold is not None and retold.heard
            self._retold, self._spoke = retold is not None, heard or writer.tally.chunks > said
            rejected = isinstance(error, errors.ProviderRejected)
            if self._prefilled and rejected and not self._spoke:
                self._bare.add(call.target)
            # A filter has cut it off, or it told something else.
            void = (rejected and self._spoke) or isinstance(error, errors.ContinuationDiverged)
            why = (error.code, error.message, taken_ms, writer.tally.usage)
            await self._note(events.Attempt(number, name, target.model, *why, void=void))
        return error

    async def _note(self, attempt: events.Attempt) -> None:
        self._writer.say([attempt])
        await self._writer.until_saved()

    def _unmade(self, error: errors.HoldfastError) -> errors.HoldfastError:
        """A call was not made, for this reason."""
        if self._failure is None:
            self._reason = error.code
        return error

    def _elsewhere(self, call: Call) -> bool:
        """Whether somebody else may be asked for the same."""
        shut = self._shut()
        others = [number for number in self._left if number != call.target and not shut[number]]
        return bool(others) and call.how != "replay"

    def _shut(self) -> list[bool]:
        now = self._loop.time()
        names = (target.provider.name for target in self._route.targets)
        return [self._breakers.of(name).shut(now) for name in names]

    def _after(self, error: errors.HoldfastError) -> fallback.Step:
        shut = self._shut()
        tried = fallback.Tried(
            target=self._target or 0,
            attempts=self._attempts,
            calls=self._writer.tally.calls - self._fresh,
            left=tuple(sorted(self._left)),
            open=frozenset(number for number, closed in enumerate(shut) if closed),
            seconds=self._loop.time() - self._begun,
            prefilled=self._prefilled,
            spoke=self._spoke,
            retold=self._retold,
            replaying=self._orphan,
        )
        current = self._route.targets[tried.target]
        so_far = written(self._wanted, self._writer.tally, current, self._route.first)
        policy = self._route.policy
        step = fallback.next_step(error, tried, so_far, policy, random.random())
        moves = isinstance(step, fallback.Ask) and step.target != tried.target
        for_its_breaker = tried.target in tried.open and tried.attempts < policy.attempts
        if moves and error.retryable and for_its_breaker:
            self._left.add(tried.target)
        return step

    async def _prepared(self, step: fallback.Ask) -> Call:
        """Raises `errors.HoldfastError`: the call cannot be made, or the stream is stopped."""
        target = self._route.targets[step.target]
        provider, model = target.provider, target.model
        route = self._route
        wanted = disclosing.shown(self._wanted, target, route.kind, strict=route.strict)
        change = self._change(target) if self._moves(target) else None
        if step.how == "fresh":
            between = joint.Joint(change) if change is not None else None
            return Call(step.target, provider.prepare(wanted, model), between)
        if step.how == "restart":
            between = joint.Joint(change, rewind=self._reason)
            return Call(step.target, provider.prepare(wanted, model), between, step.how)
        found = await self._read()
        if step.how == "replay":
            kept = self._writer.tally.kept
            again = provider.replay(wanted, model, kept, found.told.characters)
            if again is None:
                raise errors.UnknownModel("The provider does not keep this answer any more.")
            return Call(step.target, again, replay.Replay(found.told), step.how)
        return self._continued(step.target, target, wanted, found.text)

    def _continued(
        self, number: int, target: registry.Target, wanted: request.Request, text: str
    ) -> Call:
        prefill = target.provider.prefills(target.model) and number not in self._bare
        rest = continuation.of(
            wanted,
            text,
            prefill=prefill,
            instruction=self._route.instruction,
            used_tokens=self._writer.tally.spent,
            strip=prefill,
        )
        rest_of_it = target.provider.prepare(rest, target.model)
        stripped = continuation.stripped(text) if prefill else ""
        between = joint.Joint(
            self._change(target, len(text)),
            seam=seam.Seam(text, prefilled=prefill, stripped=stripped),
        )
        return Call(number, rest_of_it, between, "continue", prefill)

    async def _read(self) -> rereading.Reread:
        end = self._loop.time() + PATIENCE
        while True:
            try:
                return await self._reread()
            except errors.LogUnavailable:
                if self._loop.time() >= end:
                    raise errors.LogLost("The event log could not be read for too long.") from None
                await self._writer.rest(AGAIN)
                if self._writer.stopped is not None:
                    raise self._writer.stopped from None

    def _name(self) -> str:
        """To whom the answer was left last."""
        return self._writer.tally.target or self._route.first

    def _moves(self, target: registry.Target) -> bool:
        return target.name != self._name()

    def _change(self, target: registry.Target, at: int = 0) -> joint.Change:
        return joint.Change(self._name(), target.name, self._reason, at)


class _Heard:
    """A `Filter` that tells the breaker of the first word; a long answer need not end for that."""

    def __init__(self, inner: Filter | None, guard: breaker.Breaker) -> None:
        self._inner, self._guard = inner, guard
        self._time = asyncio.get_running_loop().time

    def take(self, bodies: list[events.Body]) -> list[events.Body]:
        if any(isinstance(body, events.Chunk) for body in bodies):
            self._guard.answers(self._time())
        return bodies if self._inner is None else self._inner.take(bodies)

    def end(self) -> list[events.Body]:
        return [] if self._inner is None else self._inner.end()


def written(
    wanted: request.Request, so_far: tally.Tally, target: registry.Target | None, first: str
) -> fallback.Written:
    """What the stream's readers have, as the policy sees it. `target` is whom the latest call went
    to, None where it is not there any more; `first` the name of whom the first one went to."""
    said = so_far.said
    other = not said.isdisjoint({"tool_call", "refusal"})
    whole_only = wanted.n > 1 or other
    told_by, latest = so_far.target or first, so_far.asked or first
    same = target is not None and target.name == told_by == latest
    return fallback.Written(
        content="content" in said,
        thought=not said <= {"content", "tool_call", "refusal"},
        other=other,
        binding=_binding(wanted, so_far),
        finished=so_far.finished(wanted.n),
        whole_only=whole_only or _is_json(wanted),
        void=so_far.void,
        replayable=same and target is not None and _replayable(wanted, so_far, target),
    )


def _binding(wanted: request.Request, so_far: tally.Tally) -> bool:
    foreign = wanted.foreign
    return foreign is not None and not foreign.whole and not so_far.said <= set(foreign.revocable)


def _is_json(wanted: request.Request) -> bool:
    form = wanted.response_format
    return form is not None and form.get("type") != "text"


def _replayable(wanted: request.Request, so_far: tally.Tally, target: registry.Target) -> bool:
    if not so_far.own:
        return False
    try:
        found = target.provider.replay(wanted, target.model, so_far.kept, 0)
    except errors.HoldfastError:  # the configuration is another one now
        return False
    return found is not None
