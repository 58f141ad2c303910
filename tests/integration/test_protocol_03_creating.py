"""PROTOCOL 3, creating a stream: fields, answers, ids, idempotency, resuming by POST.

Strategy: what a field does is read from the stream that comes of it. That a provider is called
once is asked of the provider.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.integration import asking, harness

from holdfast.testing import provider as replay

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALLOWED = "AZaz09._:@/+=-"
"""What an id of the caller's is made of, by PROTOCOL 3.3."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured()) as running:
        yield running
        await asking.idle(running)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave for thousands of sockets; the default of many systems is 1024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def post(
    server: harness.Running, body: bytes, headers: harness.Headers | None = None
) -> harness.Response:
    return await harness.ask(server.port, "POST", "/v1/streams", headers, body)


# 3.1


@pytest.mark.parametrize(
    ("model", "provider", "named"),
    [
        ("demo", None, ("demo", "demo")),
        ("demo-fast", None, ("demo", "demo-fast")),
        ("demo/anything", None, ("demo", "anything")),
        ("anything/at/all", "demo", ("demo", "anything/at/all")),
    ],
)
async def test_3_1_the_model_and_the_provider(
    server: harness.Running, model: str, provider: str | None, named: tuple[str, str]
) -> None:
    messages = [{"role": "user", "content": "/demo tokens=1"}]
    fields = {"provider": provider} if provider else {}
    body = harness.wanted(model, messages=messages, **fields)
    reader = await harness.begin(server.port, body)
    start = harness.said((await reader.rest()).body)[0].data
    assert (start["provider"], start["model"]) == named


async def test_3_1_the_context_s_system_becomes_the_first_message() -> None:
    async with asking.vendor(replay.Answer(body=(asking.STOP,))) as on:
        body = harness.wanted("vendor/m", context={"system": "Be brief."})
        await (await harness.begin(on.server.port, body)).rest()
        asked = on.provider.requests[0].json()["messages"]
    assert [message["role"] for message in asked] == ["system", "user"]
    assert asked[0]["content"] == "Be brief."


async def test_3_1_a_route_leads_to_its_first_target_before_the_patterns() -> None:
    config = harness.configured(
        routes={"demo-smart": {"targets": ["demo/anything", "demo/*"]}},
        providers={"demo": {"kind": "demo", "models": ["demo-*"]}},
    )
    messages = [{"role": "user", "content": "/demo tokens=1"}]
    async with harness.running(config) as server:
        for provider, named in (({}, "anything"), ({"provider": "demo"}, "demo-smart")):
            body = harness.wanted("demo-smart", messages=messages, **provider)
            reader = await harness.begin(server.port, body)
            start = harness.said((await reader.rest()).body)[0].data
            assert (start["provider"], start["model"]) == ("demo", named)


@pytest.mark.parametrize(
    "fallback",
    [
        None,
        {},
        {"mode": "continue", "otherwise": "error", "providers": ["demo/demo"] * 8},
        {"mode": "restart", "otherwise": "restart", "providers": []},
        {"mode": "none"},
    ],
)
async def test_3_1_what_follows_a_failure_may_be_said(
    server: harness.Running, fallback: object
) -> None:
    assert (await post(server, asking.demo("tokens=1", fallback=fallback))).status == 201


@pytest.mark.parametrize(
    ("fallback", "code", "named"),
    [
        ({"mode": "never"}, "invalid_field", "$.fallback.mode"),
        ({"otherwise": "none"}, "invalid_field", "$.fallback.otherwise"),
        ({"providers": ["demo/demo"] * 9}, "invalid_field", "$.fallback.providers"),
        ({"providers": ["demo"]}, "invalid_field", "`fallback.providers`: 'demo'"),
        ({"providers": ["vendor/m"]}, "unknown_provider", "'vendor'; there are demo"),
        ({"enabled": True}, "invalid_field", "`enabled`"),
    ],
)
async def test_3_1_a_fallback_that_cannot_be_is_refused(
    server: harness.Running, fallback: object, code: str, named: str
) -> None:
    answer = await post(server, asking.demo("tokens=1", fallback=fallback))
    assert (answer.status, answer.json()["code"]) == (400, code)
    assert named in answer.json()["detail"]
    await asking.idle(server)


async def test_3_1_a_context_is_enough(server: harness.Running) -> None:
    body = harness.wanted("demo", messages=[], context={"system": "/demo tokens=1"})
    assert (await post(server, body)).status == 201


async def test_3_1_what_a_model_takes_reaches_the_provider_and_labels_do_not() -> None:
    given = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "stop": ["END"],
    }
    labels = {"purpose": "p", "priority": "high", "session_id": "s", "user_id": "u"}
    async with asking.vendor(replay.Answer(body=(asking.STOP,))) as on:
        ours = {"metadata": labels, "buffer_size": 99, "fallback": {"mode": "none"}}
        body = harness.wanted("vendor/m", n=2, **ours, **given)
        await (await harness.begin(on.server.port, body)).rest()
        asked = on.provider.requests[0].json()
    assert asked["n"] == 2
    assert asked["max_completion_tokens"] == given.pop("max_tokens")
    assert given.items() <= asked.items()
    assert not {"metadata", "buffer_size", "flush_interval_ms", "fallback"} & set(asked)


