"""Seven tabs of one browser, and the page opened over the machine's own address.

Strategy: over HTTP/1.1 a browser opens six connections to one server, so a seventh stream would
wait for ever and say nothing. Five tabs stream, which leaves one connection for loading pages and
for stopping; the others say what they wait for, and go on when there is room. Behind nginx with
HTTP/2 all stream. Plain HTTP from an address that is not the machine's loopback is no secure
context: there the browser has neither `crypto.subtle` nor locks. A test has no other machine: who
asks from elsewhere is this one from one of its addresses, which asks another one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests import conftest
from tests.integration import asking, harness, nginx, processes
from tests.integration.javascript import browser, page_stage
from tests.integration.javascript.page_stage import STATE, TEXT, asked, shows
from tests.unit.transport import certificates

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABS, PLACES = 7, 5

SERVER = """
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        location {under} {{
            proxy_pass http://127.0.0.1:{target}/;
        }}
"""


@pytest.fixture(scope="module")
def address() -> str:
    """One of this machine's own addresses beside loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking_nobody:
        try:
            asking_nobody.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            conftest.missing("network", "this machine has no address beside loopback")
        return str(asking_nobody.getsockname()[0])


# Seven tabs


async def test_the_sixth_tab_says_that_it_waits_and_goes_on_when_there_is_room(
    chrome: browser.Browser,
) -> None:
    told = page_stage.Told(3)
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        first = await profile.open(f"{stage.server.url}/")
        id = await asked(first)
        text = told.let()
        await shows(first, text)
        tabs = [first] + [await profile.open(f"{stage.server.url}/#{id}") for _ in range(TABS - 1)]
        for tab in tabs[:PLACES]:
            await shows(tab, text)
        for tab in tabs[PLACES:]:
            await shows(tab, "", "waiting")
            assert await tab.text("state") == "Too many tabs"
            assert "six connections" in await tab.text("detail")
        assert len(stage.server.service.connections) == PLACES
        await tabs[1].close()
        await one_of(tabs[PLACES:], text)
        states = [await tab.evaluate(STATE) for tab in tabs[PLACES:]]
        assert sorted(states) == ["streaming", "waiting"]
        whole = told.end()
        for tab in (tabs[0], *tabs[2:]):
            await shows(tab, whole, "done")


async def parted(tabs: list[browser.Tab], *, streaming: int, waiting: int) -> None:
    """Returns when so many of them stream, and so many wait: whose turn it is says the browser."""
    wanted = ["streaming"] * streaming + ["waiting"] * waiting
    async with asyncio.timeout(harness.PATIENCE):
        while sorted([await tab.evaluate(STATE) for tab in tabs]) != wanted:
            pass


async def one_of(tabs: list[browser.Tab], text: str) -> None:
    """Returns when one of them shows this."""
    async with asyncio.timeout(harness.PATIENCE):
        while text not in [await tab.evaluate(TEXT) for tab in tabs]:
            pass


async def test_of_places_that_become_free_at_once_a_tab_takes_one(chrome: browser.Browser) -> None:
    told = page_stage.Told(1)
    held = "navigator.locks.query().then(({ held }) => held.length)"
    async with page_stage.staged(told.answer) as stage, chrome.profile() as profile:
        tab, other = [await profile.open(f"{stage.server.url}/") for _ in range(2)]
        await other.evaluate(
            f"void Array.from({{ length: {PLACES} }}, (_, n) => navigator.locks.request("
            "`holdfast-stream-${n}`, () => new Promise((back) => (window.back ??= []).push(back))))"
        )
        await tab.until(f"{held}.then((n) => n === {PLACES})")
        await tab.click("#ask")
        await tab.until(f"{STATE} === 'waiting'")
        await other.evaluate("window.back.forEach((back) => back())")
        await shows(tab, told.let())
        await tab.until(f"{held}.then((n) => n === 1)")
        await shows(tab, told.end(), "done")
        await tab.until(f"{held}.then((n) => n === 0)")


