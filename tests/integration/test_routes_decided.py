"""Every route has a decision, and it is written down here a second time.

Strategy: the table below is kept by hand. A route that is added, or whose action or scope is
changed, fails until somebody has said here, too, who may use it. What is asked through the wire
is asked of each row, so that no handler can be reached past the decision.
"""

from __future__ import annotations

import typing
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette import routing
from starlette.responses import Response
from tests.integration import asking, conftest, harness, node_with_callers

from holdfast import app
from holdfast.access import principal
from holdfast.dashboard import routes as dashboard
from holdfast.http import calls, headers, routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECIDED: dict[tuple[str, str], tuple[str, str | None]] = {
    ("POST", "/v1/streams"): ("create", "generate"),
    ("GET", "/v1/streams"): ("list", "read"),
    ("GET", "/v1/streams/{stream_id}"): ("read", "read"),
    ("GET", "/v1/streams/{stream_id}/events"): ("follow", "read"),
    ("POST", "/v1/streams/{stream_id}/links"): ("link", "read"),
    ("POST", "/v1/streams/{stream_id}/cancel"): ("cancel", "generate"),
    ("GET", "/v1/streams/{stream_id}/connections"): ("observe", "read"),
    ("GET", "/v1/streams/{stream_id}/timeline"): ("observe", "read"),
    ("GET", "/v1/connections"): ("observe", "read"),
    ("GET", "/v1/connections/{connection_id}"): ("observe", "read"),
    ("GET", "/v1/streams/{stream_id}/metrics"): ("observe", "read"),
    ("GET", "/v1/connections/{connection_id}/metrics"): ("observe", "read"),
    ("GET", "/v1/metrics"): ("oversee", "admin"),
    ("GET", "/v1/metrics/live"): ("oversee", "admin"),
    ("GET", "/v1/errors"): ("oversee", "admin"),
    ("GET", "/v1/alerts"): ("oversee", "admin"),
    ("GET", "/v1/seal"): ("seal", "admin"),
    ("POST", "/v1/seal/rewrap"): ("seal", "admin"),
    ("POST", "/v1/seal/shred"): ("seal", "admin"),
    ("POST", "/v1/chat/completions"): ("create", "generate"),
    ("GET", "/v1/models"): ("create", "generate"),
    ("GET", "/v1/models/{model:path}"): ("create", "generate"),
    ("POST", "/v1/responses"): ("create", "generate"),
    ("GET", "/v1/responses/{stream_id}"): ("read", "read"),
    ("POST", "/v1/responses/{stream_id}/cancel"): ("cancel", "generate"),
    ("POST", "/v1/messages"): ("create", "generate"),
    ("POST", "/api/chat"): ("create", "generate"),
    ("GET", "/api/chat/{chat_id:path}/stream"): ("follow", "read"),
    ("POST", "/api/chat/{chat_id:path}/stop"): ("cancel", "generate"),
    ("GET", "/metrics"): ("scrape", "metrics"),
    ("GET", "/healthz"): ("public", None),
    ("GET", "/readyz"): ("public", None),
    ("GET", "/openapi.json"): ("public", None),
    # The last one: afterwards there is no stream to ask for.
    ("DELETE", "/v1/streams/{stream_id}"): ("destroy", "generate"),
}
"""By method and path: the action that is decided on, and the scope that it needs."""

GUARDED = [call for call, (action, _) in DECIDED.items() if action != "public"]

PEOPLE = {
    "reader": node_with_callers.Who("acme", "alice", ("read",)),
    "writer": node_with_callers.Who("acme", "alice", ("generate",)),
    "both": node_with_callers.Who("acme", "alice"),
    "scraper": node_with_callers.Who("ops", "", ("metrics",)),
    "root": node_with_callers.Who("ops", "", ("admin",)),
}
HOOKED = {"nothing": principal.Principal("acme", "alice", frozenset())}

