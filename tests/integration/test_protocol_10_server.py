"""PROTOCOL 10, the server itself: health, the description of the calls, CORS; and what a request
may cost.

Strategy: the description is held against the table that the application is made of. Deadlines are
shortened where they are seconds, and never waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette import applications, routing
from tests.integration import asking, conftest, failing_log, harness, raw_sockets

from holdfast import admission, app, errors, events
from holdfast.access import keyring
from holdfast.http import mounted, routes
from holdfast.http import server as http_server
from holdfast.http.server import framing, protocol
from holdfast.producing import survey, writers
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://app.example"
REQUEST_HEADERS = [
    *("Last-Event-ID", "Cache-Control", "X-Requested-With", "Content-Type", "Authorization"),
    *("Idempotency-Key", "X-Client-Id", "X-Request-Id", "Traceparent", "Tracestate"),
]
EXPOSED = {
    "RateLimit",
    "RateLimit-Policy",
    "X-Stream-Id",
    "X-Connection-Id",
    "Location",
    "Retry-After",
    "X-Should-Retry",
    "X-Request-Id",
    "Request-Id",
    "X-Vercel-AI-UI-Message-Stream",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_server() -> AsyncIterator[harness.Running]:
    config = harness.configured(server={"cors_origins": (PAGE, "http://127.0.0.1:3000")})
    async with harness.running(config) as running:
        yield running
        await asking.idle(running)


# 10.1


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_10_1_a_healthy_server_says_so(server: harness.Running, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert (await harness.ask(server.port, method, path)).status == 200


async def test_10_1_a_draining_server_is_alive_and_not_ready() -> None:
    async with harness.running(harness.configured()) as server:
        await server.service.drain(0)
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        answer = await harness.ask(server.port, "GET", "/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "draining")


async def test_10_1_a_server_without_its_log_is_alive_and_not_ready(
    logged: conftest.Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "BLINK_SECONDS", 0.0)
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        reader = await asking.stalled(server.port)
        log.writing = errors.LogUnavailable()
        path = f"/v1/streams/{harness.stream_of(reader)}/cancel"
        await harness.ask(server.port, "POST", path)
        await asking.until(lambda: server.service.log_failing)
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        answer = await harness.ask(server.port, "GET", "/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
        monkeypatch.delattr(failing_log.FailingLog, "create")  # it would take one, if it were asked
        made = await harness.ask(server.port, "POST", "/v1/streams", {}, asking.STALLED)
        assert (made.status, made.json()["code"]) == (503, "log_unavailable")
        log.writing = None
        await reader.rest()
        await asking.idle(server)
        assert (await harness.ask(server.port, "GET", "/readyz")).status == 200
    asking.expected(logged, "log_failing")


async def test_10_1_a_server_that_writes_nothing_is_not_ready_without_its_log_either(
    logged: conftest.Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "ADOPT_EVERY", 0.01)
    monkeypatch.setattr(survey, "AGAIN", 0.01)
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        asked: list[int] = []

        async def away(limit: int) -> list[events.StreamId]:
            asked.append(limit)
            raise errors.LogUnavailable("away")

        found, log.orphans = log.orphans, away  # type: ignore[method-assign]
        await asking.until(lambda: len(asked) > 1)
        answer = await harness.ask(server.port, "GET", "/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
        log.orphans = found  # type: ignore[method-assign]
        await asking.until(lambda: server.service._survey.failure is None)
        assert (await harness.ask(server.port, "GET", "/readyz")).status == 200
    asking.expected(logged, "orphans_unknown")


async def test_10_1_a_server_that_can_let_nobody_in_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with harness.running(harness.configured()) as server:
        monkeypatch.setattr(keyring, "STALE_SECONDS", -1.0)
        answer = await harness.ask(server.port, "GET", "/readyz")
        assert (answer.status, answer.json()["code"]) == (503, "keys_unavailable")
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200


async def test_10_1_a_port_has_one_listener() -> None:
    first = http_server.listen("127.0.0.1", 0)
    with contextlib.closing(first), pytest.raises(OSError, match="in use"):
        http_server.listen(*first.getsockname())


async def test_10_1_the_description_has_exactly_the_calls(server: harness.Running) -> None:
    described = (await harness.ask(server.port, "GET", "/openapi.json")).json()
    assert described["openapi"] == "3.1.0"
    found = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    assert found == {(row.method, row.path) for row in routes.ROWS if not row.dialect}
    for path, item in described["paths"].items():
        for operation in item.values():
            assert operation["summary"]
            named = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert named == re.findall(r"\{(\w+)\}", path)
            assert operation["responses"]
    body = described["components"]["schemas"]["Body"]
    assert {"model", "messages", "metadata", "flush_interval_ms"} <= set(body["properties"])


# 10.2


async def preflight(
    server: harness.Running, origin: str, header: str, method: str = "POST"
) -> harness.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": header,
    }
    return await harness.ask(server.port, "OPTIONS", "/v1/streams", asked)


def cors(answer: harness.Response) -> dict[str, str]:
    return {name: said for name, said in answer.headers.items() if name.startswith("access-")}


async def test_10_2_without_the_setting_there_are_no_headers(server: harness.Running) -> None:
    answer = await preflight(server, PAGE, "Last-Event-ID")
    assert (answer.status, cors(answer)) == (405, {})
    for path in ("/v1/streams", "/v1/streams/x", "/nowhere"):
        assert cors(await harness.ask(server.port, "GET", path, {"Origin": PAGE})) == {}


@pytest.mark.parametrize("header", REQUEST_HEADERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_10_2_a_preflight_allows_the_headers(
    open_server: harness.Running, header: str, method: str
) -> None:
    answer = await preflight(open_server, PAGE, header.lower(), method)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert header.lower() in allowed
    assert "access-control-allow-credentials" not in answer.headers


async def test_10_2_a_preflight_refuses_the_rest(open_server: harness.Running) -> None:
    assert (await preflight(open_server, PAGE, "X-Secret")).status == 400
    assert (await preflight(open_server, PAGE, "Content-Type", "PUT")).status == 400
    assert (await preflight(open_server, PAGE, "Content-Type", "DELETE")).status == 200
    other = await preflight(open_server, "https://evil.example", "Content-Type")
    assert other.status == 400
    assert "access-control-allow-origin" not in other.headers


async def test_10_2_the_answers_may_be_read_and_their_headers_seen(
    open_server: harness.Running,
) -> None:
    origin = {"Origin": PAGE}
    headers = [*asking.SSE.items(), *origin.items()]
    whole = await (await harness.begin(open_server.port, asking.demo("tokens=1"), headers)).rest()
    target = f"/v1/streams/{harness.stream_of(whole)}/events"
    answers = [
        whole,
        await harness.ask(open_server.port, "GET", target, origin),
        await harness.ask(open_server.port, "GET", "/v1/streams", origin),
        await harness.ask(open_server.port, "GET", "/v1/streams/x", origin),
    ]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert set(answer.headers["access-control-expose-headers"].split(", ")) == EXPOSED
        assert "Origin" in answer.headers["vary"].split(", ")
    assert whole.headers["vary"].split(", ")[0] == "Accept-Encoding"


async def test_10_2_another_page_may_not(open_server: harness.Running) -> None:
    for origin in ("https://evil.example", "http://app.example", f"{PAGE}.evil.example", "null"):
        answer = await harness.ask(open_server.port, "GET", "/v1/streams", {"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers


async def test_10_2_a_star_is_every_page_without_credentials() -> None:
    async with harness.running(harness.configured(server={"cors_origins": ("*",)})) as server:
        asked = {"Origin": "https://any.example", "Cookie": "a=b"}
        answer = await harness.ask(server.port, "GET", "/v1/streams", asked)
        assert cors(answer)["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_10_2_a_reader_of_a_page_that_is_sent_away_can_see_it() -> None:
    config = harness.configured(server={"cors_origins": (PAGE,)})
    async with harness.running(config) as server:
        whole = await asking.finished(server.port)
        await server.service.drain(0)
        target = f"/v1/streams/{harness.stream_of(whole)}/events"
        answer = await harness.ask(server.port, "GET", target, {"Origin": PAGE})
        assert asking.sent_away(answer)
        assert answer.headers["access-control-allow-origin"] == PAGE


# What a request may cost


async def test_10_a_head_over_its_limit_is_refused(server: harness.Running) -> None:
    begun = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    half = b"X-A: " + b"a" * (framing.MAX_HEAD // 2) + b"\r\n"
    fits = await raw_sockets.raw(server.port, begun + half + b"Connection: close\r\n\r\n")
    assert fits.startswith(b"HTTP/1.1 200 ")
    for head in (begun + half * 2, b"GET /" + b"a" * framing.MAX_HEAD):
        assert (await raw_sockets.raw(server.port, head)).startswith(b"HTTP/1.1 431 ")
    # Of so much more, what nobody has read resets the connection.
    assert b"200" not in await raw_sockets.raw(server.port, begun + half * 1000 + b"\r\n")
    assert (await harness.ask(server.port, "GET", "/healthz")).status == 200


async def test_10_what_is_no_http_is_400(server: harness.Running) -> None:
    for said in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"HELO mail\r\n\r\n", b"GET\r\n\r\n"):
        assert (await raw_sockets.raw(server.port, said)).startswith(b"HTTP/1.1 400 ")


CLOSE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost:",
        b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a body"],
)
async def test_10_a_request_that_does_not_come_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.2)
    async with harness.running(harness.configured()) as server:
        assert await raw_sockets.raw(server.port, sent) == b""
        first = await raw_sockets.raw(server.port, ALIVE, seen=b"ok", then=b"\r\n" + sent)
        assert first.startswith(b"HTTP/1.1 200 ")
        await asking.idle(server)


async def test_10_a_reader_is_not_cut_for_a_request_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of a second request behind the first, whose answer goes on."""
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.1)
    beating = {"heartbeat_interval": "50ms"}
    async with harness.running(harness.configured(server=beating)) as server:
        lead = await asking.stalled(server.port)
        stream = harness.stream_of(lead)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nHost: x\r\n\r\n"
        async with asyncio.timeout(harness.PATIENCE):
            writer.write(request.encode())
            await reader.readuntil(b"event: heartbeat")
            writer.write(b"GET")
            for _ in range(8):
                await reader.readuntil(b"event: heartbeat")
        writer.close()
        await writer.wait_closed()
        await asking.end(server, lead)


