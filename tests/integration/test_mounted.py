"""A node mounted in an application of somebody's: it answers there as it does alone, and nothing
else of that application is changed.

Strategy: the same requests go to the node alone and in each of the ways to mount it, and the
answers are compared, but for the paths in them. What an embedder may do wrong is tried too.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncIterator, MutableSequence
from pathlib import Path
from typing import Any

import fastapi
import pytest
from starlette import applications, routing, testclient
from tests.integration import asking, harness, mounting, other_servers, processes

import holdfast
from holdfast import errors, settings
from holdfast.http import routes

ORIGIN = "https://page.example"
UNKNOWN = "0" * 26
VALUES = {"": UNKNOWN, ":path": f"{UNKNOWN}/v1/streams"}
PATHS = tuple(
    dict.fromkeys(
        re.sub(r"{\w+?(:path)?}", lambda found: VALUES[found[1] or ""], row.path)
        for row in routes.ROWS
    )
)
"""A path of each route; where a parameter may have a slash, it has."""

JSON = {"Content-Type": "application/json"}


def node(**tables: Any) -> holdfast.App:
    return holdfast.asgi(harness.configured(**tables))


def requests() -> list[tuple[str, str]]:
    """Each path with each method, and with a slash too many."""
    methods = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
    return [(method, path) for path in PATHS for method in methods] + [
        ("GET", f"{path}/") for path in PATHS
    ]


async def answers(way: mounting.Way) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What is answered to `requests`, by a page of another origin."""
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    host = way(node(server={"cors_origins": [ORIGIN]}))
    async with mounting.serving(host) as served:
        for method, path in requests():
            answer = await asking.answered(served.port, method, f"{served.at}{path}", asked)
            found[method, path] = told(answer, served.at)
    return found


def told(answer: harness.Response, at: str) -> tuple[Any, ...]:
    """What is the same for each who asks this."""
    passing = ("date", "server", "content-length", "x-request-id", "request-id")
    headers = {name: value for name, value in answer.headers.items() if name not in passing}
    body = re.sub(rb'"[0-9A-Za-z_-]{20,}"', b'"id"', answer.body) if answer.status >= 400 else b""
    return answer.status, headers, body.replace(at.encode() + b"/", b"/"), answer.clean


@pytest.mark.parametrize("way", mounting.WAYS)
async def test_it_answers_as_it_does_alone(way: mounting.Way) -> None:
    there, alone = await answers(way), await answers(mounting.alone)
    if way is mounting.beside:  # FastAPI has that path for its own
        for method, path in requests():
            if path.startswith("/openapi.json"):
                del there[method, path], alone[method, path]
    assert there == alone


@pytest.mark.parametrize("way", mounting.WAYS)
async def test_what_is_the_host_s_is_as_it_was(way: mounting.Way) -> None:
    bare: Any = fastapi.FastAPI()
    bare.add_api_route("/own", mounting.own)
    if way is mounting.plain:
        bare = applications.Starlette(routes=[routing.Route("/own", mounting.own)])
    seen = []
    for host in (
        mounting.Host(bare, "", node()),
        way(node(server={"cors_origins": [ORIGIN]})),
    ):
        async with mounting.serving(host) as served:
            asked = {"Origin": ORIGIN, "Host": "host.example"}
            seen.append(
                [
                    told(await harness.ask(served.port, "GET", "/openapi.json", asked), ""),
                    *[
                        told(await harness.ask(served.port, method, path, asked), "")
                        for method in ("GET", "DELETE", "OPTIONS")
                        for path in ("/own", "/own/", "/nothing", "/docs", "/v2/llm")
                    ],
                ]
            )
    assert seen[0] == seen[1]
    assert seen[0][2][1]["location"] == "http://host.example/own"


@pytest.mark.parametrize("way", mounting.WAYS)
async def test_urls_say_where_it_is_mounted(way: mounting.Way) -> None:
    async with mounting.serving(way(node())) as served:
        body = asking.demo("tokens=3")
        made = await harness.ask(served.port, "POST", f"{served.at}/v1/streams", JSON, body)
        stream = made.json()["id"]
        url = f"{served.at}/v1/streams/{stream}"
        assert made.headers["location"] == url
        assert (made.json()["url"], made.json()["events_url"]) == (url, f"{url}/events")
        whole = await harness.ask(served.port, "GET", made.json()["events_url"])
        assert asking.kinds(whole.body)[-1] == "complete"
        link = (await harness.ask(served.port, "POST", f"{url}/links")).json()["url"]
        assert link.startswith(f"{url}/events?")
        assert (await harness.ask(served.port, "GET", link)).body == whole.body
        if way is not mounting.beside:
            document = await harness.ask(served.port, "GET", f"{served.at}/openapi.json")
            assert document.json()["servers"] == [{"url": served.at}]


