"""The files of the page over HTTP: what they are served with, and where there are none."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from starlette import routing
from tests.integration import harness, peers, processes, test_routes_decided
from tests.integration.javascript import js_reader, page_stage

from holdfast import app
from holdfast.page import routes
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATIC = Path(routes.__file__).parent / "static"
PATHS = sorted(routes.FILES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[page_stage.Stage]:
    async with page_stage.staged(replay.Answer()) as found:
        yield found


async def get(stage: page_stage.Stage, path: str, **headers: str) -> harness.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await harness.ask(stage.server.port, "GET", path, sent)


async def test_each_file_is_served_and_no_other(stage: page_stage.Stage) -> None:
    """The client is the one of `clients/js`, byte for byte."""
    served = {name for name, _ in routes.FILES.values()}
    assert served == {path.name for path in STATIC.iterdir()}
    for path, (name, kind) in routes.FILES.items():
        answer = await get(stage, path)
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert answer.body == (STATIC / name).read_bytes()
    own = STATIC.parents[3] / "clients" / "js" / "holdfast.js"
    assert (await get(stage, "/holdfast.js")).body == own.read_bytes()
    for path in (
        "/index.html",
        "/static/page.js",
        "/page/static/page.js",
        "/routes.py",
        "/page.js/",
    ):
        assert (await get(stage, path)).status == 404, path


@pytest.mark.parametrize("path", PATHS)
async def test_a_copy_that_still_holds_is_not_sent_again(
    stage: page_stage.Stage, path: str
) -> None:
    whole = await get(stage, path)
    assert whole.headers["cache-control"] == "no-cache"
    tag = whole.headers["etag"]
    for held in (tag, f'"other", {tag}', f"W/{tag}"):
        answer = await get(stage, path, If_None_Match=held)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert (await get(stage, path, If_None_Match='"other"')).body == whole.body


async def test_files_differ_in_their_tags(stage: page_stage.Stage) -> None:
    tags = [(await get(stage, path)).headers["etag"] for path in PATHS]
    assert len(set(tags)) == len(PATHS)


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_answered_like_get_and_nothing_else_is(
    stage: page_stage.Stage, path: str
) -> None:
    port = stage.server.port
    head, whole = await harness.ask(port, "HEAD", path), await get(stage, path)
    same = ("content-type", "content-length", "etag", "content-security-policy")
    assert (head.status, head.body) == (200, b"")
    assert [head.headers[name] for name in same] == [whole.headers[name] for name in same]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await harness.ask(port, method, path, body=b"")).status == 405


@pytest.mark.parametrize("path", PATHS)
async def test_the_policy_allows_what_the_server_has_and_nothing_else(
    stage: page_stage.Stage, path: str
) -> None:
    answer = await get(stage, path)
    policy = dict(
        word.split(" ", 1) for word in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert {words for name, words in policy.items() if name.endswith("-src")} == {
        "'none'",
        "'self'",
    }
    # What "default-src" says nothing of.
    for name in ("frame-ancestors", "base-uri", "form-action"):
        assert policy[name] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in str(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


async def test_the_page_names_no_other_host_and_has_nothing_inline() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        if path.name != "holdfast.js":  # which may be given any address
            assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) == [], path.name
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) == []


async def test_types_hold(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """By the compiler and the rules of the client's own check."""
    client = js_reader.client_folder()
    compiler = peers.installed(pytestconfig, client) / "typescript" / "bin" / "tsc"
    like = {"extends": f"{client}/tsconfig.json", "include": [f"{STATIC}/*.js"]}
    (tmp_path / "tsconfig.json").write_bytes(msgspec.json.encode(like))
    done = await processes.run(
        str(compiler),
        *("--project", str(tmp_path), "--listFilesOnly"),
        command=(str(peers.NODE),),
    )
    assert {f"{name}.js" for name in ("page", "show", "meter", "places")} <= {
        Path(line).name for line in done.out.splitlines()
    }
    done = await processes.run(
        str(compiler), "--project", str(tmp_path), command=(str(peers.NODE),)
    )
    assert (done.code, done.out) == (0, "")


async def test_only_who_asks_for_the_page_has_it() -> None:
    plain = test_routes_decided.served(app.asgi(harness.configured()).calls)
    paged = test_routes_decided.served(app.asgi(harness.configured(), page=True).calls)
    assert paged == plain | {("GET", path): routing.Route for path in routes.FILES}
    assert "/" not in {path for _, path in plain}


async def test_demo_has_the_page_and_says_where(tmp_path: Path) -> None:
    async with processes.serving(folder=tmp_path, command="demo") as demo:
        assert f"Open {demo.url}/ in a browser" in await demo.more(1)
        answer = await harness.ask(demo.port, "GET", "/")
        assert (answer.status, answer.body) == (200, (STATIC / "index.html").read_bytes())


async def test_serve_has_none(tmp_path: Path) -> None:
    async with processes.serving(folder=tmp_path) as served:
        for path in routes.FILES:
            assert (await harness.ask(served.port, "GET", path)).status == 404