UNKNOWN = (
    *("/", "/v1", "/v1/", "/v2/streams", "/docs", "/redoc", "/openapi.yaml", "/swagger.json"),
    *("/metrics/", "/dashboard/", "/static/", "/favicon.ico", "/admin", "/debug", "/debug/pprof"),
    *("/v1/keys", "/v1/streams/", "/v1/streams/x/", "/v1/streams/x/export", "/v1/completions"),
    *("/v1/streams/x/metric", "/v1/connections/x/metrics/", "/healthz/", "/HEALTHZ", "//healthz"),
    *("/v1/Streams", "/v1//streams", "/v1/./streams", "/v1/%73treams", "/.env", "/.git/config"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[node_with_callers.Stage]:
    folder: Path = tmp_path_factory.mktemp("decided")
    async with node_with_callers.staged(folder, PEOPLE, HOOKED) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(stage: node_with_callers.Stage) -> AsyncIterator[tuple[str, str, str]]:
    """Alice's: a stream that has ended, a connection that is open, a response that has ended."""
    port, key = stage.server.port, stage.key("both")
    ended = await (await harness.begin(port, asking.demo("tokens=1"), key.items())).rest()
    reader = await harness.begin(port, asking.STALLED, key.items())
    sent = body("/v1/responses")
    response = await harness.ask(port, "POST", "/v1/responses", key, sent)
    yield harness.stream_of(ended), reader.headers["x-connection-id"], response.json()["id"]
    path = f"/v1/streams/{harness.stream_of(reader)}/cancel"
    await harness.ask(port, "POST", path, key, b"")
    await reader.rest()


def filled(
    path: str, stream: str = "0" * 32, connection: str = "0" * 26, response: str = "0" * 32
) -> str:
    path = path.replace("/v1/responses/{stream_id}", f"/v1/responses/{response}")
    path = path.replace("{stream_id}", stream).replace("{connection_id}", connection)
    return path.replace("{model:path}", "demo").replace("{chat_id:path}", "tide")


BODIES = {
    "/v1/streams": asking.demo("tokens=1"),
    "/v1/chat/completions": asking.demo("tokens=1"),
    "/v1/responses": b"""{"model": "demo", "input": "/demo tokens=1"}""",
    "/v1/messages": b"""{"model": "demo", "max_tokens": 9,
        "messages": [{"role": "user", "content": "/demo tokens=1"}]}""",
    "/v1/seal/shred": b"""{"tenant": "nobody"}""",
    "/api/chat": b"""{"id": "tide", "model": "demo", "messages": [
        {"role": "user", "parts": [{"type": "text", "text": "/demo tokens=1"}]}]}""",
}
"""What a call needs in its body to succeed."""


def body(path: str) -> bytes:
    return BODIES.get(path, b"")


def served(application: Any) -> dict[tuple[str, str], type[Any]]:
    """Every (method, path) that an application answers, HEAD beside GET left out."""
    assert isinstance(application, headers.Headers)
    made: Any = application._app
    return {
        (method, route.path): type(route)
        for route in made.router.routes
        for method in route.methods - ({"HEAD"} if "GET" in route.methods else set())
    }


@pytest.mark.case("4.7")
async def test_each_route_is_decided_here_too() -> None:
    rows = {
        (row.method, row.path): (row.action, principal.NEEDS[row.action]) for row in routes.ROWS
    }
    assert rows == DECIDED
    assert len(routes.ROWS) == len(DECIDED), "a row stands twice"


@pytest.mark.case("4.7")
async def test_the_application_has_the_rows_and_nothing_else() -> None:
    """But for the files of the dashboard, which say nothing of anybody."""
    found = served(app.asgi(harness.configured()).calls)
    files = [("GET", path) for path in dashboard.FILES]
    assert found == dict.fromkeys([*DECIDED, *files], routing.Route)


@pytest.mark.case("4.7")
async def test_what_is_no_row_is_not_there(stage: node_with_callers.Stage) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH"):
        for path in UNKNOWN:
            answer = await harness.ask(stage.server.port, method, path, stage.key("root"), b"")
            assert answer.status == 404, (method, path)
    for method, path in DECIDED:
        for other in ("DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"):
            if (other, path) in DECIDED:
                continue
            answer = await harness.ask(
                stage.server.port, other, filled(path), stage.key("root"), b""
            )
            assert answer.status == 405, (other, method, path)


@pytest.mark.case("4.7")
@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_credentials_each_route_is_401(
    stage: node_with_callers.Stage, method: str, path: str
) -> None:
    methods = ("GET", "HEAD") if method == "GET" else (method,)
    for used in methods:
        for sent in ({}, {"Last-Event-ID": f"{'0' * 32}:1-1"}, node_with_callers.bearer("hfk_0_0")):
            answer = await harness.ask(stage.server.port, used, filled(path), sent, body(path))
            assert answer.status == 401, sent
            assert answer.headers["www-authenticate"] == "Bearer"
            if used != "HEAD":
                assert b'"unauthorized"' in answer.body


@pytest.mark.case("4.7")
@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_its_scope_each_route_is_403(
    stage: node_with_callers.Stage, own: tuple[str, str, str], method: str, path: str
) -> None:
    """With a stream or connection of one's own in the path, so that nothing but the scope is in the
    way."""
    target = filled(path, *own)
    _, scope = DECIDED[method, path]
    lacking = [
        stage.key("writer" if scope == "read" else "reader"),
        *([] if scope == "metrics" else [stage.key("scraper")]),
        {node_with_callers.HOOK: "nothing"},
    ]
    for sent in lacking:
        answer = await harness.ask(stage.server.port, method, target, sent, body(path))
        assert answer.status == 403, sent
        assert b'"forbidden"' in answer.body
    holders = {"read": "reader", "generate": "writer", "metrics": "scraper", "admin": "root"}
    having = stage.key(holders[scope or ""])
    given = await asking.answered(stage.server.port, method, target, having, body(path))
    # Who asks for a pass while another one is under way has been let in.
    assert given.status in (200, 201, 202, 204) or b'"already_running"' in given.body


@pytest.mark.case("4.7")
async def test_what_is_for_everybody_asks_nobody(stage: node_with_callers.Stage) -> None:
    for method, path in DECIDED.keys() - set(GUARDED):
        for sent in ({}, node_with_callers.bearer("hfk_0_0")):
            assert (await harness.ask(stage.server.port, method, path, sent)).status == 200


@pytest.mark.case("4.7")
async def test_a_row_needs_an_action() -> None:
    async def handler(call: calls.Call) -> Response:
        return Response(b"")

    make: Any = routes.Row
    with pytest.raises(TypeError):
        make("GET", "/v1/secret", handler=handler)
    assert set(principal.NEEDS) == set(typing.get_args(principal.Action))


@pytest.mark.case("4.7")
async def test_an_action_that_nobody_decided_is_refused(
    logged: conftest.Logged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A row whose action is in no table reaches nobody, `admin` neither."""
    called = []

    async def handler(call: calls.Call) -> Response:
        called.append(call)
        return Response(b"secret")

    wrong: Any = routes.Row("GET", "/v1/secret", "nonsense", handler)  # type: ignore[arg-type]
    monkeypatch.setattr(routes, "ROWS", (*routes.ROWS, wrong))
    async with node_with_callers.staged(tmp_path, PEOPLE) as stage:
        for name in PEOPLE:
            answer = await harness.ask(stage.server.port, "GET", "/v1/secret", stage.key(name))
            assert answer.status == 500
    assert called == []
    asking.expected(logged, "request_failed")
