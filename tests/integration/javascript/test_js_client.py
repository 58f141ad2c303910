"""The JavaScript client on Node against the real server, over a network that breaks off.

Strategy: a black box. A Node process reads answers through cuts, restarts and reloads, and what it
was given, and what came over the wire, is compared with what a reader of the raw bytes got. What is
pure, and what only a lying server can show, is tested in `clients/js/test`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import asking, cutting_proxy, harness, node_with_callers, peers
from tests.integration.javascript import js_reader
from tests.integration.javascript.js_reader import (
    asked,
    frames,
    given,
    ids,
    kinds,
    waits,
    wanted,
    written,
)

from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNICODE = "/demo rate=10000 tokens=200 unicode=1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(pytestconfig: pytest.Config) -> AsyncIterator[js_reader.Reader]:
    peers.installed(pytestconfig)
    async with js_reader.running() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def reader(
    node: js_reader.Reader, request: pytest.FixtureRequest
) -> AsyncIterator[js_reader.Reader]:
    async with js_reader.page(node.process, request.node.name) as found:
        yield found


@pytest.mark.parametrize("padding", [False, True])
async def test_a_whole_answer(reader: js_reader.Reader, padding: bool) -> None:
    streaming = {"padding": padding}
    async with harness.running(harness.configured(streaming=streaming)) as server:
        reader.stream("a", server.url, f"Hello\n{UNICODE} reasoning=3")
        final = (await reader.end("a"))["final"]
        body = await written(server, final["id"])
        assert given(reader.told["a"]) == frames(body)
        assert final["content"] == asking.content(body)
        assert final["verified"] == "sha256"
        assert final["finishReason"] == "stop"
        assert final["reasoning"]
        assert final["usage"] == final["complete"]["usage"]
        await asking.idle(server)


async def test_tool_calls(reader: js_reader.Reader) -> None:
    async with harness.running(harness.configured()) as server:
        reader.stream("a", server.url, "Look\n/demo rate=10000 tool=2")
        final = (await reader.end("a"))["final"]
        shown = (await harness.ask(server.port, "GET", f"/v1/streams/{final['id']}")).json()
        assert final["toolCalls"] == shown["tool_calls"]
        assert len(final["toolCalls"]) == 2
        assert final["finishReason"] == "tool_calls"


@pytest.mark.parametrize(
    ("longest", "compressed"),
    [(400, False), (3000, False), (500, True), (800, True)],
    ids=["mostly in the head", "anywhere", "compressed, mostly in the head", "compressed"],
)
async def test_over_a_network_that_cuts_the_answer_is_exact(
    reader: js_reader.Reader, longest: int, compressed: bool
) -> None:
    async with harness.running(harness.configured(compression={"enabled": compressed})) as server:
        cuts = 0
        for seed in range(4):
            plan = cutting_proxy.dice(seed, longest, cuts=12)
            async with cutting_proxy.cutting(server.port, plan) as proxy:
                reader.stream(f"{seed}", proxy.url, f"Seed {seed}\n{UNICODE}")
                final = (await reader.end(f"{seed}"))["final"]
                cuts += proxy.cut
            body = await written(server, final["id"])
            assert given(reader.told[f"{seed}"]) == frames(body)
            assert (final["content"], final["verified"]) == (asking.content(body), "sha256")
        assert cuts > 20
        listed = await harness.ask(server.port, "GET", "/v1/streams")
        assert len(listed.json()["streams"]) == 4  # asked again, and never bought twice
        await asking.idle(server)


PULLS = 3


async def test_a_pulled_plug(reader: js_reader.Reader) -> None:
    gates = [asyncio.Event() for _ in range(PULLS)]
    body: list[bytes | asyncio.Event] = [asking.chunk("Kelp ")]
    for number, gate in enumerate(gates):
        body += [gate, asking.chunk(f"and {number} ")]
    async with asking.vendor(replay.Answer(body=(*body, asking.STOP))) as vendor:
        reader.do("client", "a", options={"url": vendor.server.url})
        reader.do("stream", "a", request=wanted("Hello", "vendor/m"), use={})
        pulled: list[str | None] = [None]
        for count, gate in enumerate(gates, 1):
            pulled.append(ids(await reader.pieces("a", count))[-1])
            reader.do("drop", "a")
            await reader.waiting("a", count)
            gate.set()
        end = await reader.end("a")
        told = reader.told["a"]
        assert (end["reconnects"], end["final"]["verified"]) == (PULLS, "sha256")
        assert [after for _, after in asked(told)] == pulled
        assert given(told) == frames(await written(vendor.server, end["final"]["id"]))
        assert len(vendor.provider.requests) == 1


async def impatient(reader: js_reader.Reader, of: str, wait: int) -> None:
    """Ends this wait of its before the time that the server named."""
    await reader.waiting(of, wait)
    reader.do("drop", of)


async def test_a_server_that_restarts_in_mid_answer(
    reader: js_reader.Reader, tmp_path: Path
) -> None:
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    async with cutting_proxy.cutting(None, lambda: cutting_proxy.WHOLE) as proxy:
        async with harness.running(config) as server:
            proxy.target = server.port
            reader.stream("a", proxy.url, "/demo rate=20 tokens=9")
            await reader.pieces("a", 2)
            proxy.target = None
        for tries in (1, 2, 3):
            await impatient(reader, "a", tries)
        async with harness.running(config) as server:
            proxy.target = server.port
            final = (await reader.end("a"))["final"]
            told = reader.told["a"]
            assert given(told) == frames(await written(server, final["id"]))
        assert waits(told)[0] >= 500  # as it was told
        assert sent_away(told) == ["draining"]
        assert kinds(told).count("complete") == 1
        types = [one["event"]["data"].get("type") for one in told if one["kind"] == "event"]
        assert types.count("adopted") == 1
        assert final["verified"] == "sha256"


async def test_a_server_that_forgot_the_answer(reader: js_reader.Reader) -> None:
    config = harness.configured()
    async with cutting_proxy.cutting(None, lambda: cutting_proxy.WHOLE) as proxy:
        async with harness.running(config) as server:
            proxy.target = server.port
            reader.stream("a", proxy.url, "/demo rate=10 tokens=9")
            await reader.pieces("a", 1)
            proxy.target = None
        async with harness.running(config) as server:
            proxy.target = server.port
            await impatient(reader, "a", 1)
            error = (await reader.end("a"))["error"]
        assert (error["status"], error["code"]) == (404, "stream_not_found")


async def test_a_position_that_is_not_there_is_rewound(reader: js_reader.Reader) -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port, "tokens=4", flush_interval_ms=0)
        reader.do("client", "a", options={"url": server.url})
        reader.do("read", "a", id=harness.stream_of(whole), use={"after": "7-7"})
        final = (await reader.end("a"))["final"]
        rewind, *rest = given(reader.told["a"])
        assert (rewind.event, rewind.id) == ("rewind", "")
        assert rest == frames(whole.body)
        assert (final["content"], final["verified"]) == (asking.content(whole.body), "sha256")


async def test_an_answer_that_begins_anew_takes_the_place_of_the_old_one(
    reader: js_reader.Reader,
) -> None:
    broken = replay.Answer(body=(asking.chunk("This is void."),), ending="rst")
    whole = replay.Answer(body=(asking.chunk("Kelp "), asking.chunk("holds."), asking.STOP))
    twice = {"attempts": 2, "delay": 0}
    async with asking.vendor(broken, whole, fallback=twice) as vendor:
        again = {"mode": "restart", "providers": ["vendor/m"]}
        reader.do("client", "a", options={"url": vendor.server.url})
        request = {**wanted("Hello", "vendor/m"), "fallback": again}
        reader.do("stream", "a", request=request, use={})
        final = (await reader.end("a"))["final"]
        assert (final["content"], final["verified"]) == ("Kelp holds.", "sha256")
        rewind = kinds(reader.told["a"]).index("rewind")
        assert "This is void." in str(given(reader.told["a"])[:rewind])
        assert given(reader.told["a"]) == frames(await written(vendor.server, final["id"]))


async def test_it_comes_back_when_it_was_told_to(reader: js_reader.Reader) -> None:
    """Over the limit, and not refused by the status."""
    config = harness.configured(server={"max_connections": 1})
    async with harness.running(config) as server:
        held = await asking.stalled(server.port)
        reader.do("client", "a", options={"url": server.url})
        reader.do("read", "a", id=harness.stream_of(held), use={})
        await reader.waiting("a", 1)
        await held.close()
        await asking.until(lambda: len(server.service.connections) == 0)
        await impatient(reader, "a", 1)
        told = await reader.pieces("a", 2)
        assert sent_away(told) == ["too_many_connections"]
        assert all(delay >= 500 for delay in waits(told))
        reader.do("cancel", "a")
        await reader.end("a")
        await asking.idle(server)


def sent_away(told: list[js_reader.Told]) -> list[str]:
    """The reasons of each `reconnect`."""
    return [one["reason"] for one in told if one["kind"] == "sent away"]


async def test_to_leave_lets_the_answer_go_on_and_to_cancel_ends_it(
    reader: js_reader.Reader,
) -> None:
    async with harness.running(harness.configured()) as server:
        reader.stream("a", server.url, "/demo rate=10000 tokens=3 stall_at=2")
        stream = ids(await reader.pieces("a", 2))[0].partition(":")[0]
        reader.do("leave", "a")
        assert (await reader.end("a"))["error"]["code"] == "left"
        await asking.until(lambda: len(server.service.connections) == 0)
        assert await status(server, stream) == "streaming"
        reader.do("client", "b", options={"url": server.url})
        reader.do("read", "b", id=stream, use={})
        await reader.pieces("b", 2)
        reader.do("cancel", "b")
        assert (await reader.first("b", "cancelled"))["entry"]["id"] == stream
        end = await reader.end("b")
        assert (end["error"]["code"], end["status"]) == ("cancelled", "cancelled")
        assert await status(server, stream) == "cancelled"
        await asking.idle(server)


async def status(server: harness.Running, stream: str) -> str:
    return str((await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).json()["status"])


@pytest.mark.parametrize(
    ("options", "code"), [("error_at=2", "provider_failed"), ("status=401", "provider_auth")]
)
async def test_an_answer_that_failed_is_an_error_of_its_code(
    reader: js_reader.Reader, options: str, code: str
) -> None:
    async with harness.running(harness.configured()) as server:
        reader.stream("a", server.url, f"/demo rate=10000 tokens=5 {options}")
        end = await reader.end("a")
        assert (end["error"]["name"], end["error"]["code"]) == ("HoldfastError", code)
        assert end["status"] == "error"


async def test_what_a_server_refuses_is_told_as_it_is(
    reader: js_reader.Reader, tmp_path: Path
) -> None:
    people = {"acme": node_with_callers.Who("acme")}
    async with node_with_callers.staged(tmp_path, people) as stage:
        url, key = stage.server.url, stage.keys["acme"]
        cases: dict[str, tuple[str | None, str, int, str]] = {
            "no key": (None, "0" * 32, 401, "unauthorized"),
            "a wrong key": ("hfk_wrong", "0" * 32, 401, "unauthorized"),
            "no such stream": (key, "0" * 32, 404, "stream_not_found"),
            "no id at all": (key, "../../x", 404, "stream_not_found"),
        }
        for name, (api_key, id, status, code) in cases.items():
            reader.do("client", name, options={"url": url, "apiKey": api_key})
            reader.do("read", name, id=id, use={})
            error = (await reader.end(name))["error"]
            assert (error["status"], error["code"], error["retryable"]) == (status, code, False)
            assert len(asked(reader.told[name])) == 1
        reader.do("client", "wrong", options={"url": url, "apiKey": key})
        reader.do("stream", "wrong", request=wanted("Hello", "nothing"), use={})
        error = (await reader.end("wrong"))["error"]
        assert (error["status"], error["code"]) == (400, "unknown_model")
        assert "nothing" in error["message"]


async def test_an_answer_that_has_expired_is_told_as_such(reader: js_reader.Reader) -> None:
    async with harness.running(harness.configured()) as server:
        whole = await asking.finished(server.port)
        assert await server.service.log.expire(2**62, 500) == 1
        reader.do("client", "a", options={"url": server.url})
        reader.do("read", "a", id=harness.stream_of(whole), use={})
        error = (await reader.end("a"))["error"]
        assert (error["status"], error["code"]) == (410, "stream_expired")


async def test_a_signed_url_is_read_without_a_key(reader: js_reader.Reader, tmp_path: Path) -> None:
    people = {"acme": node_with_callers.Who("acme")}
    plain = {"enabled": False}  # so that a cut is where it is meant to be
    async with node_with_callers.staged(tmp_path, people, compression=plain) as stage:
        server, key = stage.server, stage.key("acme")
        body = asking.demo("tokens=9", flush_interval_ms=0)
        whole = await (await harness.begin(server.port, body, key.items())).rest()
        stream = harness.stream_of(whole)
        reader.do("client", "a", options={"url": server.url, "apiKey": stage.keys["acme"]})
        reader.do("link", "a", id=stream)
        url = (await reader.first("a", "link"))["url"]
        plan = iter([cutting_proxy.Plan(answered=900), cutting_proxy.WHOLE])
        async with cutting_proxy.cutting(server.port, lambda: next(plan)) as proxy:
            reader.do("client", "b", options={"url": "http://127.0.0.1:1", "apiKey": "k-1"})
            there = url.replace(server.url, proxy.url)
            reader.do("read", "b", id=stream, use={"url": there})
            final = (await reader.end("b"))["final"]
            assert proxy.cut == 1
        assert (final["content"], final["verified"]) == (asking.content(whole.body), "sha256")
        told = reader.told["b"]
        assert [one["headers"].get("authorization") for one in told if one["kind"] == "asked"] == [
            None,
            None,
        ]
        assert asked(told)[1][1] in ids(told)


@pytest.mark.parametrize("there", ["$1#", "$1"], ids=["same length", "shorter"])
async def test_a_changed_text_is_never_given_out_as_whole(
    reader: js_reader.Reader, there: str
) -> None:
    swap = ['("type":"content","delta":")[A-Za-z]', there]
    async with harness.running(harness.configured()) as server:
        reader.do("client", "a", options={"url": server.url}, swap=swap)
        reader.do("stream", "a", request=wanted("Hello\n/demo rate=10000"), use={})
        end = await reader.end("a")
        assert end["error"]["code"] == "verification_failed"
        assert "SHA-256" in end["error"]["message"]


# Without our client


@pytest.mark.parametrize(("cut", "compressed"), [(1500, False), (700, True)])
async def test_the_browsers_own_event_source(
    reader: js_reader.Reader, cut: int, compressed: bool
) -> None:
    """It comes back behind its last event, also after the end, where a 204 stops it."""
    async with harness.running(harness.configured(compression={"enabled": compressed})) as server:
        whole = await asking.finished(server.port, "tokens=30", flush_interval_ms=0)
        stream = harness.stream_of(whole)
        plan = iter([cutting_proxy.Plan(answered=cut), *[cutting_proxy.WHOLE] * 9])
        async with cutting_proxy.cutting(server.port, lambda: next(plan)) as proxy:
            reader.do("source", "a", url=f"{proxy.url}/v1/streams/{stream}/events")
            told = await reader.until("a", lambda told: told[-1:] == [STOPPED])
            assert proxy.cut == 1
        assert given(told) == frames(whole.body)
        answers = [(one["status"], one.get("after")) for one in told if one["kind"] == "answered"]
        assert [status for status, _ in answers] == [200, 200, 204]
        assert answers[0][1] is None
        assert answers[2][1] == asking.last_id(whole.body)


STOPPED = {"of": "a", "kind": "error", "closed": True}
