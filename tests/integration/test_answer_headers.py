"""Every answer has the headers of `headers.ALWAYS`, whoever makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.responses import Response
from tests.integration import asking, conftest, harness

from holdfast.http import calls, headers, routes
from holdfast.http.server import framing

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://app.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
FAMILIAR = {"Origin": PAGE}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured(server={"cors_origins": (PAGE,)})) as running:
        yield running
        await asking.idle(running)


def check(found: dict[str, str], **own: str) -> None:
    for name, value in headers.ALWAYS:
        assert found[name.decode()] == own.get(name.decode().replace("-", "_"), value.decode())


@pytest.mark.parametrize(
    ("method", "target", "fields", "status"),
    [
        ("GET", "/healthz", {}, 200),
        ("HEAD", "/healthz", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/v1/streams", {}, 200),
        ("GET", "/v1/streams", FAMILIAR, 200),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/nowhere", FAMILIAR, 404),
        ("GET", "/v1/streams/x", {}, 404),
        ("PUT", "/v1/streams", {}, 405),
        ("OPTIONS", "/v1/streams", PREFLIGHT, 200),
        ("OPTIONS", "/v1/streams", {**PREFLIGHT, "Origin": "https://evil.example"}, 400),
        ("POST", "/v1/streams", {}, 400),
        ("POST", "/v1/streams", {"Content-Length": "99999999"}, 413),
        ("POST", "/v1/streams", {"Content-Encoding": "gzip"}, 415),
        ("GET", "/healthz", {"Host": "a@b"}, 400),
        ("GET", "/healthz", {"X": "y" * framing.MAX_HEAD * 8}, 431),
    ],
)
async def test_answers(
    server: harness.Running, method: str, target: str, fields: harness.Headers, status: int
) -> None:
    reader = await harness.Reader.open(server.port, method, target, fields)
    assert reader.status == status
    check(reader.headers)
    await reader.close()


async def test_an_event_stream_has_its_own_cache_control(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=1")
    check(whole.headers, cache_control="no-cache, no-transform")
    target = f"/v1/streams/{harness.stream_of(whole)}/events"
    last = {"Last-Event-ID": asking.last_id(whole.body)}
    done = await harness.ask(server.port, "GET", target, last)
    assert done.status == 204
    check(done.headers)


async def test_an_answer_to_a_bug_has_them(
    monkeypatch: pytest.MonkeyPatch, logged: conftest.Logged
) -> None:
    async def broken(call: calls.Call) -> Response:
        raise RuntimeError("a bug")

    rows = [row._replace(handler=broken) if row.path == "/readyz" else row for row in routes.ROWS]
    monkeypatch.setattr(routes, "ROWS", tuple(rows))
    async with harness.running(harness.configured()) as server:
        answer = await harness.ask(server.port, "GET", "/readyz")
    assert answer.status == 500
    check(answer.headers)
    asking.expected(logged, "request_failed")
