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

Reread = Callable[[], Awaitable[rereading.Reread]]


class Filter(Protocol):
    """What stands between a call and the stream. Both raise `errors.ContinuationDiverged`."""

    def take(self, bodies: list[events.Body]) -> list[events.Body]: ...
    def end(self) -> list[events.Body]: ...


class Call(msgspec.Struct, frozen=True):
    """One call: the target by its number, what is asked, and what stands between."""

    target: int
    request: transport.Request
    between: Filter | None = None
    prefilled: bool = False


class Route(msgspec.Struct, frozen=True):
    """Whom a stream may ask, in order, and how far it may go. `first` is the name of whom it was
    left to at first. `instruction` has a target go on that takes no prefill."""

    targets: tuple[registry.Target, ...] = ()
    first: str = ""
    policy: fallback.Policy = fallback.Policy()
    instruction: str = "…"


Begin = Call | fallback.Step


class Writer(Protocol):
    """The producer, as the course sees it."""

    tally: tally.Tally

    calls: int
    """Calls made, those of earlier lives too."""

    stopped: errors.HoldfastError | None
    """Why the stream ends, once that is so."""

    async def rest(self, seconds: float) -> None:
        """Returns when the time is over, or the stream is stopped."""

    async def until_saved(self) -> None:
        """Returns when all that was said is in the log, or the stream is stopped."""

    async def ask(
        self, provider: base.Provider, call: transport.Request, between: Filter | None
    ) -> errors.HoldfastError | None:
        """Makes the call; None is a whole answer."""

    def say(self, bodies: list[events.Body]) -> None:
        """Writes these."""

    def abandon(self) -> None:
        """Nobody will ask for what the provider keeps of the answer so far."""


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
        self._attempts = 0
        self._prefilled = self._spoke = self._orphan = False
        self._reason = errors.Interrupted.code

    async def run(self, step: Begin) -> errors.HoldfastError | None:
        """The error that the stream ends with; None where its answer is whole."""
        # An orphan's first replay: as long as it brings nothing, its readers have met no failure.
        self._orphan = isinstance(step, fallback.Ask) and step.how == "replay"
        while True:
            match step:
                case fallback.Finish():
                    return None
                case fallback.GiveUp(error):
                    return error
            failed = await self._take(step)
            if failed is None:
                return None
            if self._writer.stopped is not None:
                return self._writer.stopped
            self._reason = failed.code
            step = self._after(failed)

    async def _take(self, step: Call | fallback.Ask) -> errors.HoldfastError | None:
        """One step; the error that its call ended with, or that kept it from being made."""
        self._prefilled = self._spoke = False
        if step.target != self._target:
            self._target, self._attempts = step.target, 0
        call = step
        if isinstance(call, fallback.Ask):
            await self._writer.rest(call.delay)
            try:
                call = await self._prepared(call)
            except errors.HoldfastError as error:
                return error
        if self._writer.stopped is not None:
            return self._writer.stopped
        return await self._make(call)

    async def _make(self, call: Call) -> errors.HoldfastError | None:
        target, asked_at = self._route.targets[call.target], self._loop.time()
        guard = self._breakers.of(target.provider.name)
        if not guard.admits(asked_at) and self._elsewhere(call):
            return errors.ProviderOverloaded("This provider is left alone for a while.")
        if not isinstance(call.between, replay.Replay):
            self._writer.abandon()
        self._attempts += 1
        self._prefilled = call.prefilled
        said = self._writer.tally.chunks
        error: errors.HoldfastError | None = errors.Interrupted()
        try:
            error = await self._writer.ask(target.provider, call.request, call.between)
        finally:
            guard.ended(error, self._loop.time(), began=asked_at)
        between = call.between
        self._orphan = self._orphan and isinstance(between, replay.Replay) and not between.new
        if isinstance(error, errors.ProviderError | errors.ContinuationDiverged):
            await self._note(target, error, asked_at)
            self._spoke = self._writer.tally.chunks > said
        return error

    async def _note(
        self, target: registry.Target, error: errors.HoldfastError, asked_at: float
    ) -> None:
        taken_ms = int((self._loop.time() - asked_at) * 1000)
        await self._writer.until_saved()
        name, cost = target.provider.name, self._writer.tally.usage
        said = events.Attempt(
            self._writer.calls, name, target.model, error.code, error.message, taken_ms, cost
        )
        self._writer.say([said])

    def _elsewhere(self, call: Call) -> bool:
        """Whether somebody after its target may be asked for the same."""
        ahead = self._shut()[call.target + 1 :]
        return not (all(ahead) or isinstance(call.between, replay.Replay))

    def _shut(self) -> list[bool]:
        now = self._loop.time()
        names = (target.provider.name for target in self._route.targets)
        return [self._breakers.of(name).shut(now) for name in names]

    def _after(self, error: errors.HoldfastError) -> fallback.Step:
        now, targets, shut = self._loop.time(), self._route.targets, self._shut()
        tried = fallback.Tried(
            target=self._target or 0,
            targets=len(targets),
            attempts=self._attempts,
            calls=self._writer.calls,
            seconds=now - self._begun,
            prefilled=self._prefilled,
            spoke=self._spoke,
            replaying=self._orphan,
            open=frozenset(number for number, closed in enumerate(shut) if closed),
        )
        current = targets[tried.target]
        keeper = None if self._moves(current) else current
        so_far = written(self._wanted, self._writer.tally, keeper)
        return fallback.next_step(error, tried, so_far, self._route.policy, random.random())

    async def _prepared(self, step: fallback.Ask) -> Call:
        """Raises `errors.HoldfastError`: the call cannot be made, or the stream is stopped."""
        target = self._route.targets[step.target]
        provider, model, wanted = target.provider, target.model, self._wanted
        if step.how == "fresh":
            between = joint.Joint(self._change(target)) if self._moves(target) else None
            return Call(step.target, provider.prepare(wanted, model), between)
        if step.how == "restart":
            change = self._change(target) if self._moves(target) else None
            between = joint.Joint(change, rewind=self._reason)
            return Call(step.target, provider.prepare(wanted, model), between)
        found = await self._read()
        if step.how == "replay":
            kept = self._writer.tally.kept
            again = provider.replay(wanted, model, kept, found.told.characters)
            if again is None:
                raise errors.UnknownModel("The provider does not keep this answer any more.")
            return Call(step.target, again, replay.Replay(found.told))
        return self._continued(step, target, found.text)

    def _continued(self, step: fallback.Ask, target: registry.Target, text: str) -> Call:
        prefill = step.prefill and target.provider.prefills(target.model)
        rest = continuation.of(
            self._wanted,
            text,
            prefill=prefill,
            instruction=self._route.instruction,
            used_tokens=self._writer.tally.spent,
            strip=prefill,
        )
        asked = target.provider.prepare(rest, target.model)
        stripped = continuation.stripped(text) if prefill else ""
        between = joint.Joint(
            self._change(target, len(text)),
            seam=seam.Seam(text, prefilled=prefill, stripped=stripped),
        )
        return Call(step.target, asked, between, prefill)

    async def _read(self) -> rereading.Reread:
        while True:
            try:
                return await self._reread()
            except errors.LogUnavailable:
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


def written(
    wanted: request.Request, so_far: tally.Tally, target: registry.Target | None
) -> fallback.Written:
    """What the stream's readers have, as the policy sees it. `target` is whom the answer was left
    to last; None where it is not there any more."""
    said = so_far.said
    whole_only = wanted.n > 1 or not said.isdisjoint({"tool_call", "refusal"})
    return fallback.Written(
        content="content" in said,
        other=bool(said - {"content"}),
        finished=so_far.finished(wanted.n),
        whole_only=whole_only or _is_json(wanted),
        replayable=target is not None and _replayable(wanted, so_far, target),
    )


def _is_json(wanted: request.Request) -> bool:
    form = wanted.response_format
    return form is not None and form.get("type") != "text"


def _replayable(wanted: request.Request, so_far: tally.Tally, target: registry.Target) -> bool:
    if so_far.joined:
        return False
    try:
        found = target.provider.replay(wanted, target.model, so_far.kept, 0)
    except errors.HoldfastError:  # the configuration is another one now
        return False
    return found is not None