@pytest.mark.parametrize("way", [*mounting.WAYS, mounting.alone])
async def test_our_client_finds_it_where_it_is(way: mounting.Way) -> None:
    async with mounting.serving(way(node())) as served:
        origin = f"http://127.0.0.1:{served.port}"
        async with holdfast.AsyncClient(f"{origin}{served.at}") as client:
            async with client.stream(model="demo-fast", prompt="/demo rate=10000") as answer:
                final = await answer.final()
            link = await client.link(answer.stream_id)
        whole = await harness.ask(served.port, "GET", link.removeprefix(origin))
        assert asking.content(whole.body) == final.choice().content


@pytest.mark.parametrize("way", mounting.WAYS)
async def test_urls_say_what_a_proxy_has_taken_away(way: mounting.Way) -> None:
    host = way(node())
    async with mounting.serving(mounting.Host(rooted(host.application), "", host.node)) as served:
        path = f"{host.prefix}/v1/streams"
        made = await harness.ask(served.port, "POST", path, JSON, asking.demo("tokens=3"))
        assert made.status == 201
        assert made.headers["location"].startswith(f"/api{path}/")
        await asking.idle(served.server)


def rooted(application: Any) -> Any:
    """As a server passes a request on that is told what stands before all its paths."""

    async def passed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "root_path": "/api", "path": f"/api{scope['path']}"}
        await application(scope, receive, send)

    return passed


async def test_a_caller_writes_no_header_where_a_parameter_is_in_the_prefix() -> None:
    async with mounting.serving(mounting.included(node(), "/{who}/llm")) as served:
        path = "/a%0D%0Ax-mine: 1/llm/v1/streams".replace(" ", "%20")
        made = await harness.ask(served.port, "POST", path, JSON, asking.demo("tokens=3"))
        assert made.status == 201
        assert made.headers["location"].startswith("/a%0D%0Ax-mine:%201/llm/v1/streams/")
        assert "x-mine" not in made.headers
        await asking.idle(served.server)


# What the host adds


async def test_the_host_s_dependencies_are_asked_first() -> None:
    async def refuse(request: fastapi.Request) -> None:
        if request.headers.get("x-mine") != "yes":
            raise fastapi.HTTPException(418, "not you")

    host = mounting.included(node(), dependencies=[fastapi.Depends(refuse)])
    async with mounting.serving(host) as served:
        for path in (*PATHS, f"{PATHS[0]}/"):
            answer = await harness.ask(served.port, "GET", served.at + path)
            assert (answer.status, answer.json()) == (418, {"detail": "not you"})
        found = await harness.ask(served.port, "GET", "/llm/readyz", {"X-Mine": "yes"})
        assert found.status == 200


async def test_the_host_s_own_lifespan_runs_too() -> None:
    told: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[dict[str, str]]:
        told.append("begins")
        yield {"mine": "yes"}
        told.append("ends")

    application = fastapi.FastAPI(lifespan=lifespan)
    made = node()
    application.include_router(holdfast.router(made))
    async with mounting.serving(mounting.Host(application, "", made)) as served:
        assert (await harness.ask(served.port, "GET", "/readyz")).status == 200
        assert told == ["begins"]
    assert told == ["begins", "ends"]
    assert not made.service.running


async def test_a_node_at_two_places_is_one() -> None:
    made = node()
    application = fastapi.FastAPI()
    for prefix in ("/a", "/b"):
        application.include_router(holdfast.router(made), prefix=prefix)
    async with mounting.serving(mounting.Host(application, "", made)) as served:
        assert made.service.supervisor.names.count("ticker") == 1
        body = asking.demo("tokens=3")
        asked = await harness.ask(served.port, "POST", "/a/v1/streams", JSON, body)
        path = f"/b/v1/streams/{asked.json()['id']}/events"
        assert (await harness.ask(served.port, "GET", path)).clean


