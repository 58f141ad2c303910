"""The bytes of a stream in a dialect, as they come off the socket."""

from __future__ import annotations

from tests.integration import harness
from tests.integration.dialects import answers

from holdfast import storage
from holdfast.dialects import base

PING = b": ping\n"
"""A heartbeat, where the dialect has none of its own."""


async def paused(
    stage: answers.Stage, path: str, body: bytes, ping: bytes = PING, **headers: str
) -> harness.Response:
    """A stream that was silent in its middle until so many heartbeats had come."""
    stage.gate.clear()
    reader = await harness.Reader.open(stage.server.port, "POST", path, headers, body)
    await reader.until(lambda reader: reader.body.count(ping) >= 3)
    stage.gate.set()
    answer = await reader.rest()
    assert answer.clean
    assert b"\nid:" not in answer.body, answer.body
    assert b"\nretry:" not in answer.body, answer.body
    return answer


def check_comments(body: bytes) -> None:
    """Heartbeats are lines of comment between events, and nothing else is there."""
    assert b"\n\n: ping\n: ping\n" in body, body
    assert body.replace(PING, b"").count(b"\n\n") == body.count(b"data: "), body


async def folded(stage: answers.Stage, answer: harness.Response, dialect: base.Foreign) -> bytes:
    """The same stream in a fold of its own, as another reader gets it; heartbeats are no part."""
    service, stream = stage.server.service, harness.stream_of(answer)
    info = await service.log.stat(stream)
    assert isinstance(info, storage.Info)
    fold = dialect.fold(stream, info.header)
    return b"".join([fold.render(event) async for event in service.events(stream)])
