"""The access log of a running node: a line a request at its end, and none where it is off."""

from __future__ import annotations

from typing import Any

from tests.integration import asking, conftest, harness

from holdfast.http import calls

QUERY = "?key=what-nobody-may-see"


def lines(logged: conftest.Logged) -> list[dict[str, Any]]:
    return [dict(entry) for entry in logged if entry["event"] == "request_ended"]


async def until(logged: conftest.Logged, count: int) -> dict[str, Any]:
    """The newest line, once there are so many; it comes when the client has its answer."""
    await asking.until(lambda: len(lines(logged)) >= count)
    return lines(logged)[-1]


async def test_each_request_is_a_line_at_its_end(logged: conftest.Logged) -> None:
    config = harness.configured(monitoring={"access_log": True})
    named = {**asking.SSE, "X-Request-Id": "mine"}
    async with harness.running(config) as server:
        reader = await harness.Reader.open(
            server.port, "POST", f"/v1/streams{QUERY}", named, asking.demo("tokens=5")
        )
        whole = await reader.rest()
        told = await until(logged, 1)
        assert (told["method"], told["path"], told["status"]) == ("POST", "/v1/streams", 200)
        assert told["bytes"] == len(whole.body) > 100
        assert told["stream"] == whole.headers["x-stream-id"]
        assert told["connection"] == whole.headers["x-connection-id"]
        assert (told["request_id"], told["client"]) == ("mine", "127.0.0.1")
        made = await harness.ask(server.port, "POST", "/v1/streams", body=asking.demo("tokens=1"))
        told = await until(logged, 2)
        assert (told["status"], told["bytes"]) == (201, len(made.body))
        assert told["stream"] == made.json()["id"]
        shown = await harness.ask(server.port, "GET", f"/v1/streams/{told['stream']}")
        assert told["request_id"] == shown.json()["request_id"]  # which the node has given it
        for count, target in ((4, f"/nowhere{QUERY}"), (5, f"/healthz{QUERY}")):
            await harness.ask(server.port, "GET", target, {"X-Request-Id": "mine"})
            told = await until(logged, count)
            assert (told["path"], told["request_id"]) == (target.partition("?")[0], None)
        stalled = await asking.stalled(server.port)
        assert len(lines(logged)) == 5
        await asking.end(server, stalled)
        await until(logged, 7)
        ended = {told["connection"]: told for told in lines(logged)}
        assert ended[stalled.headers["x-connection-id"]]["bytes"] >= len(stalled.body)
    assert "what-nobody-may-see" not in repr(logged)


async def test_off_nothing_is_logged(logged: conftest.Logged) -> None:
    async with harness.running(harness.configured()) as server:
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
    assert lines(logged) == []


async def test_a_bug_s_line_names_its_request(logged: conftest.Logged, monkeypatch: Any) -> None:
    async def failing(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(calls, "_admitted", failing)
    async with harness.running(harness.configured()) as server:
        named = {"X-Request-Id": "mine"}
        answer = await harness.ask(server.port, "GET", f"/v1/streams{QUERY}", named)
    assert answer.status == 500
    [told] = [entry for entry in logged if entry["event"] == "request_failed"]
    assert (told["method"], told["path"], told["request_id"]) == ("GET", "/v1/streams", "mine")
    asking.expected(logged, "request_failed")
