"""PROTOCOL 9, errors: their shape, and their codes.

Strategy: the tables are read from PROTOCOL.md and held against the tree of errors, both ways.
The shape is looked at in one answer of each kind; which input gets which code is the matter of
`test_bad_input`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration import asking, conftest, failing_log, harness

from holdfast import app, errors, request
from holdfast.http import problems
from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROTOCOL = Path(__file__).resolve().parents[2] / "PROTOCOL.md"
INTERNAL = "internal"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


def section(number: str) -> str:
    """The text of a numbered section."""
    text = PROTOCOL.read_text(encoding="utf-8")
    start = text.index(f"\n{number} ")
    return re.split(r"\n(?=\d+\.\d+ |## )", text[start + 1 :])[0]


def tree(base: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    for one in base.__subclasses__():
        yield one
        yield from tree(one)


def table() -> dict[str, int]:
    """Code to status, of 9.2."""
    rows = re.findall(r"^\| (`.*?`) \| (\d{3}) \|", section("9.2"), re.MULTILINE)
    return {code: int(status) for names, status in rows for code in re.findall(r"`(\w+)`", names)}


def check_problem(answer: harness.Response, status: int, code: str) -> str:
    """Gives `detail`."""
    problem = answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    more = {"message"} if code == "not_found" else set[str]()
    assert set(problem) == {"type", "title", "status", "detail", "code", *more}
    assert problem["status"] == status
    assert problem["type"] == f"urn:holdfast:error:{code}"
    assert problem["title"]
    assert answer.clean
    return str(problem["detail"])


# 9.1


async def test_9_1_an_error_is_problem_details(server: harness.Running) -> None:
    ask, port = harness.ask, server.port
    check_problem(await ask(port, "POST", "/v1/streams", None, b"{"), 400, "malformed_body")
    check_problem(await ask(port, "POST", "/v1/streams", None, b"{}"), 400, "invalid_field")
    check_problem(await ask(port, "GET", "/v1/streams/x"), 404, "stream_not_found")
    check_problem(await ask(port, "GET", "/v1/connections/x"), 404, "connection_not_found")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/streams/", "/v2/streams", "/favicon.ico", "/%00"]
)
async def test_9_1_an_unknown_path_is_a_problem_too(server: harness.Running, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        check_problem(await harness.ask(server.port, method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/streams", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/connections", {"GET", "HEAD"}),
        ("GET", f"/v1/streams/{'a' * 26}/cancel", {"POST"}),
        ("PUT", f"/v1/streams/{'a' * 26}", {"GET", "HEAD", "DELETE"}),
    ],
)
async def test_9_1_a_wrong_method_is_told_the_right_ones(
    server: harness.Running, method: str, path: str, allowed: set[str]
) -> None:
    answer = await harness.ask(server.port, method, path)
    check_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_9_1_a_known_time_is_told() -> None:
    async with harness.running(harness.configured()) as server:
        await server.service.drain(0)
        answer = await harness.ask(server.port, "GET", "/readyz")
        check_problem(answer, 503, "draining")
        assert int(answer.headers["retry-after"]) in range(1, 1 + problems.SPREAD)


async def test_9_1_a_fraction_of_a_second_is_rounded_up() -> None:
    answer = problems.response(errors.RequestLimit(retry_after=2.1))
    assert answer.headers["retry-after"] == "3"
    assert "retry-after" not in problems.response(errors.MissingKey()).headers


# 9.2


async def test_9_2_the_codes_of_the_table_are_those_of_the_tree() -> None:
    known: dict[str, int] = {}
    bases = (errors.RequestError, errors.AccessError, errors.CapacityError, errors.QuotaError)
    for base in bases:
        known |= {error.code: error.status for error in tree(base)}
    alone = (errors.MissingKey, errors.NotStarted, errors.LogUnavailable, errors.LogCorrupt)
    more = (errors.KeyMissing, errors.UnknownPosition)
    known |= {error.code: error.status for error in (*alone, *more)}
    said = table()
    for code in ("not_found", "method_not_allowed", INTERNAL):  # none of the tree's
        known[code] = said[code]
    assert said == known


async def test_9_2_a_bug_tells_its_caller_nothing(
    logged: conftest.Logged, caplog: pytest.LogCaptureFixture
) -> None:
    async def prepare(wanted: request.Request) -> request.Request:
        raise KeyError("a secret of the operator's")

    node = app.asgi(harness.configured(), prepare=prepare)
    async with harness.serving(node) as server:
        for headers in ({}, asking.SSE):
            answer = await harness.ask(
                server.port, "POST", "/v1/streams", headers, asking.demo("tokens=1")
            )
            assert "secret" not in check_problem(answer, 500, INTERNAL)
        assert (await harness.ask(server.port, "GET", "/healthz")).status == 200
        await asking.idle(server)
    told = [entry for entry in logged if entry["event"] == "request_failed"]
    assert len(told) == 2
    asking.expected(logged, "request_failed")


@pytest.mark.parametrize("failure", [errors.LogCorrupt, errors.LogUnavailable])
async def test_9_2_what_is_wrong_with_the_log_is_told_to_the_operator_alone(
    failure: type[errors.LogError], logged: conftest.Logged
) -> None:
    log = failing_log.FailingLog()
    async with harness.running_on(log, harness.configured(), 1.0) as server:
        whole = await asking.finished(server.port)
        log.reading = failure("/srv/holdfast.db: table record, row 7")
        target = f"/v1/streams/{harness.stream_of(whole)}"
        answer = await harness.ask(server.port, "GET", target)
        assert "/srv" not in check_problem(answer, 503, failure.code)
        assert ("retry-after" in answer.headers) == failure.retryable
        if not failure.retryable:
            asking.expected(logged, "stream_corrupt")
        log.reading = None
        assert (await harness.ask(server.port, "GET", target)).status == 200
    told = [entry["error"] for entry in logged if entry["event"] == "log_failed"]
    assert told == ["/srv/holdfast.db: table record, row 7"]


# 9.3


async def test_9_3_the_codes_of_the_error_event_are_those_of_the_tree() -> None:
    known = {error.code for error in tree(errors.ProviderError)}
    known |= {INTERNAL, *(error.code for error in tree(errors.StreamFailure))}
    known |= {errors.TokenLimit.code, errors.CostLimit.code}
    # What keeps a stream that was taken over from being read, or anybody from being asked.
    known |= {errors.LogCorrupt.code, errors.KeyMissing.code}
    known |= {errors.MissingKey.code, errors.InvalidField.code}
    assert set(re.findall(r"`(\w+)`", section("9.3").replace("`error`", ""))) == known


# 9.4


async def test_9_4_what_failed_is_listed_with_its_streams() -> None:
    """Each failure once: two calls, and the stream that they were made for; a cancel is none."""
    prompt = "SECRET of the prompt"
    refusal = b'{"error": {"message": "overloaded by %b"}}' % prompt.encode()
    busy = replay.Answer(
        status=503, body=(refusal,), headers=(("Content-Type", "application/json"),)
    )
    async with asking.vendor(busy, busy, fallback={"attempts": 2, "delay": "1ms"}) as on:
        port = on.server.port
        body = harness.wanted("vendor/gpt", messages=[{"role": "user", "content": prompt}])
        failed = await (await harness.begin(port, body)).rest()
        assert prompt in harness.said(failed.body)[-1].data["message"]  # for who asked
        await asking.end(on.server, await asking.stalled(port))
        wrong = await (await harness.begin(port, asking.demo("error_at=1"))).rest()
        await asking.idle(on.server)
        answer = await harness.ask(port, "GET", "/v1/errors")
    listed = answer.json()
    assert listed["nodes"] == [{"id": "this", "answered": True}]
    found = {(one["code"], one["provider"]): one for one in listed["errors"]}
    assert {kind: one["count"] for kind, one in found.items()} == {
        ("provider_failed", "demo"): 2,
        ("provider_failed", None): 1,
        ("provider_overloaded", "vendor"): 2,
        ("provider_overloaded", None): 1,
    }
    calls = found["provider_overloaded", "vendor"]
    assert [one["stream_id"] for one in calls["examples"]] == 2 * [harness.stream_of(failed)]
    assert {one["message"] for one in calls["examples"]} == {"The provider is overloaded."}
    assert calls["first_at"] <= calls["last_at"] == calls["examples"][0]["at"]
    [ended] = found["provider_failed", None]["examples"]
    assert ended["stream_id"] == harness.stream_of(wrong)
    latest = [one["last_at"] for one in listed["errors"]]
    assert latest == sorted(latest, reverse=True)
    assert prompt.encode() not in answer.body