@pytest.mark.parametrize("choice", ["any", "required", {"type": "function"}])
async def test_3_1_a_choice_of_tools_that_makes_no_sense_is_refused(
    server: harness.Running, choice: object
) -> None:
    answer = await post(server, asking.demo("tokens=1", tool_choice=choice))
    assert (answer.status, answer.json()["code"]) == (400, "invalid_field")
    assert answer.json()["detail"].startswith("tool_choice")


@pytest.mark.parametrize("stop", ["END", ["END"]])
async def test_3_1_stop_is_a_text_or_a_list(server: harness.Running, stop: object) -> None:
    assert (await post(server, asking.demo("tokens=1", stop=stop))).status == 201


async def chunks(server: harness.Running, **fields: object) -> list[str]:
    """The pieces of content of an answer that the provider gives at once."""
    whole = await asking.finished(server.port, "tokens=50 rate=100000", **fields)
    return [event.data["delta"] for event in harness.said(whole.body) if event.event == "chunk"]


async def test_3_1_no_flush_interval_never_gathers(server: harness.Running) -> None:
    assert len(await chunks(server, flush_interval_ms=0)) == 50


async def test_3_1_a_flush_interval_gathers(server: harness.Running) -> None:
    assert len(await chunks(server, flush_interval_ms=500)) == 1


async def test_3_1_what_gathers_is_at_most_the_buffer_size(server: harness.Running) -> None:
    found = await chunks(server, flush_interval_ms=500, buffer_size=20)
    assert 5 < len(found) < 50
    assert max(len(piece.encode()) for piece in found) <= 20


async def test_3_1_a_full_buffer_does_not_wait_for_the_interval(server: harness.Running) -> None:
    """With a minute of gathering; the answer stalls, so that its end flushes nothing."""
    body = asking.demo("tokens=100 stall_at=99", flush_interval_ms=60_000, buffer_size=50)
    reader = await harness.begin(server.port, body)
    await reader.until(lambda reader: len(reader.blocks) > 3)
    await asking.end(server, reader)


# 3.2


async def test_3_2_without_sse_the_answer_is_201_with_three_fields(
    server: harness.Running,
) -> None:
    answer = await post(server, asking.demo("tokens=2"))
    made = answer.json()
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert set(made) == {"id", "url", "events_url"}
    assert made["url"] == answer.headers["location"] == f"/v1/streams/{made['id']}"
    assert answer.headers["x-stream-id"] == made["id"]
    read = await harness.ask(server.port, "GET", made["events_url"])
    assert read.clean
    assert asking.kinds(read.body)[-1] == "complete"


async def test_3_2_with_sse_the_answer_is_the_events(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=2")
    stream = harness.stream_of(whole)
    assert whole.headers["location"] == f"/v1/streams/{stream}"
    assert harness.said(whole.body)[0].data["stream_id"] == stream
    connection = whole.headers["x-connection-id"]
    shown = await harness.ask(server.port, "GET", f"/v1/connections/{connection}")
    assert shown.json()["stream_id"] == stream


async def test_3_2_it_is_written_to_its_end_though_nobody_reads_it(
    server: harness.Running,
) -> None:
    made = (await post(server, asking.demo("tokens=5"))).json()
    await asking.idle(server)
    assert (await harness.ask(server.port, "GET", made["url"])).json()["status"] == "completed"


async def test_3_2_it_is_durable_before_the_first_byte() -> None:
    """The provider says nothing at all, and yet the head and `start` are there."""
    async with asking.vendor(replay.Answer(body=(asyncio.Event(),))) as on:
        reader = await harness.begin(on.server.port, harness.wanted("vendor/m"))
        await reader.until(lambda reader: asking.kinds(bytes(reader.body)) == ["start"])
        await asking.end(on.server, reader)


# 3.3


@pytest.mark.parametrize("value", ["x", "x" * 128, ALLOWED])
async def test_3_3_the_caller_s_ids_are_kept_and_shown(server: harness.Running, value: str) -> None:
    headers = {"X-Request-Id": value, "X-Client-Id": f"{value[:-1]}c"}
    made = (await post(server, asking.demo("tokens=1"), headers)).json()
    shown = (await harness.ask(server.port, "GET", made["url"])).json()
    assert shown["request_id"] == value
    listed = await harness.ask(server.port, "GET", f"/v1/streams?client_id={value[:-1]}c")
    if value != ALLOWED:  # a query would have to be escaped
        assert listed.json()["streams"][0]["request_id"] == value
    read = await harness.ask(server.port, "GET", made["events_url"])
    assert harness.said(read.body)[0].data["request_id"] == value


@pytest.mark.parametrize("header", ["X-Request-Id", "X-Client-Id"])
@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "ä", 'a"b', "a;b", "<script>"])
async def test_3_3_other_ids_are_refused(server: harness.Running, header: str, value: str) -> None:
    answer = await post(server, asking.demo("tokens=1"), {header: value})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_field")
    assert header.lower() in answer.json()["detail"]
    await asking.idle(server)


