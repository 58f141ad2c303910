"""How a vendor fails, and what follows: the class, the calls to each, and the end.

Strategy: two vendors over real sockets, the first of which fails in the way of each row, every
time. Its calls are counted where they arrive, and must be those that the stream tells. All kinds
of failures with the times between calls, in simulated time: tests/contract/test_failing.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration import asking, harness
from tests.unit.transport import certificates

from holdfast.testing import provider as replay

SOON = "250ms"
LATE = {"connect": "2s", "first_byte": SOON, "first_content": SOON, "between_contents": SOON}
JSON = (("Content-Type", "application/json"),)


def status(code: int, *headers: tuple[str, str]) -> replay.Answer:
    return replay.Answer(status=code, headers=(*JSON, *headers), body=(b"{}",), framing="length")


def inside(message: bytes) -> replay.Answer:
    """An error behind a status of 200."""
    return replay.Answer(body=(asking.chunk(""), b"data: " + message + b"\n\n"))


ROWS: dict[str, tuple[replay.Answer, str, int]] = {
    "429": (status(429, ("Retry-After", "0")), "provider_rate_limited", 3),
    "429, in an hour": (status(429, ("Retry-After", "3600")), "provider_rate_limited", 1),
    "500": (status(500), "provider_failed", 3),
    "529": (status(529), "provider_overloaded", 3),
    "401": (status(401), "provider_auth", 1),
    "silent": (replay.Answer(body=(), ending="stall"), "provider_timeout", 3),
    "cut at once": (replay.Answer(body=(), ending="rst"), "provider_interrupted", 3),
    "ended at once": (replay.Answer(body=()), "provider_interrupted", 3),
    "nonsense": (replay.Answer(body=(b"data: {bad\n\n",)), "provider_malformed", 3),
    "error as the second event": (
        inside(b'{"error":{"message":"no","code":"overloaded"}}'),
        "provider_overloaded",
        3,
    ),
    "error inside a 200": (
        replay.Answer(headers=JSON, body=(b'{"error":{"code":500}}',), framing="length"),
        "provider_failed",
        3,
    ),
}

WHOLE = replay.Answer(body=(asking.chunk("The second one says so."), asking.STOP))


async def follow(url: str, second: replay.ReplayServer, **tables: Any) -> harness.Response:
    """One answer of a route whose first vendor is at `url`."""
    rows = {
        name: {"kind": "openai_chat", "base_url": f"{where}/v1", "api_key": "k"}
        for name, where in (("a", url), ("b", second.url))
    }
    config = harness.configured(
        providers=rows,
        routes={"both": {"targets": ["a/m", "b/m"]}},
        deadlines=LATE,
        server={"heartbeat_interval": SOON},  # four times as often deadlines are looked at
        fallback={"attempts": 3, "delay": "5ms", **tables},
    )
    async with harness.running(config) as server:
        whole = await (await harness.begin(server.port, harness.wanted("both"))).rest()
        assert whole.clean
        return whole


def attempts(whole: harness.Response) -> list[tuple[str, str]]:
    """Who failed, and with which code."""
    said = [block.data for block in harness.said(whole.body) if block.event == "metadata"]
    return [(one["provider"], one["error"]) for one in said if "error" in one]


@pytest.mark.case("1.6")
@pytest.mark.case("2.6")
@pytest.mark.parametrize(("answer", "code", "calls"), ROWS.values(), ids=ROWS)
async def test_what_fails_before_its_first_word(
    answer: replay.Answer, code: str, calls: int
) -> None:
    async with replay.ReplayServer([answer]) as first, replay.ReplayServer([WHOLE]) as second:
        whole = await follow(first.url, second)
        found = attempts(whole)
        assert found == [("a", code)] * calls
        assert (len(first.requests), len(second.requests)) == (len(found), 1)
    assert asking.content(whole.body) == "The second one says so."
    assert harness.said(whole.body)[-1].data["attempts"] == len(found) + 1


NOWHERE: dict[str, tuple[Callable[[int], str], str]] = {
    "nobody listens": (lambda port: "http://127.0.0.1:1", "provider_unreachable"),
    "no such host": (lambda port: "http://nobody.invalid", "provider_unreachable"),
    "no word of TLS": (lambda port: f"https://127.0.0.1:{port}", "provider_timeout"),
}


@pytest.mark.parametrize(("url", "code"), NOWHERE.values(), ids=NOWHERE)
async def test_who_cannot_be_reached(url: Callable[[int], str], code: str) -> None:
    async with replay.ReplayServer([WHOLE]) as second:
        whole = await follow(url(second.port), second)
        assert attempts(whole) == [("a", code)] * 3
    assert asking.content(whole.body) == "The second one says so."


async def test_a_certificate_of_nobody_known_is_a_failure_of_the_connection(
    tmp_path: Path,
) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("somebody trusts it")

    tls = certificates.Authority(tmp_path).server("127.0.0.1")
    first = await asyncio.start_server(never, "127.0.0.1", 0, ssl=tls)
    async with first, replay.ReplayServer([WHOLE]) as second:
        port = first.sockets[0].getsockname()[1]
        whole = await follow(f"https://127.0.0.1:{port}", second)
        assert attempts(whole) == [("a", "provider_unreachable")] * 3
    assert asking.content(whole.body) == "The second one says so."


async def test_what_was_refused_goes_to_nobody_else() -> None:
    async with (
        replay.ReplayServer([status(400)]) as first,
        replay.ReplayServer([WHOLE]) as second,
    ):
        whole = await follow(first.url, second)
        assert harness.said(whole.body)[-1].data["code"] == "provider_rejected"
        assert (len(first.requests), len(second.requests)) == (1, 0)


@pytest.mark.parametrize("ending", ["stall", "rst", "fin"])
async def test_what_fails_in_mid_answer_is_asked_to_go_on(ending: Any) -> None:
    cut = replay.Answer(body=(asking.chunk("The first one says: "),), ending=ending)
    async with replay.ReplayServer([cut]) as first, replay.ReplayServer([WHOLE]) as second:
        whole = await follow(first.url, second, attempts=1)
        code = "provider_timeout" if ending == "stall" else "provider_interrupted"
        assert attempts(whole) == [("a", code)]
        assert (len(first.requests), len(second.requests)) == (1, 1)
    assert asking.content(whole.body) == "The first one says: The second one says so."
    assert harness.said(whole.body)[-1].data["exact"] is False
