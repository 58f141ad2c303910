"""Stock clients in a page: each header that they send, their preflight allows.

Strategy: the clients themselves tell what they send (`headers.mjs`); a preflight as a browser makes
it then asks for that. A browser adds the names that need no leave by itself. PROTOCOL 10.5.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from tests.integration import harness, peers, plain_dialect

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://app.example"
SAFE = frozenset(("accept", "accept-language", "content-language"))
"""Headers that need no leave (Fetch, 2.2.2); a `Content-Type` of JSON does."""

CLIENTS = {"openai", "anthropic", "ai5", "ai6", "ai7", "fetch-event-source", "eventsource"}
PATHS = {
    "openai": ("/v1/chat/completions", "/v1/responses", "/v1/models"),
    "anthropic": ("/v1/messages",),
    "fetch-event-source": ("/v1/streams",),
    "eventsource": ("/v1/streams/x/events",),
}
"""Where they ask; the AI SDK's ask at `/api/chat`."""

Sent = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def sent(pytestconfig: pytest.Config) -> Sent:
    peers.installed(pytestconfig)
    told = subprocess.run(
        [peers.NODE, "headers.mjs"],
        cwd=peers.FOLDER,
        env=peers.environment(os.environ),
        capture_output=True,
        check=True,
        timeout=peers.START_PATIENCE,
    )
    return msgspec.json.decode(told.stdout, type=Sent)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with plain_dialect.serving(server={"cors_origins": [PAGE]}) as found:
        yield found


async def test_a_preflight_allows_what_the_stock_clients_send(
    server: harness.Running, sent: Sent
) -> None:
    assert set(sent) == CLIENTS
    for client, ways in sent.items():
        for way, names in ways.items():
            wanted = sorted(set(names) - SAFE)
            # A browser asks no leave for nothing.
            for path in PATHS.get(client, ("/api/chat",)) if wanted else ():
                method = "GET" if path.endswith(("/events", "/models")) else "POST"
                asked = {
                    "Origin": PAGE,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": ",".join(wanted),
                }
                told = await harness.ask(server.port, "OPTIONS", path, asked)
                assert told.status == 200, (client, way, told.body)
                assert told.headers["access-control-allow-origin"] == PAGE
                allowed = told.headers["access-control-allow-headers"].lower().split(", ")
                assert set(wanted) <= set(allowed), (client, way)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (plain_dialect.demo("tokens=1", stream=True), 200),
        (plain_dialect.demo("tokens=1"), 200),
        (b"{", 400),
        (plain_dialect.demo("status=429"), 429),
    ],
)
async def test_a_page_may_read_what_it_needs_of_each_answer(
    server: harness.Running, body: bytes, status: int
) -> None:
    told = await plain_dialect.ask(server.port, body, {"Origin": PAGE})
    assert (told.status, told.headers["access-control-allow-origin"]) == (status, PAGE)
    exposed = told.headers["access-control-expose-headers"].lower().split(", ")
    ours = {"x-stream-id", "x-connection-id", "x-request-id", "request-id"}
    theirs = {"retry-after", "x-should-retry"}
    assert (ours | theirs) & set(told.headers) <= set(exposed)
    assert {"x-request-id", "request-id"} <= set(told.headers)
    assert ("x-should-retry" in told.headers) == (status != 200)


async def test_another_page_is_not_let_in(server: harness.Running) -> None:
    body, other = plain_dialect.demo("tokens=1"), {"Origin": "https://other.example"}
    told = await plain_dialect.ask(server.port, body, other)
    assert (told.status, told.json()["plain"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in told.headers