async def test_with_all_places_taken_an_answer_can_be_stopped_and_another_one_left(
    chrome: browser.Browser,
) -> None:
    told, other = page_stage.Told(2), page_stage.Told(1)
    async with page_stage.staged(told.answer, other.answer) as stage, chrome.profile() as profile:
        first = await profile.open(f"{stage.server.url}/")
        id = await asked(first)
        url = f"{stage.server.url}/#{id}"
        tabs = [first] + [await profile.open(url) for _ in range(PLACES)]
        waiting = tabs[-1]
        await shows(waiting, "", "waiting")
        await waiting.press("Escape")
        await shows(waiting, "", "stopped")
        text = told.let()
        await shows(first, text)  # which is not what was stopped
        await first.press("Escape")
        for tab in tabs[:-1]:
            await shows(tab, text, "stopped")
        await asked(waiting)
        await shows(waiting, other.end(), "done")


async def test_where_others_hold_all_connections_time_tells(chrome: browser.Browser) -> None:
    """A program of the same origin that is not this page, and asks nobody for a place."""
    told = page_stage.Told(1)
    async with page_stage.staged(told.answer, told.answer) as stage, chrome.profile() as profile:
        maker = await harness.begin(stage.server.port, harness.wanted("demo"))
        path = f"/v1/streams/{harness.stream_of(maker)}/events"
        tab, other = [await profile.open(f"{stage.server.url}/") for _ in range(2)]
        await other.evaluate(
            "window.held = new AbortController(); Promise.all(Array.from({ length: 6 }, () =>"
            f" fetch('{path}', {{ signal: held.signal, cache: 'no-store' }}))).then(() => 0)"
        )
        await tab.click("#ask")
        await tab.until(f"{STATE} === 'waiting'")
        assert "six connections" in await tab.text("detail")
        assert len(stage.provider.requests) == 1
        await other.evaluate("held.abort()")
        await shows(tab, told.end(), "done")
        await maker.rest()


@contextlib.asynccontextmanager
async def http2(program: Path, folder: Path, target: int, under: str = "/") -> AsyncIterator[str]:
    """nginx with HTTP/2 before a port, which is to be had under a path; where nginx is."""
    certificates.Authority(folder).server("127.0.0.1")
    server = SERVER.format(target=target, pem=folder / "server-1.pem", under=under)
    async with nginx.running(program, folder, server, listen="ssl http2") as port:
        yield f"https://127.0.0.1:{port}"


async def test_over_http_2_all_seven_stream(
    chrome: browser.Browser, require: Callable[[str], Path], tmp_path: Path
) -> None:
    told = page_stage.Told(2)
    async with (
        page_stage.staged(told.answer) as stage,
        http2(require("nginx"), tmp_path, stage.server.port) as url,
        chrome.profile() as profile,
    ):
        first = await profile.open(f"{url}/")
        id = await asked(first)
        text = told.let()
        tabs = [first] + [await profile.open(f"{url}/#{id}") for _ in range(TABS - 1)]
        for tab in tabs:
            await shows(tab, text)
            spoken = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
            assert await tab.evaluate(spoken) == "h2"
        assert len(stage.server.service.connections) == TABS
        whole = told.end()
        for tab in tabs:
            await shows(tab, whole, "done")
            assert await tab.text("state") == "Complete and verified"
        assert len(stage.provider.requests) == 1


async def test_a_proxy_may_have_it_under_a_path(
    chrome: browser.Browser, require: Callable[[str], Path], tmp_path: Path
) -> None:
    told = page_stage.Told(1)
    async with (
        page_stage.staged(told.answer) as stage,
        http2(require("nginx"), tmp_path, stage.server.port, "/under/it/") as url,
        chrome.profile() as profile,
    ):
        tab = await profile.open(f"{url}/under/it/")
        await asked(tab)
        await shows(tab, told.let())
        await tab.reload()
        await shows(tab, told.end(), "done")
        assert len(stage.provider.requests) == 1


