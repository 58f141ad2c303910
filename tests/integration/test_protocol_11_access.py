"""PROTOCOL, section 11: who may ask and who may read. Whoever is somebody else is met in
`test_foreign_streams`, whoever is so no longer in `test_access_ends`, and whoever lacks a scope
(11.2), on each route, in `test_routes_decided`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import asking, conftest, harness

import holdfast
from holdfast import app
from holdfast.access import gate, principal
from holdfast.http import routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROTOCOL = Path(__file__).resolve().parents[2] / "PROTOCOL.md"

WHO = {
    "alice": principal.Principal("acme", "alice"),
    "bob": principal.Principal("acme", "bob"),
    "acme": principal.Principal("acme"),
    "other": principal.Principal("globex"),
    "reader": principal.Principal("acme", "alice", frozenset({"read"})),
    "writer": principal.Principal("acme", "alice", frozenset({"generate"})),
    "root": principal.Principal("ops", scopes=frozenset({"admin"})),
}


async def authorize(asked: gate.Asked) -> principal.Principal | None:
    """The name in `Authorization` is who it is."""
    return WHO.get(asked.headers.get("authorization", ""))


def as_(name: str) -> dict[str, str]:
    return {"Authorization": name}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    node = app.asgi(harness.configured(), authorize=authorize)
    async with harness.serving(node) as running:
        yield running
        await asking.idle(running)


async def made(server: harness.Running, name: str) -> str:
    """A stream of this caller's that has ended."""
    begun = await harness.begin(server.port, asking.demo("tokens=2"), list(as_(name).items()))
    return harness.stream_of(await begun.rest())


async def test_11_1_who_says_nothing_is_401(server: harness.Running) -> None:
    for target in ("/v1/streams", "/v1/connections", "/v1/streams/x"):
        for headers in ({}, as_("nobody"), {"Authorization": "Bearer x"}):
            answer = await harness.ask(server.port, "GET", target, headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] == "unauthorized"
    for target in ("/healthz", "/readyz", "/openapi.json"):
        assert (await harness.ask(server.port, "GET", target)).status == 200


async def test_11_2_admin_does_for_all_but_to_create(server: harness.Running) -> None:
    whole = await (await harness.begin(server.port, asking.demo(), as_("alice").items())).rest()
    stream, connection = harness.stream_of(whole), whole.headers["x-connection-id"]
    # What destroys the stream comes last.
    for row in sorted(routes.ROWS, key=lambda row: row.action == "destroy"):
        if row.dialect and row.action != "create":
            continue  # no stream of this dialect is there
        target = row.path.replace("{stream_id}", stream).replace("{connection_id}", connection)
        body = asking.demo() if row.action == "create" else b'{"tenant": "nobody"}'
        answer = await asking.answered(server.port, row.method, target, as_("root"), body)
        if row.action == "seal":  # one pass runs at a time
            await asking.until(lambda: not server.service.seal.running)
        if row.action == "create":
            assert answer.status == 403, row
            assert b"forbidden" in answer.body
        else:
            assert answer.status in (200, 201, 202, 204), row