async def test_3_3_without_an_id_each_request_gets_its_own(server: harness.Running) -> None:
    ids = set()
    for _ in range(3):
        whole = await asking.finished(server.port, "tokens=1")
        ids.add(harness.said(whole.body)[0].data["request_id"])
    assert len(ids) == 3


# 3.4


async def test_3_4_a_thousand_at_once_make_one_stream_and_one_call(many_files: None) -> None:
    gate = asyncio.Event()
    answer = replay.Answer(body=(asking.chunk("Once."), gate, asking.STOP))
    async with asking.vendor(answer) as on:
        body = harness.wanted("vendor/m")
        key = {"Idempotency-Key": "the-same"}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(post(on.server, body, key)) for _ in range(1000)]
        gate.set()
        answers = [task.result() for task in tasks]
        assert sorted({answer.status for answer in answers}) == [200, 201]
        assert [answer.status for answer in answers].count(201) == 1
        assert len({answer.json()["id"] for answer in answers}) == 1
        await asking.idle(on.server)
        assert len(on.provider.requests) == 1
        listed = await harness.ask(on.server.port, "GET", "/v1/streams")
        assert len(listed.json()["streams"]) == 1


async def test_3_4_the_same_key_reads_the_same_events(server: harness.Running) -> None:
    key = [("Idempotency-Key", "k" * 255)]
    bodies = set()
    for _ in range(3):
        reader = await harness.begin(server.port, asking.demo("tokens=4"), key)
        bodies.add((await reader.rest()).body)
    assert len(bodies) == 1


async def test_3_4_the_same_key_leads_there_after_a_restart(tmp_path: object) -> None:
    config = harness.configured(f"sqlite:///{tmp_path}/log.db")
    made = []
    for _ in range(2):
        async with harness.running(config) as server:
            answer = await post(server, asking.demo("tokens=4"), {"Idempotency-Key": "k"})
            made.append((answer.status, answer.json()["id"]))
            await asking.idle(server)
    assert made == [(201, made[0][1]), (200, made[0][1])]


async def test_3_4_another_body_is_422(server: harness.Running) -> None:
    key = {"Idempotency-Key": "used"}
    assert (await post(server, asking.demo("tokens=1"), key)).status == 201
    answer = await post(server, asking.demo("tokens=2"), key)
    assert (answer.status, answer.json()["code"]) == (422, "idempotency_mismatch")
    again = await post(server, asking.demo("tokens=1"), key)
    assert again.status == 200


async def test_3_4_another_key_makes_another_stream(server: harness.Running) -> None:
    made = [
        (await post(server, asking.demo("tokens=1"), {"Idempotency-Key": key})).json()["id"]
        for key in ("one", "One", "two")
    ]
    assert len(set(made)) == 3


@pytest.mark.parametrize("key", ["", "k" * 256, "a b", "ä"])
async def test_3_4_other_keys_are_refused(server: harness.Running, key: str) -> None:
    answer = await post(server, asking.demo("tokens=1"), {"Idempotency-Key": key})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_field")


# 3.5


async def test_3_5_a_post_with_an_id_resumes_and_never_creates(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "tokens=4", flush_interval_ms=0)
    before = await harness.ask(server.port, "GET", "/v1/streams?limit=200")
    for index, block in enumerate(whole.blocks[:-1]):
        headers = {**asking.SSE, "Last-Event-ID": harness.position(block) or ""}
        rest = await post(server, b"what stands here is not read {", headers)
        assert (rest.status, rest.clean) == (200, True)
        assert rest.blocks == whole.blocks[index + 1 :]
        assert rest.headers["x-stream-id"] == harness.stream_of(whole)
    after = await harness.ask(server.port, "GET", "/v1/streams?limit=200")
    assert after.json() == before.json()


async def test_3_5_after_the_end_it_is_200_empty_and_clean(server: harness.Running) -> None:
    whole = await asking.finished(server.port)
    answer = await post(server, b"", {"Last-Event-ID": asking.last_id(whole.body)})
    assert (answer.status, answer.body, answer.clean) == (200, b"", True)


@pytest.mark.case("2.33")
@pytest.mark.parametrize(
    ("position", "status", "code"),
    [
        ("1-1", 400, "malformed_position"),
        ("what", 400, "malformed_position"),
        (f"{'x' * 26}:1-1", 404, "stream_not_found"),
    ],
)
async def test_3_5_an_id_that_names_no_stream_creates_nothing(
    server: harness.Running, position: str, status: int, code: str
) -> None:
    answer = await post(server, asking.demo("tokens=1"), {"Last-Event-ID": position})
    assert (answer.status, answer.json()["code"]) == (status, code)
    await asking.idle(server)


# 3.6


async def test_3_6_an_error_of_the_provider_is_an_event(server: harness.Running) -> None:
    whole = await asking.finished(server.port, "status=429")
    assert whole.status == 200
    assert harness.said(whole.body)[-1].data["code"] == "provider_rate_limited"
