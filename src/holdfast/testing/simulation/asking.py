"""Clients that ask for answers, again where they were not told, that cancel and destroy them.

Strategy: a client knows what it will get, because the demo says the same to the same request: it
says so in the record before it asks. Its tag stands in the prompt and is the request's id. With an
Idempotency-Key it asks again with the same tag, and without one with another, as it cannot know
whether the first became a stream.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from holdfast import answer, errors, events, request
from holdfast.producing import opening
from holdfast.providers import demo
from holdfast.testing import history, simulated
from holdfast.testing.simulation import node, plan, provider, record

AGAIN = 0.3
"""Seconds until a client that was refused asks again, at most."""

GOES = 0.005
"""Seconds after which an impatient client goes away, to ask again."""

_line = msgspec.json.Decoder(tuple[str, msgspec.Raw]).decode

SPARE = ["spare/demo"]
"""Who is asked next, where somebody is."""

OTHER = "tag-9-0"
"""The tag of what must not become a stream."""

Up = Callable[[], Awaitable[node.Node]]


def wanted(asked: plan.Asked, tag: str) -> request.Request:
    """The request."""
    prompt = f"/demo {asked.options}\n{tag}"
    return request.Request(
        "demo",
        [request.Message("user", prompt)],
        n=asked.choices,
        flush_interval_ms=asked.flush_interval_ms,
        buffer_size=asked.buffer_size,
        fallback=request.Fallback(mode=asked.mode, providers=SPARE if asked.spare else []),
    )


def whole_sha256(asked: request.Request) -> str:
    """The `sha256` of the demo's whole answer."""
    choices = {number: answer.Choice() for number in range(asked.n)}
    for _, line in demo.script(provider.whole(asked)):
        kind, data = _line(line)
        body = events.decode(kind, data)
        if isinstance(body, events.Chunk):
            choices[body.choice].add(body)
    return sha256(choices)


def sha256(choices: Mapping[int, answer.Choice]) -> str:
    """SHA-256 of all that an answer says: text, reasoning, refusals, and whole tool calls."""
    said = [
        (
            number,
            choice.content,
            choice.reasoning,
            choice.refusal,
            [(call.name, call.arguments) for _, call in sorted(choice.tool_calls.items())],
        )
        for number, choice in sorted(choices.items())
    ]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


async def ask(
    asked: plan.Asked, up: Up, seen: record.Record, chance: random.Random, impatient: float
) -> events.StreamId | None:
    """Asks until there is a stream; `impatient` is the share of calls that it gives up. None where
    it was there, and was destroyed."""
    await asyncio.sleep(asked.at)
    for number in itertools.count():
        tag = f"tag-{asked.number}-{0 if asked.key else int(seen.name(''))}"
        body = wanted(asked, tag)
        seen.expect(tag, whole_sha256(body), asked.key)
        origin = opening.Origin(request_id=tag, idempotency_key=asked.key or None)
        served = await up()
        try:
            async with asyncio.timeout(GOES if chance.random() < impatient else None):
                made = await served.run(served.service.create(body, origin))
        except (node.Cut, errors.CapacityError, errors.LogError, TimeoutError):
            await asyncio.sleep(chance.random() * AGAIN * (number + 1))
            continue
        except errors.StreamExpired:
            if asked.key and events.StreamId(seen.stream(tag)) in seen.going:
                return None
            raise
        seen.returned(tag, made.stream, asked.key)
        return made.stream
    raise AssertionError("it asks for ever")


async def refused(asked: plan.Asked, up: Up) -> bool:
    """Asks for something else with a key that has a stream; whether that is refused."""
    other = msgspec.structs.replace(asked, options="tokens=1")
    served = await up()
    origin = opening.Origin(request_id=OTHER, idempotency_key=asked.key)
    try:
        await served.run(served.service.create(wanted(other, OTHER), origin))
    except (node.Cut, errors.CapacityError, errors.LogError, errors.IdempotencyMismatch):
        return True
    except errors.StreamExpired:  # whoever asks: it is gone
        return True
    return False


async def cancel(
    stream: events.StreamId, up: Up, seen: record.Record, chance: random.Random
) -> None:
    """Cancels until it is acknowledged."""
    while True:
        served = await up()
        try:
            await served.run(served.service.cancel(stream))
        except (node.Cut, errors.LogError):
            await asyncio.sleep(chance.random() * AGAIN)
            continue
        except errors.StreamExpired:
            if stream in seen.going:
                return
            raise
        seen.add(history.Cancelled(simulated.now(), stream))
        return


async def shred(
    stream: events.StreamId, up: Up, seen: record.Record, chance: random.Random
) -> None:
    """Destroys a stream; what is under way ends first."""
    seen.shred(stream, done=False)
    while True:
        served = await up()
        try:
            gone = await served.run(served.service.shred(stream))
        except (node.Cut, errors.LogError):
            gone = False
        except errors.StreamExpired:  # by a call that nobody was told of, or by another client
            gone = True
        if gone:
            seen.shred(stream, done=True)
            return
        await asyncio.sleep(chance.random() * AGAIN)
