"""The files of the pages over HTTP: what they are served with, and where there are none."""

from __future__ import annotations

import hashlib
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
from holdfast.dashboard import routes as dashboard
from holdfast.page import routes
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATIC = Path(routes.__file__).parent / "static"
FOLDERS = {STATIC: routes.FILES, Path(dashboard.__file__).parent / "static": dashboard.FILES}
"""Of the demo's page, and of the dashboard."""

PATHS = sorted(path for files in FOLDERS.values() for path in files)
OTHERS = ("uplot.js", "uplot.css", "uplot.LICENSE.txt")
"""Files that are as somebody else has published them."""

UPLOT = [
    "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
]
"""SHA-256 of the first two, as the package `uplot` 1.6.32 has them."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[page_stage.Stage]:
    async with page_stage.staged(replay.Answer()) as found:
        yield found


async def get(stage: page_stage.Stage, path: str, **headers: str) -> harness.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await harness.ask(stage.server.port, "GET", path, sent)


async def test_each_file_is_served_and_no_other(stage: page_stage.Stage) -> None:
    """The client is the one of `clients/js`, byte for byte."""
    for folder, files in FOLDERS.items():
        assert {name for name, _ in files.values()} == {path.name for path in folder.iterdir()}
        for path, (name, kind) in files.items():
            answer = await get(stage, path)
            assert (answer.status, answer.headers["content-type"]) == (200, kind)
            assert answer.body == (folder / name).read_bytes()
    own = STATIC.parents[3] / "clients" / "js" / "holdfast.js"
    for path in ("/holdfast.js", "/dashboard/holdfast.js"):
        assert (await get(stage, path)).body == own.read_bytes()
    for path in (
        "/index.html",
        "/static/page.js",
        "/page/static/page.js",
        "/routes.py",
        "/page.js/",
        "/dashboard/",
        "/dashboard/index.html",
        "/dashboard/static/main.js",
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
    for files in FOLDERS.values():
        tags = [(await get(stage, path)).headers["etag"] for path in files]
        assert len(set(tags)) == len(tags)


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
    for folder in FOLDERS:
        for path in folder.iterdir():
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            if path.name not in ("holdfast.js", *OTHERS):  # the first may be given any address
                assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) == [], path.name
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) == []


async def test_the_library_of_the_charts_is_whole_and_has_its_licence() -> None:
    folder = Path(dashboard.__file__).parent / "static"
    script, style, licence = (folder / name for name in OTHERS)
    assert script.read_text().startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
    found = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (script, style)]
    assert found == UPLOT
    assert "The MIT License" in licence.read_text()
    assert "Permission is hereby granted" in licence.read_text()


async def test_types_hold(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """By the compiler and the rules of the client's own check."""
    client = js_reader.client_folder()
    compiler = peers.installed(pytestconfig, client) / "typescript" / "bin" / "tsc"
    modules = [f"{folder}/*.js" for folder in FOLDERS]
    others = [f"{folder}/uplot.js" for folder in FOLDERS]
    like = {"extends": f"{client}/tsconfig.json", "include": modules, "exclude": others}
    (tmp_path / "tsconfig.json").write_bytes(msgspec.json.encode(like))
    done = await processes.run(
        str(compiler),
        *("--project", str(tmp_path), "--listFilesOnly"),
        command=(str(peers.NODE),),
    )
    own = {f"{name}.js" for name in ("page", "show", "meter", "places")} | set(dashboard.SCRIPTS)
    assert own - set(OTHERS) <= {Path(line).name for line in done.out.splitlines()}
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


async def test_serve_has_the_dashboard_and_no_page(tmp_path: Path) -> None:
    async with processes.serving(folder=tmp_path) as served:
        for path in routes.FILES:
            assert (await harness.ask(served.port, "GET", path)).status == 404
        for path in dashboard.FILES:
            assert (await harness.ask(served.port, "GET", path)).status == 200


async def test_it_is_left_out_where_that_is_set() -> None:
    config = harness.configured(monitoring={"dashboard": False})
    found = test_routes_decided.served(app.asgi(config).calls)
    assert not {path for _, path in found} & set(dashboard.FILES)
