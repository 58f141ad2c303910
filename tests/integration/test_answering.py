"""How calls of other APIs are answered, whatever they speak: statuses, headers, places, ends.

Strategy: all foreign routes of a running server speak a dialect of the test's own
(`plain_dialect`), so that what is seen is the rim's doing. PROTOCOL 13.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.integration import asking, conftest, harness, node_with_keys, plain_dialect

from holdfast import errors, storage
from holdfast.http import calls
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = "req:from/the-caller"
NAMED = {"X-Request-Id": ID}
RATE_LIMITED = replay.Answer(
    status=429,
    headers=(("Content-Type", "application/json"), ("Retry-After", "7")),
    body=(b'{"error":{"message":"slow down"}}',),
)
ROW = {"kind": "openai_chat", "api_key": asking.KEY}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    tables = {"server": {"heartbeat_interval": "100ms", "max_body": 4096}}
    async with plain_dialect.serving(**tables) as found:
        yield found


@contextlib.asynccontextmanager
async def vendor(*answers: replay.Answer, **tables: Any) -> AsyncIterator[asking.Vendor]:
    """A node whose provider `vendor` answers so."""
    async with replay.ReplayServer(answers) as played:
        row = {**ROW, "base_url": f"{played.url}/v1"}
        async with plain_dialect.serving(providers={"vendor": row}, **tables) as running:
            yield asking.Vendor(running, played)


def held(gate: asyncio.Event) -> replay.Answer:
    """Says one piece, and the rest once the gate is open."""
    return replay.Answer(body=(asking.chunk("Kelp "), gate, asking.chunk("holds."), asking.STOP))


async def count(server: harness.Running) -> int:
    return len(await server.service.find(storage.Query()))


# What is told


async def test_a_stream_is_told_with_its_headers(server: harness.Running) -> None:
    told = await plain_dialect.ask(server.port, plain_dialect.demo("tokens=3", stream=True), NAMED)
    assert (told.status, told.clean) == (200, True)
    for name, value in {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "vary": "Accept-Encoding",
        "x-plain": "1",
        "x-request-id": ID,
        "request-id": ID,
    }.items():
        assert told.headers[name] == value
    assert "retry-after" not in told.headers
    stream, connection = told.headers["x-stream-id"], told.headers["x-connection-id"]
    shown = (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()
    said = "".join(frame.partition(" ")[2] for frame in plain_dialect.frames(told.body))
    assert (shown["content"], shown["request_id"]) == (said, ID)
    read = (await harness.ask(server.port, "GET", f"/v1/connections/{connection}")).json()
    assert (read["stream_id"], read["status"]) == (stream, "completed")
    assert plain_dialect.frames(told.body)[-1] == "complete"


async def test_a_whole_answer_is_told_with_its_headers(server: harness.Running) -> None:
    told = await plain_dialect.ask(server.port, plain_dialect.demo("tokens=3"), NAMED)
    assert (told.status, told.headers["content-type"]) == (200, "application/json")
    assert (told.headers["x-request-id"], told.headers["request-id"]) == (ID, ID)
    shown = await harness.ask(server.port, "GET", f"/v1/streams/{told.headers['x-stream-id']}")
    assert told.json() == {"text": shown.json()["content"], "last": "complete"}
    await asking.idle(server)


async def test_without_a_name_a_request_gets_one(server: harness.Running) -> None:
    for body in (plain_dialect.demo("tokens=1"), plain_dialect.demo("tokens=1", stream=True)):
        told = await plain_dialect.ask(server.port, body)
        stream = told.headers["x-stream-id"]
        shown = (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()
        assert shown["request_id"] == told.headers["x-request-id"]


async def test_readers_are_kept_by_comments_of_one_line(server: harness.Running) -> None:
    body = plain_dialect.demo("tokens=2 stall_at=1", stream=True)
    reader = await plain_dialect.begin(server.port, body)
    await reader.until(lambda reader: reader.body.count(b": ping\n") >= 2)
    assert bytes(reader.body).endswith(b"\n\n: ping\n: ping\n")
    await asking.end(server, reader)


async def test_terms_are_kept_with_the_stream(server: harness.Running) -> None:
    body = plain_dialect.demo("tokens=1", stream=True, terms="kept")
    told = await plain_dialect.ask(server.port, body)
    assert plain_dialect.frames(told.body)[0] == "kept"


# What is refused


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed_body"),
        (plain_dialect.wanted(stream=7), {}, 400, "invalid_field"),
        (plain_dialect.wanted(model="nobody/m"), {}, 400, "unknown_model"),
        (plain_dialect.wanted("x" * 5000), {}, 413, "body_too_large"),
        (plain_dialect.wanted(), {"Content-Encoding": "gzip"}, 415, "unsupported_encoding"),
        (plain_dialect.wanted(), {"Last-Event-ID": "x:1-1"}, 400, "invalid_field"),
        (plain_dialect.wanted(), {"Idempotency-Key": "two words"}, 400, "invalid_field"),
        (plain_dialect.wanted(fields={"seed": 1}), {}, 400, "invalid_field"),
    ],
)
async def test_a_body_that_will_not_do_is_refused_in_the_dialects_words(
    server: harness.Running, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    before = await count(server)
    told = await plain_dialect.ask(server.port, body, {**NAMED, **headers})
    assert (told.status, told.json()["plain"], told.json()["id"]) == (status, code, ID)
    assert told.headers["content-type"] == "application/json"
    assert (told.headers["x-request-id"], told.headers["request-id"]) == (ID, ID)
    assert told.headers["x-should-retry"] == "false"
    assert "retry-after" not in told.headers
    assert await count(server) == before


async def test_a_name_that_cannot_be_kept_is_not_told_back(server: harness.Running) -> None:
    told = await plain_dialect.ask(server.port, plain_dialect.demo(), {"X-Request-Id": "two words"})
    assert told.status == 400
    assert "x-request-id" in told.json()["message"]
    assert told.headers["x-request-id"] == told.json()["id"] != "two words"


@pytest.mark.parametrize(("seconds", "again"), [(None, "true"), (120, "true"), (121, "false")])
async def test_a_long_wait_is_left_to_who_called(seconds: float | None, again: str) -> None:
    """Or would wait for a day without a word."""
    told = calls.refused(plain_dialect.Dialect("plain"), errors.TokenLimit(retry_after=seconds))
    assert told.headers["x-should-retry"] == again


async def test_a_bug_is_told_as_such_and_tells_nothing_else(
    server: harness.Running, logged: conftest.Logged
) -> None:
    body = plain_dialect.wanted("a prompt that nobody may see", bug=True)
    told = await plain_dialect.ask(server.port, body, NAMED)
    assert (told.status, told.json()["plain"], told.json()["id"]) == (500, "internal", ID)
    assert told.headers["x-should-retry"] == "false"
    assert b"prompt" not in told.body
    (entry,) = [entry for entry in logged if entry["event"] == "request_failed"]
    assert "a prompt" not in f"{entry}"
    asking.expected(logged, "request_failed")
    assert (await plain_dialect.ask(server.port, plain_dialect.demo("tokens=1"))).status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_first_word_has_its_status_and_its_stream(stream: bool) -> None:
    async with vendor(RATE_LIMITED) as made:
        body = plain_dialect.wanted(model="vendor/m", stream=stream)
        told = await plain_dialect.ask(made.server.port, body, NAMED)
        assert (told.status, told.json()["plain"]) == (429, "provider_rate_limited")
        assert told.headers["x-should-retry"] == "true"
        assert told.headers["retry-after"] == "7"  # as the provider says
        assert (told.headers["x-request-id"], told.json()["id"]) == (ID, ID)
        path = f"/v1/streams/{told.headers['x-stream-id']}"
        shown = (await harness.ask(made.server.port, "GET", path)).json()
        assert (shown["status"], shown["error"]["code"]) == ("error", "provider_rate_limited")
        unnamed = await plain_dialect.ask(made.server.port, body)
        path = f"/v1/streams/{unnamed.headers['x-stream-id']}"
        shown = (await harness.ask(made.server.port, "GET", path)).json()
        assert unnamed.json()["id"] == unnamed.headers["x-request-id"] == shown["request_id"]
        await asking.idle(made.server)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", plain_dialect.PATH, {"POST"}),
        ("HEAD", plain_dialect.PATH, {"POST"}),
        ("DELETE", plain_dialect.PATH, {"POST"}),
        ("PUT", "/v1/responses/x", {"GET", "HEAD"}),
        ("POST", "/v1/responses/x", {"GET", "HEAD"}),
        ("GET", "/v1/responses/x/cancel", {"POST"}),
    ],
)
async def test_another_method_is_told_which_there_are(
    server: harness.Running, method: str, path: str, allowed: set[str]
) -> None:
    told = await harness.ask(server.port, method, path)
    assert told.status == 405
    assert {"GET", "HEAD"}.isdisjoint(allowed) or {"GET", "HEAD"} <= allowed
    assert set(told.headers["allow"].replace(" ", "").split(",")) - {"HEAD"} == allowed - {"HEAD"}


async def test_a_stream_of_another_dialect_is_not_there(server: harness.Running) -> None:
    made = await plain_dialect.ask(server.port, plain_dialect.demo("tokens=1"))
    own = await plain_dialect.ask(server.port, plain_dialect.demo("tokens=1"), path="/v1/responses")
    answers = []
    for stream in (made.headers["x-stream-id"], "0" * 32, "no-id"):
        for method, path in (
            ("GET", f"/v1/responses/{stream}"),
            ("GET", f"/v1/responses/{stream}?stream=true"),
            ("HEAD", f"/v1/responses/{stream}"),
            ("POST", f"/v1/responses/{stream}/cancel"),
        ):
            told = await harness.ask(server.port, method, path, NAMED)
            answers.append((told.status, method == "HEAD" or told.body))
    assert {status for status, _ in answers} == {404}
    assert len({body for _, body in answers if isinstance(body, bytes)}) == 1
    found = await harness.ask(
        server.port, "GET", f"/v1/responses/{own.headers['x-stream-id']}", NAMED
    )
    assert (found.status, found.json()) == (200, own.json())


# Who waits


async def test_who_goes_while_waiting_for_the_whole_gives_the_place_back() -> None:
    gate = asyncio.Event()
    async with vendor(held(gate)) as made:
        service = made.server.service
        body = plain_dialect.wanted(model="vendor/m")
        _, writer = await asyncio.open_connection("127.0.0.1", made.server.port)
        head = f"POST {plain_dialect.PATH} HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await asking.until(lambda: len(service.connections) == 1)
        assert [one.status for one in service.connections.all()] == ["connected"]
        writer.close()
        await writer.wait_closed()
        await asking.until(lambda: len(service.connections) == 0)
        assert [one.status for one in service.connections.all()] == ["disconnected"]
        gate.set()
        await asking.idle(made.server)
        (info,) = await service.find(storage.Query())
        assert info.status == "completed"


async def test_a_drain_waits_for_who_waits() -> None:
    gate = asyncio.Event()
    async with vendor(held(gate)) as made:
        service = made.server.service
        body = plain_dialect.wanted(model="vendor/m")
        waiting = asyncio.create_task(plain_dialect.ask(made.server.port, body))
        await asking.until(lambda: len(service.connections) == 1)
        drain = asyncio.create_task(service.drain(1000.0))
        await asking.until(lambda: service.draining)
        refused = await plain_dialect.ask(made.server.port, body)
        assert (refused.status, refused.json()["plain"]) == (503, "draining")
        assert refused.headers["x-should-retry"] == "true"
        assert int(refused.headers["retry-after"]) >= 1
        gate.set()
        told = await waiting
        assert (told.status, told.json()["text"]) == (200, "Kelp holds.")
        await drain


async def test_when_a_drains_time_is_over_who_waits_is_told() -> None:
    async with vendor(held(asyncio.Event())) as made:
        service = made.server.service
        bodies = [plain_dialect.wanted(model="vendor/m", stream=stream) for stream in (True, False)]
        readers = [
            asyncio.create_task(plain_dialect.ask(made.server.port, body)) for body in bodies
        ]
        await asking.until(lambda: len(service.connections) == 2)
        await service.drain(0.01)
        streamed, whole = [await reader for reader in readers]
        assert (streamed.status, streamed.clean) == (200, False)
        assert plain_dialect.frames(streamed.body)[-1] == "gone draining"
        assert (whole.status, whole.json()["plain"], whole.clean) == (503, "draining", True)
        assert whole.headers["x-should-retry"] == "true"


async def test_whose_key_is_revoked_waits_no_longer() -> None:
    gate = asyncio.Event()
    async with vendor(held(gate), server={"heartbeat_interval": "100ms"}) as made:
        service = made.server.service
        kept, gone = [await node_with_keys.made(made.server, "acme") for _ in range(2)]
        body = plain_dialect.wanted(model="vendor/m")
        readers = [
            asyncio.create_task(plain_dialect.ask(made.server.port, body, key.headers))
            for key in (kept, gone)
        ]
        await asking.until(lambda: len(service.connections) == 2)
        assert service.access is not None
        await service.access.keyring.archive.revoke(gone.id, 1)
        await service.access.keyring.ask()
        told = await readers[1]
        assert (told.status, told.json()["plain"]) == (401, "unauthorized")
        assert told.headers["www-authenticate"] == "Bearer"
        assert told.headers["x-should-retry"] == "false"
        again = await plain_dialect.ask(made.server.port, body, gone.headers)
        assert (again.status, again.json()["plain"]) == (401, "unauthorized")
        gate.set()
        assert (await readers[0]).json()["text"] == "Kelp holds."


# Limits


@pytest.mark.parametrize("stream", [True, False])
async def test_without_a_place_nothing_is_begun(stream: bool) -> None:
    async with plain_dialect.serving(server={"max_connections": 1}) as server:
        reader = await plain_dialect.begin(
            server.port, plain_dialect.demo("tokens=2 stall_at=1", stream=True)
        )
        told = await plain_dialect.ask(server.port, plain_dialect.demo(stream=stream), NAMED)
        assert (told.status, told.json()["plain"]) == (503, "too_many_connections")
        assert told.headers["x-should-retry"] == "true"
        assert int(told.headers["retry-after"]) >= 1
        assert await count(server) == 1
        await asking.end(server, reader)


@pytest.mark.parametrize("stream", [True, False])
async def test_no_more_are_made_at_once_than_may_be_read(stream: bool) -> None:
    """Who is refused asks again; what was made for them would be paid and read by nobody."""
    async with plain_dialect.serving() as server:
        key = await node_with_keys.made(server, "acme", connections=2)
        body = plain_dialect.demo("tokens=3", stream=stream)
        asking_all = [plain_dialect.ask(server.port, body, key.headers) for _ in range(8)]
        told = await asyncio.gather(*asking_all)
        assert sorted(one.status for one in told) == [200] * 2 + [429] * 6
        assert await count(server) == 2
        # And the places are free again.
        assert (await plain_dialect.ask(server.port, body, key.headers)).status == 200


async def test_a_callers_limits_are_told_in_their_own_words() -> None:
    async with plain_dialect.serving() as server:
        key = await node_with_keys.made(server, "acme", connections=1, requests_per_minute=3)
        reader = await plain_dialect.begin(
            server.port, plain_dialect.demo("tokens=2 stall_at=1", stream=True), key.headers
        )
        assert '"key-requests-minute";r=2' in reader.headers["ratelimit"]
        body = plain_dialect.demo("tokens=1")
        full = await plain_dialect.ask(server.port, body, {**key.headers, **NAMED})
        assert (full.status, full.json()["plain"], full.json()["id"]) == (
            429,
            "connection_limit",
            ID,
        )
        assert full.headers["x-should-retry"] == "true"
        await reader.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        whole = await plain_dialect.ask(server.port, body, key.headers)
        assert whole.status == 200
        assert '"key-requests-minute";r=0' in whole.headers["ratelimit"]
        over = await plain_dialect.ask(server.port, body, {**key.headers, **NAMED})
        assert (over.status, over.json()["plain"], over.json()["id"]) == (429, "request_limit", ID)
        assert int(over.headers["retry-after"]) > 1
        assert '"key-requests-minute";q=3;w=60' in over.headers["ratelimit-policy"]
        assert '"key-requests-minute";r=0' in over.headers["ratelimit"]


async def test_who_has_no_key_of_here_is_refused() -> None:
    async with plain_dialect.serving() as server:
        any_key = {"Authorization": "Bearer sk-anything"}
        body = plain_dialect.demo("tokens=1")
        for headers in ({}, any_key, {"x-api-key": "sk-anything"}):
            assert (await plain_dialect.ask(server.port, body, headers)).status == 200
        key = await node_with_keys.made(server, "acme")
        for headers in ({}, any_key, {"x-api-key": "sk-anything"}):
            told = await plain_dialect.ask(server.port, body, headers)
            assert (told.status, told.json()["plain"]) == (401, "unauthorized")
        token = key.headers["Authorization"].removeprefix("Bearer ")
        for headers in (key.headers, {"x-api-key": token}):
            assert (await plain_dialect.ask(server.port, body, headers)).status == 200
        reads = await node_with_keys.made(server, "acme", scopes=("read",))
        told = await plain_dialect.ask(server.port, body, reads.headers)
        assert (told.status, told.json()["plain"]) == (403, "forbidden")


# The same twice


async def test_a_key_leads_to_one_answer_however_it_is_told() -> None:
    async with vendor(replay.Answer(body=(asking.chunk("Kelp."), asking.STOP))) as made:
        key = {"Idempotency-Key": "k"}
        streams = set()
        for stream in (True, False, True):
            body = plain_dialect.wanted(model="vendor/m", stream=stream)
            told = await plain_dialect.ask(made.server.port, body, key)
            assert b"Kelp." in told.body
            streams.add(told.headers["x-stream-id"])
        assert (len(streams), len(made.provider.requests)) == (1, 1)
        for path, ask, terms in (
            (plain_dialect.PATH, "Why?", "other"),
            (plain_dialect.PATH, "Another?", ""),
            ("/v1/responses", "Why?", ""),
        ):
            body = plain_dialect.wanted(ask, model="vendor/m", terms=terms)
            told = await plain_dialect.ask(made.server.port, body, key, path)
            assert (told.status, told.json()["plain"]) == (422, "idempotency_mismatch")
        native = harness.wanted("vendor/m", messages=[{"role": "user", "content": "Why?"}])
        told = await harness.ask(made.server.port, "POST", "/v1/streams", key, native)
        assert told.status == 422
