"""A node without keys is for programs of its own machine, and pages read only where they may.

Strategy: what a browser can be led to do is sent by hand, since no browser lets a test say it: a
name that points here (DNS rebinding), a form or a script of another origin, a page in a sandbox.
Whoever comes from elsewhere is played in two ways: by what a proxy of this machine tells, and by
the application asked with another address, as a test has no other machine.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration import asking, harness, node_with_callers, processes

from holdfast import app
from holdfast.access import keys
from holdfast.archive import url
from holdfast.http import routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://app.example"
EVIL = ("https://evil.example", "null", "http://app.example", f"{PAGE}.evil.example", "file://")
GUARDED = [(row.method, row.path) for row in routes.ROWS if row.action != "public"]
PUBLIC = [(row.method, row.path) for row in routes.ROWS if row.action == "public"]

OWN_HOSTS = (
    *("127.0.0.1", "127.0.0.1:8080", "localhost", "localhost:8080", "LOCALHOST", "localhost."),
    *("[::1]", "[::1]:8080", "holdfast", "holdfast:8080", "a.localhost", "10.0.0.5:8080"),
)
OTHER_HOSTS = (
    *("evil.example", "evil.example:8080", "evil.example.", "127.0.0.1.evil.example"),
    *("localhost.evil.example", "127.0.0.1.nip.io:8080", "7f000001.rbndr.us", "localhost.com"),
    *("0x7f.1", "127.1", "0177.0.0.1", "my.host", "a.local"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown() -> AsyncIterator[harness.Running]:
    """A node whose answers one page may read, with what its browser knows of it."""
    server = {"cors_origins": (PAGE,), "cors_credentials": True}
    async with harness.running(harness.configured(server=server)) as running:
        yield running
        await asking.idle(running)


def body(path: str) -> bytes:
    return asking.demo("tokens=1") if path == "/v1/streams" else b""


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "0" * 26, path)


async def streams(server: harness.Running) -> list[Any]:
    return list((await harness.ask(server.port, "GET", "/v1/streams")).json()["streams"])


def check_refused(answer: harness.Response) -> None:
    """In the form of whichever API."""
    assert answer.status == 403
    assert b"forbidden" in answer.body
    assert b"holdfast keys create" in answer.body


# Where it comes from


@pytest.mark.case("4.18")
async def test_another_machine_is_not_served(server: harness.Running) -> None:
    """As a proxy of this machine tells it; who asks the proxy may be anywhere, whatever it says
    of him. The other fields of proxies are in `test_protocol_11_access`."""
    before = await streams(server)
    for method, path in GUARDED:
        for address in ("203.0.113.9", "10.0.0.5", "2001:db8::1", "127.0.0.1", "nobody"):
            sent = {"X-Forwarded-For": address}
            answer = await harness.ask(server.port, method, filled(path), sent, body(path))
            check_refused(answer)
    for method, path in PUBLIC:
        sent = {"X-Forwarded-For": "203.0.113.9"}
        assert (await harness.ask(server.port, method, path, sent)).status == 200
    assert await streams(server) == before


async def status_for(client: tuple[str, int] | None) -> int:
    """What a node of its own answers to this address."""
    node = app.asgi(harness.configured())
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/streams",
        "raw_path": b"/v1/streams",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": client,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async with node.service:
        await node(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.case("4.18")
@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.9.10", 200),
        ("::1", 200),
        ("10.0.0.5", 403),
        ("203.0.113.9", 403),
        ("0.0.0.0", 403),
        ("fe80::1", 403),
        ("2001:db8::1", 403),
        ("", 403),
    ],
)
async def test_only_loopback_addresses_are_served(address: str, status: int) -> None:
    assert await status_for((address, 1234)) == status


@pytest.mark.case("4.18")
async def test_a_socket_without_an_address_is_of_this_machine() -> None:
    assert await status_for(None) == 200


@pytest.mark.case("4.18")
async def test_an_open_node_listens_nowhere_else(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        done = await processes.run("serve", "--port", "0", "--host", host, folder=tmp_path)
        assert done.code == 1
        assert "holdfast keys create" in done.err


# The name that it is called by


@pytest.mark.case("4.18")
async def test_its_own_names_are_answered(server: harness.Running) -> None:
    for host in OWN_HOSTS:
        answer = await harness.ask(server.port, "GET", "/v1/streams", {"Host": host})
        assert answer.status == 200, host


@pytest.mark.case("4.18")
async def test_a_name_that_may_be_pointed_here_is_not(server: harness.Running) -> None:
    before = await streams(server)
    for (method, path), host in itertools.product(GUARDED, OTHER_HOSTS):
        answer = await harness.ask(server.port, method, filled(path), {"Host": host}, body(path))
        check_refused(answer)
    # With `Origin` as the browser would say it, which is the name itself.
    sent = {"Host": "evil.example", "Origin": "http://evil.example"}
    check_refused(await harness.ask(server.port, "POST", "/v1/streams", sent, body("/v1/streams")))
    assert await streams(server) == before


# The page that asks


@pytest.mark.case("4.18")
async def test_a_page_of_another_origin_may_ask_for_nothing(server: harness.Running) -> None:
    before = await streams(server)
    ports = (f"http://127.0.0.1:{server.port + 1}", f"http://localhost:{server.port}")
    posts = [(method, path) for method, path in GUARDED if method == "POST"]
    assert len(posts) >= 3
    for (method, path), origin in itertools.product(posts, (*EVIL, *ports, "")):
        for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
            sent = {"Origin": origin, "Content-Type": kind}
            check_refused(await harness.ask(server.port, method, filled(path), sent, body(path)))
    assert await streams(server) == before


@pytest.mark.case("4.18")
async def test_its_own_page_and_a_program_may(server: harness.Running) -> None:
    host = f"127.0.0.1:{server.port}"
    for sent in ({"Origin": f"http://{host}", "Host": host}, {}):
        answer = await harness.ask(server.port, "POST", "/v1/streams", sent, body("/v1/streams"))
        assert answer.status == 201


@pytest.mark.case("4.18")
async def test_a_page_that_is_named_may(shown: harness.Running) -> None:
    made = await harness.ask(
        shown.port, "POST", "/v1/streams", {"Origin": PAGE}, body("/v1/streams")
    )
    assert made.status == 201
    for origin in EVIL:
        sent = {"Origin": origin}
        check_refused(
            await harness.ask(shown.port, "POST", "/v1/streams", sent, body("/v1/streams"))
        )


@pytest.mark.case("4.18")
async def test_the_first_key_shuts_everybody_out(tmp_path: Path) -> None:
    """Readers too, within a heartbeat; and a node that once had a key opens never again."""
    place = f"sqlite:///{tmp_path}/keys.db"
    server = {"heartbeat_interval": "100ms"}
    config = harness.configured(archive={"url": place}, server=server)
    async with harness.running(config) as running:
        reader = await asking.stalled(running.port)
        stream = harness.stream_of(reader)
        archive = url.open_archive(place, "")
        await archive.start()
        text, kept = keys.new(archive.secret, "first", "ops", scopes=("admin",), now=0)
        await archive.add(kept)
        async with asyncio.timeout(harness.PATIENCE):
            told = await reader.rest()
        assert not told.clean
        assert b"access_ended" in told.body
        path = f"/v1/streams/{stream}"
        assert (await harness.ask(running.port, "GET", path)).status == 401
        cancel = f"{path}/cancel"
        sent = node_with_callers.bearer(text)
        assert (await harness.ask(running.port, "GET", path, sent)).status == 200
        assert (await harness.ask(running.port, "POST", cancel, sent, b"")).status == 202
        await archive.revoke(kept.id, 1)
        async with asyncio.timeout(harness.PATIENCE):
            while (await harness.ask(running.port, "GET", path, sent)).status == 200:
                pass
        assert (await harness.ask(running.port, "GET", path)).status == 401
        await archive.close()


# What a browser lets a page read


def cors(answer: harness.Response) -> dict[str, str]:
    return {name: said for name, said in answer.headers.items() if name.startswith("access-")}


async def preflight(
    server: harness.Running, origin: str, path: str = "/v1/streams"
) -> harness.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, last-event-id, content-type",
    }
    return await harness.ask(server.port, "OPTIONS", path, asked)


@pytest.mark.case("4.12")
async def test_without_the_setting_no_page_reads(server: harness.Running) -> None:
    for origin in (PAGE, *EVIL):
        for _, path in (*GUARDED, *PUBLIC):
            answer = await preflight(server, origin, filled(path))
            assert (answer.status, cors(answer)) == (405, {})
            read = await asking.answered(server.port, "GET", filled(path), {"Origin": origin})
            assert cors(read) == {}


@pytest.mark.case("4.12")
async def test_only_the_named_page_reads(shown: harness.Running) -> None:
    told = await preflight(shown, PAGE)
    assert told.status == 200
    assert told.headers["access-control-allow-origin"] == PAGE
    assert told.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in told.headers["vary"].split(", ")
    allowed = told.headers["access-control-allow-headers"].lower().split(", ")
    assert {"last-event-id", "authorization", "idempotency-key"} <= set(allowed)
    for origin in EVIL:
        refused = await preflight(shown, origin)
        assert refused.status == 400
        assert "access-control-allow-origin" not in refused.headers
        sent = {"Origin": origin, "Cookie": "a=b"}
        for path in ("/v1/streams", "/healthz", "/nowhere", "/v1/streams/x"):
            read = await harness.ask(shown.port, "GET", path, sent)
            assert "access-control-allow-origin" not in read.headers


@pytest.mark.case("4.12")
async def test_the_named_page_sees_what_it_needs(shown: harness.Running) -> None:
    headers = {"Origin": PAGE, **asking.SSE}
    whole = await (await harness.begin(shown.port, asking.demo("tokens=1"), headers.items())).rest()
    path = f"/v1/streams/{harness.stream_of(whole)}/events"
    last = {"Origin": PAGE, "Last-Event-ID": f"{harness.stream_of(whole)}:0-0"}
    for answer in (whole, await harness.ask(shown.port, "GET", path, last)):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in answer.headers["vary"].split(", ")
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"X-Stream-Id", "X-Connection-Id", "Location"} <= set(exposed)


@pytest.mark.case("4.12")
async def test_everybody_and_credentials_exclude_each_other(tmp_path: Path) -> None:
    for origins in ("*", f"{PAGE},*", ""):
        env = {
            "HOLDFAST_SERVER__CORS_ORIGINS": origins,
            "HOLDFAST_SERVER__CORS_CREDENTIALS": "true",
        }
        done = await processes.run("serve", "--port", "0", folder=tmp_path, env=env)
        assert done.code == 1, origins
        assert "cors_credentials" in done.err
    async with harness.running(harness.configured(server={"cors_origins": ("*",)})) as server:
        for origin in EVIL:
            sent = {"Origin": origin, "Cookie": "a=b"}
            read = await harness.ask(server.port, "GET", "/v1/streams", sent)
            assert cors(read)["access-control-allow-origin"] == "*"
            told = await preflight(server, origin)
            for answer in (read, told):
                assert "access-control-allow-credentials" not in answer.headers