# The machine's own address


async def test_the_demo_is_opened_over_the_machine_s_own_address(
    chrome: browser.Browser, address: str, tmp_path: Path
) -> None:
    async with (
        processes.serving("--host", "0.0.0.0", folder=tmp_path, command="demo") as demo,
        chrome.profile() as profile,
    ):
        assert f"Open {demo.url}/ in a browser" in await demo.more(1)
        tab = await profile.open(f"http://{address}:{demo.port}/")
        assert await tab.evaluate("[isSecureContext, crypto.subtle ?? null]") == [False, None]
        await tab.choose("#kind", "rate=30")
        await tab.fill("#question", "What is a holdfast?\n/demo rate=500")
        await tab.click("#ask")
        await tab.until(f"{STATE} === 'done'")
        assert await tab.text("state") == "Complete, length verified"
        assert "Only the length was verified" in await tab.text("detail")
        assert (await demo.end(signal.SIGTERM)).code == 0


async def test_seven_tabs_there_say_that_they_wait(
    chrome: browser.Browser, address: str, tmp_path: Path
) -> None:
    """Without locks: six stream, and the others, loaded before, tell after a while. Who stops gives
    up a connection for it, which nobody else gets who waits."""
    async with (
        processes.serving("--host", "0.0.0.0", folder=tmp_path, command="demo") as demo,
        chrome.profile() as profile,
    ):
        url = f"http://{address}:{demo.port}/"
        tabs = [await profile.open(url) for _ in range(TABS + 1)]
        await tabs[0].fill("#question", "Hold still.\n/demo tokens=2 stall_at=1")
        id = await asked(tabs[0])
        for tab in tabs[1:]:
            await tab.evaluate(f"location.hash = '{id}'")
        await parted(tabs, streaming=6, waiting=2)
        (*_, waits) = [tab for tab in tabs if await tab.evaluate(STATE) == "waiting"]
        assert await waits.text("state") == "No connection yet"
        assert "six connections" in await waits.text("detail")
        text = await tabs[0].evaluate(TEXT)
        found = [tab for tab in tabs[1:] if await tab.evaluate(STATE) == "streaming"]
        await found[0].close()
        tabs.remove(found[0])
        await parted(tabs, streaming=6, waiting=1)
        await tabs[0].press("Escape")
        for tab in tabs:
            await shows(tab, text, "stopped")


async def test_a_demo_on_all_addresses_serves_this_machine_alone(
    address: str, tmp_path: Path
) -> None:
    """PROTOCOL 11.7, on real sockets; what else stands in the way is in `test_open_node`."""
    async with processes.serving("--host", "0.0.0.0", folder=tmp_path, command="demo") as demo:
        for host in ("127.0.0.1", address):
            assert await status(demo.port, host, host, f"http://{host}:{demo.port}") == 201
        # From one of our addresses to another: not both ends are the same.
        assert await status(demo.port, "127.0.0.1", address, f"http://127.0.0.1:{demo.port}") == 403
        # A page of another origin, and a name that somebody pointed here.
        assert await status(demo.port, address, address, "http://evil.example") == 403
        evil = f"evil.example:{demo.port}"
        assert await status(demo.port, address, address, f"http://{evil}", evil) == 403


async def status(port: int, to: str, come: str, origin: str, host: str = "") -> int:
    """What a POST is answered that comes from one of our addresses to another."""
    body = asking.demo("tokens=1")
    reader, writer = await asyncio.open_connection(to, port, local_addr=(come, 0))
    lines = [
        "POST /v1/streams HTTP/1.1",
        f"Host: {host or f'{to}:{port}'}",
        f"Origin: {origin}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    async with asyncio.timeout(harness.PATIENCE):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1])