async def test_10_a_response_that_is_not_taken_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has ended, but for what waits in the server until its client reads."""
    lost = asyncio.Event()

    class Told(protocol.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.scope and self.scope["path"].startswith("/v1/streams/"):
                lost.set()

    monkeypatch.setattr(protocol, "FLUSH_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "Protocol", Told)
    pieces = [asking.chunk(f"{n} " * 20_000) for n in range(100, 190)]
    async with asking.vendor(replay.Answer(body=(*pieces, asking.STOP))) as on:
        body = harness.wanted("vendor/m")
        made = (await harness.ask(on.server.port, "POST", "/v1/streams", None, body)).json()
        await asking.idle(on.server)
        request = f"GET {made['url']} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with contextlib.closing(raw_sockets.deaf(on.server.port, request)):
            async with asyncio.timeout(harness.PATIENCE):
                await lost.wait()


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "later"])
async def test_10_a_request_behind_an_event_stream_ends_the_connection(behind: bool) -> None:
    """While it waited nothing would be read, and nobody would learn that the client has gone."""
    async with harness.running(harness.configured()) as server:
        lead = await asking.stalled(server.port)
        path = f"/v1/streams/{harness.stream_of(lead)}/events"
        reading = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        if behind:
            said = await raw_sockets.raw(server.port, reading, seen=b"\nid: ", then=ALIVE)
            assert b"event: start" in said
        else:
            await raw_sockets.raw(server.port, reading + ALIVE)
        await asking.until(lambda: len(server.service.connections) == 1)
        # Behind an event stream that has ended a connection serves on.
        await harness.ask(server.port, "POST", f"{path.removesuffix('/events')}/cancel")
        assert (await lead.rest()).clean
        twice = await raw_sockets.raw(
            server.port, reading, seen=b"\r\n0\r\n\r\n", then=ALIVE + CLOSE
        )
        assert twice.count(b"HTTP/1.1 200 ") == 3


async def test_10_what_one_response_left_does_not_end_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both were asked for at once; the first has ended and waits in the server, and its time is
    over no more when it was taken."""
    made: list[protocol.Protocol] = []

    class Seen(protocol.Protocol):
        def pause_writing(self) -> None:
            super().pause_writing()
            made.append(self)

    monkeypatch.setattr(protocol, "Protocol", Seen)
    large, piece = 2 << 20, b"y" * 20_000
    begun, gate = asyncio.Event(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"%d" % large)]
        begin = {"type": "http.response.start", "status": 200}
        if scope["path"] == "/first":
            await send({**begin, "headers": length})
            await send({"type": "http.response.body", "body": b"x" * large})
            return
        await send({**begin, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        begun.set()
        await gate.wait()
        await send({"type": "http.response.body", "body": piece})

    service = app.asgi(harness.configured(), fatal=lambda why: None).service
    alone = applications.Starlette(routes=[routing.Mount("/", application)])
    async with harness.serving(mounted.App(lambda: service, lambda _: alone)) as server:
        paths = ("/first", "/second")
        requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
        client = raw_sockets.deaf(server.port, b"".join(requests))
        reading = asyncio.create_task(raw_sockets.drained(client))
        async with asyncio.timeout(harness.PATIENCE):
            await begun.wait()
        assert made
        assert made[0]._leaving is not None
        assert made[0]._leaving.cancelled()
        for _ in range(20):
            await asyncio.sleep(0)
        gate.set()
        said = await reading
        assert (said.count(b"x" * 1024), said.count(piece)) == (large // 1024, 2)


async def test_10_5_the_demo_s_page_is_for_everybody_and_its_calls_are_not() -> None:
    """As of a page that a proxy passes on; more in `test_page_files`."""
    node = app.asgi(harness.configured(), page=True)
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    async with harness.serving(node) as server:
        for path in ("/", "/page.js", "/holdfast.js"):
            answer = await harness.ask(server.port, "GET", path, elsewhere)
            assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")
            assert answer.headers["etag"]
            assert "connect-src 'self'" in answer.headers["content-security-policy"]
        body = asking.demo("tokens=1")
        asked = await harness.ask(server.port, "POST", "/v1/streams", elsewhere, body)
        assert asked.status == 403