async def test_11_2_the_table_says_what_is_needed() -> None:
    text = PROTOCOL.read_text(encoding="utf-8")
    section = text[text.index("\n11.2 ") : text.index("\n11.3 ")]
    named = set(re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", section.partition("| scope |")[2]))
    generate = {
        f"{row.method} {row.path.replace('{stream_id}', '{id}')}"
        for row in routes.ROWS
        if principal.NEEDS[row.action] == "generate" and not row.dialect
    }
    rest = {
        f"{row.method} {row.path}"
        for row in routes.ROWS
        if principal.NEEDS[row.action] in ("admin", "metrics")
    }
    assert named == generate | rest


async def test_11_2_a_reader_may_resume_by_post(server: harness.Running) -> None:
    stream = await made(server, "alice")
    headers = {**as_("reader"), "Last-Event-ID": f"{stream}:0-0", "Accept": "text/event-stream"}
    answer = await harness.ask(server.port, "POST", "/v1/streams", headers, b"")
    assert answer.status == 200
    assert harness.said(answer.body)[0].event == "start"


async def test_11_4_a_stream_is_its_creator_s(server: harness.Running) -> None:
    mine, ours = await made(server, "alice"), await made(server, "acme")
    assert len(mine) == len(ours) == 32
    sees = {
        "alice": {mine},
        "acme": {mine, ours},
        "root": {mine, ours},
        "bob": set(),
        "other": set(),
    }
    for name, streams in sees.items():
        for stream in (mine, ours):
            answer = await harness.ask(server.port, "GET", f"/v1/streams/{stream}", as_(name))
            assert answer.status == (200 if stream in streams else 404), name
        page = (await harness.ask(server.port, "GET", "/v1/streams?limit=200", as_(name))).json()
        listed = {row["id"] for row in page["streams"]}
        assert listed & {mine, ours} == streams, name


async def test_11_5_a_signed_url_reads_one_stream(server: harness.Running) -> None:
    mine, another = await made(server, "alice"), await made(server, "alice")
    link = await harness.ask(server.port, "POST", f"/v1/streams/{mine}/links", as_("alice"))
    assert link.status == 201
    url = link.json()["url"]
    assert url.startswith(f"/v1/streams/{mine}/events?expires=")
    for _ in range(2):
        read = await harness.ask(server.port, "GET", url)
        assert read.status == 200
        assert harness.said(read.body)[-1].event == "complete"
    last = harness.said(read.body)[-1].id
    assert (await harness.ask(server.port, "GET", url, {"Last-Event-ID": last or ""})).status == 204
    query = url.partition("?")[2]
    for path in (f"/v1/streams/{another}/events", f"/v1/streams/{mine}", "/v1/streams"):
        assert (await harness.ask(server.port, "GET", f"{path}?{query}")).status == 401
    foreign = await harness.ask(server.port, "POST", f"/v1/streams/{mine}/links", as_("bob"))
    assert foreign.status == 404


async def test_11_7_a_node_without_keys_signs_too() -> None:
    async with harness.running(harness.configured()) as server:
        whole = await (await harness.begin(server.port, asking.demo("tokens=1"))).rest()
        stream = harness.stream_of(whole)
        assert len(stream) == 26
        link = await harness.ask(server.port, "POST", f"/v1/streams/{stream}/links")
        assert (await harness.ask(server.port, "GET", link.json()["url"])).status == 200
        await asking.idle(server)


@pytest.mark.parametrize(
    "field",
    ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"],
)
async def test_11_7_nor_does_it_serve_what_a_proxy_passes_on(field: str) -> None:
    async with harness.running(harness.configured()) as server:
        answer = await harness.ask(server.port, "GET", "/v1/streams", {field: "127.0.0.1"})
        assert (answer.status, answer.json()["code"]) == (403, "forbidden")
        assert (await harness.ask(server.port, "GET", "/healthz", {field: "x"})).status == 200


# A hook of the operator's


async def hooked(hook: gate.Authorize) -> harness.Response:
    """What a reader of the list gets."""
    async with harness.serving(app.asgi(harness.configured(), authorize=hook)) as server:
        return await harness.ask(server.port, "GET", "/v1/streams", as_("x"))


async def test_a_principal_without_a_tenant_is_nobody() -> None:
    async def everybody(asked: gate.Asked) -> principal.Principal | None:
        return principal.ANYBODY

    assert (await hooked(everybody)).status == 401


async def test_a_hook_that_fails_gives_no_verdict(logged: conftest.Logged) -> None:
    async def failing(asked: gate.Asked) -> principal.Principal | None:
        raise ValueError(f"cannot look up {asked.headers['authorization']}")

    answer = await hooked(failing)
    assert (answer.status, answer.json()["code"]) == (503, "keys_unavailable")
    assert "retry-after" in answer.headers
    told = [entry for entry in logged if entry["event"] == "authorize_failed"]
    assert [entry["error"] for entry in told] == ["ValueError"]
    logged.clear()


async def test_a_reader_is_asked_to_come_back_while_a_hook_fails(logged: conftest.Logged) -> None:
    failing = False

    async def hook(asked: gate.Asked) -> principal.Principal | None:
        if failing:
            raise OSError
        return WHO["alice"]

    async with harness.serving(app.asgi(harness.configured(), authorize=hook)) as server:
        stream = await made(server, "alice")
        failing = True
        answer = await harness.ask(server.port, "GET", f"/v1/streams/{stream}/events")
        assert (answer.status, answer.clean) == (200, False)
        assert harness.said(answer.body)[0].data["reason"] == "keys_unavailable"
        await asking.idle(server)
    logged.clear()


async def test_a_link_of_a_principal_that_ends_ends_with_it() -> None:
    async def hook(asked: gate.Asked) -> principal.Principal | None:
        return principal.Principal(
            "acme", "alice", key="session-s3cret", expires_at=4_000_000_000.5
        )

    config = harness.configured(deadlines={"total": 86_400.0})
    async with harness.serving(app.asgi(config, authorize=hook)) as server:
        access = server.service.access
        assert access is not None
        access._clock = lambda: 3_999_999_900.0
        stream = await made(server, "alice")
        link = await harness.ask(server.port, "POST", f"/v1/streams/{stream}/links")
        assert "expires=4000000000&" in link.json()["url"]
        assert "s3cret" not in link.json()["url"]
        await asking.idle(server)


async def test_whoever_has_a_tenant_is_not_told_which_variable_holds_a_key() -> None:
    config = harness.configured(providers={"openai": {"kind": "openai", "api_key_env": "MY_KEY"}})
    async with harness.serving(app.asgi(config, authorize=authorize)) as server:
        body = harness.wanted("openai/m")
        refused = await harness.ask(server.port, "POST", "/v1/streams", as_("alice"), body)
        assert (refused.status, refused.json()["code"]) == (503, "missing_key")
        assert "MY_KEY" not in refused.body.decode()


async def test_11_5_our_client_asks_for_one() -> None:
    """Which a page then needs as it stands."""
    async with (
        harness.running(harness.configured()) as server,
        holdfast.AsyncClient(f"http://127.0.0.1:{server.port}") as opened,
    ):
        whole = await (await harness.begin(server.port, asking.demo("tokens=1"))).rest()
        url = await opened.link(harness.stream_of(whole))
        base, _, path = url.partition(f":{server.port}")
        assert base == "http://127.0.0.1"
        read = await harness.ask(server.port, "GET", path)
        assert (read.status, harness.said(read.body)[-1].event) == (200, "complete")
