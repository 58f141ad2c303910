"""A killed server's streams, after its restart: they go on where that is exact, else they end.

Strategy: a real process with a SQLite log is killed while readers of ours are attached, and
another one starts on the same file. What the readers had must be the begin of what is there
afterwards, byte for byte, and a reader that comes back with its last id gets the rest. The
provider is the demo, which tells its answers again, or a scripted vendor in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from tests.integration import asking, harness, processes

from holdfast.testing import provider as replay

RESPONSE = "resp_0a1b2c3d4e"
WORDS = [f"{number} " for number in range(40)]


def event(kind: str, **fields: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        msgspec.json.encode({"type": kind, **fields}),
    )


def told(words: list[str]) -> tuple[bytes, ...]:
    """An answer of OpenAI Responses in background mode, without its end."""
    response = {"id": RESPONSE, "object": "response", "background": True, "status": "in_progress"}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return (
        event("response.created", response=response),
        event("response.output_item.added", output_index=0, item=item),
        event("response.content_part.added", part=part, **place),
        *[event("response.output_text.delta", delta=word, **place) for word in words],
    )


def end() -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 40, "total_tokens": 43}
    response = {"id": RESPONSE, "object": "response", "status": "completed", "usage": usage}
    return event("response.completed", response=response)


@contextlib.asynccontextmanager
async def vendor(
    kind: str, answer: Callable[[replay.Request], replay.Answer], folder: Path, **more: object
) -> AsyncIterator[tuple[replay.ReplayServer, dict[str, str]]]:
    """A scripted vendor, and the variables that make it the provider `far`."""
    async with replay.ReplayServer(answer) as server:
        row = {"kind": kind, "base_url": f"{server.url}/v1", "api_key": "k", **more}
        lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in row.items()]
        config = folder / "far.toml"
        config.write_text("[providers.far]\n" + "\n".join(lines) + "\n")
        yield server, {"config": str(config)}


def arguments(folder: Path, config: Mapping[str, str] | None = None) -> tuple[str, ...]:
    named = ("--config", config["config"]) if config else ()
    return ("--log-url", f"sqlite:///{folder}/log.db", *named)


async def killed(
    args: tuple[str, ...], folder: Path, body: bytes, ready: Callable[[harness.Reader], bool]
) -> tuple[str, bytes]:
    """A stream whose server is killed once its reader is `ready`: its id, and what was read."""
    async with processes.serving(*args, folder=folder) as server:
        reader = await harness.begin(server.port, body)
        await reader.until(ready)
        server.process.send_signal(signal.SIGKILL)
        whole = await reader.rest()
    assert not whole.clean
    return harness.stream_of(reader), harness.durable(whole.body)


async def rest(port: int, stream: str, had: bytes) -> harness.Response:
    """What comes after the last event that a reader had; all of it is checked."""
    whole = await harness.ask(port, "GET", f"/v1/streams/{stream}/events")
    assert whole.clean
    assert whole.body.startswith(had)
    back = await (await harness.resume(port, asking.last_id(had), "header")).rest()
    assert had + back.body == whole.body
    kinds = asking.kinds(whole.body)
    assert [kind for kind in kinds if kind in ("error", "complete")] == kinds[-1:]
    shown = (await harness.ask(port, "GET", f"/v1/streams/{stream}")).json()
    assert shown["content"] == asking.content(whole.body)
    return whole


@pytest.mark.case("1.21")
@pytest.mark.parametrize("options", ["", "reasoning=9 unicode=1", "tool=2 tokens=60"])
async def test_an_answer_of_the_demo_goes_on_exactly(options: str, tmp_path: Path) -> None:
    args = arguments(tmp_path)
    body = asking.demo(f"tokens=60 rate=60 {options}", flush_interval_ms=0)
    stream, had = await killed(args, tmp_path, body, asking.has(20))
    async with processes.serving(*args, folder=tmp_path) as server:
        whole = await rest(server.port, stream, had)
        untouched = await asking.finished(server.port, f"tokens=60 {options}")
    assert asking.kinds(whole.body)[-1] == "complete"
    assert asking.content(whole.body) == asking.content(untouched.body)
    ends = [harness.said(answer.body)[-1].data for answer in (whole, untouched)]
    assert ends[0]["sha256"] == ends[1]["sha256"]
    assert ends[0]["usage"]["output_tokens"] == ends[1]["usage"]["output_tokens"]


@pytest.mark.parametrize("again", ["whole", "other", "gone"])
async def test_an_answer_that_the_provider_keeps_is_compared_and_goes_on(
    again: str, tmp_path: Path
) -> None:
    second = {
        "whole": replay.Answer(body=(*told(WORDS), end())),
        "other": replay.Answer(body=(*told(["Something", " else", *WORDS]), end())),
        "gone": replay.Answer(status=404),
    }[again]

    def answer(asked: replay.Request) -> replay.Answer:
        if asked.method == "GET":
            return second
        written = [one["content"] for one in asked.json()["input"] if one["role"] == "assistant"]
        if written:
            rest = "".join(WORDS).removeprefix(written[0])
            return replay.Answer(body=(*told([rest]), end()))
        return replay.Answer(body=told(WORDS[:15]), ending="stall")

    async with vendor("openai_responses", answer, tmp_path, background=True) as (server, config):
        args = arguments(tmp_path, config)
        body = harness.wanted("far/m", flush_interval_ms=0)
        stream, had = await killed(args, tmp_path, body, asking.has(12))
        async with processes.serving(*args, folder=tmp_path) as restarted:
            whole = await rest(restarted.port, stream, had)
    last = harness.said(whole.body)[-1]
    methods = [(asked.method, asked.target) for asked in server.requests]
    first = [("POST", "/v1/responses"), ("GET", f"/v1/responses/{RESPONSE}?stream=true")]
    if again == "other":
        assert (last.event, last.data["code"]) == ("error", "continuation_diverged")
        assert methods[:2] == first
        return
    assert (last.event, asking.content(whole.body)) == ("complete", "".join(WORDS))
    assert last.data["usage"]["output_tokens"] == 40
    assert last.data["attempts"] == len([method for method in methods if "cancel" not in method[1]])
    if again == "whole":
        assert methods == first
    else:
        # It is not kept any more, and is gone on with like any other.
        assert methods[:2] == first
        cancel = ("POST", f"/v1/responses/{RESPONSE}/cancel")
        assert sorted(methods[2:]) == [("POST", "/v1/responses"), cancel]


async def test_a_kept_answer_is_stopped_at_its_provider_when_it_is_cancelled(
    tmp_path: Path,
) -> None:
    """A closed connection would not do: the provider would go on writing."""

    def answer(asked: replay.Request) -> replay.Answer:
        if asked.target.endswith("/cancel"):
            return replay.Answer(headers=(("Content-Type", "application/json"),), body=(b"{}",))
        return replay.Answer(body=told(WORDS[:15]), ending="stall")

    async with vendor("openai_responses", answer, tmp_path, background=True) as (server, config):
        args = arguments(tmp_path, config)
        async with processes.serving(*args, folder=tmp_path) as node:
            reader = await harness.begin(node.port, harness.wanted("far/m"))
            await reader.until(lambda reader: b'"kept"' in reader.body and asking.has(3)(reader))
            stream = harness.stream_of(reader)
            await harness.ask(node.port, "POST", f"/v1/streams/{stream}/cancel")
            assert harness.said((await reader.rest()).body)[-1].data["code"] == "cancelled"
            await asking.until(lambda: len(server.records) == 2)
            async with asyncio.timeout(harness.PATIENCE):
                await server.records[1].ended.wait()
    assert [asked.target for asked in server.requests] == [
        "/v1/responses",
        f"/v1/responses/{RESPONSE}/cancel",
    ]


STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


async def test_what_has_finished_is_complete(tmp_path: Path) -> None:
    pieces = [asking.chunk(word) for word in WORDS[:9]]

    def answer(_: replay.Request) -> replay.Answer:
        return replay.Answer(body=(*pieces, STOP), ending="stall")

    async with vendor("openai_chat", answer, tmp_path) as (server, config):
        args = arguments(tmp_path, config)
        ready = asking.seen(b'"finish"')
        stream, had = await killed(args, tmp_path, harness.wanted("far/m"), ready)
        async with processes.serving(*args, folder=tmp_path) as restarted:
            whole = await rest(restarted.port, stream, had)
    last = harness.said(whole.body)[-1]
    assert asking.content(whole.body) == "".join(WORDS[:9])
    assert (last.event, last.data["finish_reason"]) == ("complete", "stop")
    assert len(server.requests) == 1


@pytest.mark.parametrize("mode", ["continue", "none"])
async def test_what_nobody_can_tell_again_is_continued_where_that_is_wanted(
    mode: str, tmp_path: Path
) -> None:
    def answer(asked: replay.Request) -> replay.Answer:
        if len(asked.json()["messages"]) == 1:
            return replay.Answer(body=tuple(map(asking.chunk, WORDS[:9])), ending="stall")
        return replay.Answer(body=(*map(asking.chunk, WORDS[9:]), asking.STOP))

    async with vendor("openai_chat", answer, tmp_path) as (server, config):
        args = arguments(tmp_path, config)
        body = harness.wanted("far/m", fallback={"mode": mode})
        stream, had = await killed(args, tmp_path, body, asking.seen(b"8 "))
        async with processes.serving(*args, folder=tmp_path) as restarted:
            whole = await rest(restarted.port, stream, had)
    last = harness.said(whole.body)[-1]
    if mode == "none":
        assert (last.event, last.data["code"]) == ("error", "interrupted")
        return
    assert asking.content(whole.body) == "".join(WORDS)
    assert (last.event, last.data["attempts"]) == ("complete", 2)
    said = [block.data for block in harness.said(whole.body) if block.event == "metadata"]
    [joint] = [data for data in said if data["type"] == "fallback"]
    assert (joint["from"], joint["to"], joint["reason"]) == ("far/m", "far/m", "interrupted")
    assert joint["at"] == len("".join(WORDS[:9]))
    sent = server.requests[-1].json()["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == "".join(WORDS[:9])