async def test_two_nodes_of_one_application_know_nothing_of_each_other() -> None:
    first, second = node(), node(server={"max_body": 2048})
    application = fastapi.FastAPI()
    application.include_router(holdfast.router(first), prefix="/a")
    application.include_router(holdfast.router(second), prefix="/b")
    async with mounting.serving(mounting.Host(application, "", first)) as served:
        body = asking.demo("tokens=3", prompt="x" * 2048)
        made = await harness.ask(served.port, "POST", "/a/v1/streams", JSON, body)
        refused = await harness.ask(served.port, "POST", "/b/v1/streams", JSON, body)
        assert (made.status, refused.status) == (201, 413)
        path = f"/v1/streams/{made.json()['id']}"
        found = [await harness.ask(served.port, "GET", at + path) for at in ("/a", "/b")]
        assert [answer.status for answer in found] == [200, 404]


# What an embedder may do wrong, and do again


async def test_without_its_lifespan_it_says_what_is_missing(
    logged: MutableSequence[Any],
) -> None:
    application = fastapi.FastAPI()
    application.mount("/llm", node())
    async with other_servers.serving(application) as port:
        for path in PATHS:
            answer = await harness.ask(port, "GET", f"/llm{path}")
            assert (answer.status, answer.json()["code"]) == (503, "not_started")
            assert "FastAPI(lifespan=llm.lifespan)" in answer.json()["detail"]
            assert "retry-after" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await harness.ask(port, "GET", "/own")).status == 404
    assert [entry["event"] for entry in logged] == ["not_started"]
    logged.clear()


async def test_what_is_started_again_is_a_new_node() -> None:
    host = mounting.included(node())
    before = host.node.service
    for _ in range(2):
        async with mounting.serving(host) as served:
            at = f"{served.at}/v1/streams"
            made = await harness.ask(served.port, "POST", at, JSON, asking.demo("tokens=3"))
            assert made.status == 201
            found = await harness.ask(served.port, "GET", at)
            assert len(found.json()["streams"]) == 1
    assert host.node.service is not before


def test_the_client_of_the_host_s_tests_starts_it_each_time() -> None:
    application = mounting.included(node()).application
    for _ in range(2):
        with testclient.TestClient(application, client=("127.0.0.1", 1)) as client:
            body = asking.demo("tokens=3")
            made = client.post("/llm/v1/streams", content=body, headers=JSON)
            assert made.status_code == 201
            whole = client.get(made.json()["events_url"])
            assert asking.kinds(whole.content)[-1] == "complete"


async def test_after_its_end_it_is_gone_for_now() -> None:
    made = node()
    async with made.lifespan():
        pass
    application = fastapi.FastAPI()
    application.mount("/llm", made)
    async with other_servers.serving(application) as port:
        answer = await harness.ask(port, "GET", "/llm/v1/streams")
        assert (answer.status, answer.json()["code"]) == (503, "draining")
        assert "retry-after" in answer.headers


async def test_two_nodes_on_one_file_are_told_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/answers.db"
    first, second = node(log_url=url), node(log_url=url)
    async with first.lifespan():
        with pytest.raises(errors.LogLocked, match=r"answers\.db"):
            async with second.lifespan():
                pass
        assert first.service.running
    async with second.lifespan():
        assert second.service.running


async def test_without_fastapi_the_router_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(errors.SettingsError, match="pip install fastapi"):
        holdfast.router(settings.Settings())


async def test_fastapi_is_imported_for_who_asks_for_it() -> None:
    look = "import sys, holdfast; print('fastapi' in sys.modules)"
    done = await processes.run("-c", look, command=(sys.executable,))
    assert (done.out, done.err) == ("False\n", "")


# Settings


async def test_settings_are_an_object_a_file_or_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_SHARED", raising=False)
    monkeypatch.setenv("HOLDFAST_LOG__URL", "memory://")
    given = settings.Settings()
    assert holdfast.asgi(given).service.config is given
    assert holdfast.asgi().service.config.server.max_body == given.server.max_body
    assert holdfast.asgi().service.config.log.url == "memory://"
    for name, size in (("holdfast.toml", "1MiB"), ("other.toml", "2MiB")):
        (tmp_path / name).write_text(f'[server]\nmax_body = "{size}"\n')
    assert holdfast.asgi().service.config.server.max_body == 1 << 20
    assert holdfast.asgi("other.toml").service.config.server.max_body == 2 << 20
    assert holdfast.asgi(tmp_path / "other.toml").service.config.server.max_body == 2 << 20
    with pytest.raises(errors.SettingsError, match=r"no\.toml"):
        holdfast.router("no.toml")
