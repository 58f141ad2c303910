"""Addresses that want to be others, and values that want to be headers or smaller than they are.

Strategy: every odd request goes over a raw socket to a real node, is answered with a refusal or as
what it literally says, and the node serves on. A path that is not spelled like a route's is the
path of no route. What a caller writes into headers, paths and bodies is put back by no answer's
head, and by its body escaped alone. Requests within requests are in `test_smuggling`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, harness, raw_sockets

from holdfast import events

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://app.example"
CLOSE = b"Connection: close\r\n\r\n"
HOST = b"Host: x\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    async with harness.running(harness.configured(server={"cors_origins": (PAGE,)})) as running:
        yield running
        await asking.idle(running)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def serves_on(server: harness.Running) -> AsyncIterator[None]:
    """Whatever was sent in a test."""
    yield
    assert (await harness.ask(server.port, "GET", "/healthz")).status == 200


async def asked(port: int, target: bytes, method: bytes = b"GET", host: bytes = HOST) -> bytes:
    """The raw answer to a target as it is."""
    return await raw_sockets.raw(port, method + b" " + target + b" HTTP/1.1\r\n" + host + CLOSE)


def status(answer: bytes) -> int:
    """Of the one response that an answer is."""
    (found,) = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found)


def code(answer: bytes) -> str | None:
    """The code of our own problem details, where an answer has some."""
    body = answer.partition(b"\r\n\r\n")[2]
    return msgspec.json.decode(body)["code"] if body.startswith(b"{") else None


# Paths

LITERAL = {
    b"/healthz": 200,
    b"/healthz?x=/v1/streams": 200,
    b"/healthz?@host": 200,
    b"http://evil.example/healthz": 200,
    b"https://user@evil.example:1/healthz?x": 200,
    b"http://x/v1/nowhere@host/healthz": 404,
}
NO_ROUTE = [
    *(b"//healthz", b"///healthz", b"/healthz/", b"/./healthz", b"/v1/../healthz", b"/HEALTHZ"),
    *(
        b"/%68ealthz",
        b"/healthz%00",
        b"/healthz%20",
        b"/healthz%0a",
        b"/healthz%3f",
        b"/healthz%2f",
    ),
    *(
        b"/v1/%2e%2e/healthz",
        b"/v1/..%2fhealthz",
        b"/v1/..;/healthz",
        b"/..;/healthz",
        b"/;/healthz",
    ),
    *(
        b"/healthz;x=1",
        b"/healthz\\",
        b"/v1\\streams",
        b"/healthz/..",
        b"/@healthz",
    ),
    *(b"//v1/streams", b"/v1//streams", b"/v1/streams/", b"/v1%2fstreams", b"/v1%2Fstreams"),
    *(
        b"/%76%31/streams",
        b"/v1/streams%2f",
        b"/v1/%73treams",
        b"/%ff",
        b"/%",
        b"/%zz",
    ),
    *(b"http://x//healthz", b"http://x/%68ealthz", b"http://healthz/v1/streams/", b"*"),
]
NO_TARGET = [
    *(b"", b"healthz", b"@host", b"@host/healthz", b"?x", b"\\healthz", b"x:80", b"http:/healthz"),
    *(b"http://", b"http://evil", b"http://@/healthz", b"http://a:b/healthz", b"http://x#/healthz"),
    *(
        b"/heal\x00thz",
        b"/healthz\x00",
        b"/healthz\x7f",
        b"/healthz\tx",
        b"/healthz x",
        b"/\xc3\xa9",
    ),
    *(b"/\xff", b"/healthz#x", b"/healthz?x#y", b"/healthz\r", b"/healthz\rX: y", b"/healthz\n"),
]


@pytest.mark.case("4.5")
@pytest.mark.parametrize(("target", "wanted"), LITERAL.items())
async def test_a_target_is_its_literal_path(
    server: harness.Running, target: bytes, wanted: int
) -> None:
    assert status(await asked(server.port, target)) == wanted


@pytest.mark.case("4.5")
@pytest.mark.parametrize("target", NO_ROUTE)
async def test_a_path_that_is_spelled_otherwise_is_none_of_ours(
    server: harness.Running, target: bytes
) -> None:
    for method in (b"GET", b"POST", b"OPTIONS"):
        answer = await asked(server.port, target, method)
        assert (status(answer), code(answer)) == (404, "not_found")
        assert b"\r\nlocation:" not in answer


@pytest.mark.case("4.5")
@pytest.mark.parametrize("target", NO_TARGET)
async def test_what_is_no_target_is_400(server: harness.Running, target: bytes) -> None:
    assert status(await asked(server.port, target)) == 400


@pytest.mark.case("4.5")
async def test_an_id_in_a_path_is_not_decoded(server: harness.Running) -> None:
    whole = await asking.finished(server.port)
    stream = harness.stream_of(whole)
    assert (await harness.ask(server.port, "GET", f"/v1/streams/{stream}")).status == 200
    first = f"%{ord(stream[0]):02x}"
    for name in (
        first + stream[1:],
        f"{stream}%00",
        f"{stream};x",
        f".%2f{stream}",
        f"{stream}%0a",
    ):
        for below in ("", "/events", "/connections"):
            answer = await harness.ask(server.port, "GET", f"/v1/streams/{name}{below}")
            assert answer.status in (400, 404)
            assert "x-stream-id" not in answer.headers


# Hosts and methods

ODD_HOSTS = [
    *(b"Host: a@b", b"Host: x#@y", b"Host: x/healthz", b"Host: x?y", b"Host: a b", b"Host: a,b"),
    *(b"Host: x\r\nHost: y", b"Host: x\r\nhost: x", b"Host: \xff", b"Host: [::1", b"Host: a:b"),
    *(
        b"Host : x",
        b"Host\t: x",
        b" Host: x",
        b"Host: x\r\n y",
        b"Host: x\x00y",
        b"Host: x\x1b[31m",
    ),
    *(b"Host", b": x", b"Ho st: x", b"Host: x\rX: y", b"Host: x\nX: y"),
]


@pytest.mark.case("4.5")
@pytest.mark.parametrize("host", ODD_HOSTS)
async def test_an_odd_host_is_400_wherever_it_points(server: harness.Running, host: bytes) -> None:
    for target in (b"/healthz", b"/v1/streams", b"/nowhere"):
        assert status(await asked(server.port, target, host=host + b"\r\n")) == 400


@pytest.mark.case("4.5")
@pytest.mark.parametrize("host", [b"", b"Host:\r\n", b"Host: x:80\r\n", b"HOST: [::1]:8080\r\n"])
async def test_a_host_leads_nowhere_else(server: harness.Running, host: bytes) -> None:
    for target, wanted in {b"/healthz": 200, b"/nowhere": 404, b"/v1/streams": 200}.items():
        assert status(await asked(server.port, target, host=host)) == wanted


@pytest.mark.case("4.5")
@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        (b"get", b"/healthz", 400),
        (b"Get", b"/healthz", 400),
        (b"GE T", b"/healthz", 400),
        (b"NONSENSE", b"/healthz", 400),
        (b"TRACE", b"/healthz", 405),
        (b"TRACE", b"/v1/streams", 405),
        (b"DELETE", b"/v1/streams", 405),
        (b"PURGE", b"/v1/streams", 405),
        (b"CONNECT", b"/healthz", 405),
        (b"CONNECT", b"x:443", 400),
        (b"CONNECT", b"/nowhere", 404),
        (b"OPTIONS", b"*", 404),
        (b"PRI", b"*", 400),
    ],
)
async def test_methods(server: harness.Running, method: bytes, target: bytes, wanted: int) -> None:
    answer = await asked(server.port, target, method)
    assert status(answer) == wanted
    assert b"X-Secret" not in answer  # a TRACE that is obeyed says everything again


@pytest.mark.case("4.5")
async def test_an_override_of_the_method_is_no_method(server: harness.Running) -> None:
    over = b"Host: x\r\nX-HTTP-Method-Override: POST\r\nX-Original-URL: /v1/streams\r\n"
    over += b"X-Rewrite-URL: /v1/streams\r\nX-Forwarded-Prefix: /v1\r\nX-Forwarded-Host: a@b\r\n"
    assert status(await asked(server.port, b"/healthz", host=over)) == 200
    assert status(await asked(server.port, b"/nowhere", host=over)) == 404


# Values that want to be headers

CONTROLS = {
    "a carriage return": b"a\rInjected: yes",
    "a line feed": b"a\nInjected: yes",
    "both": b"a\r\n Injected: yes",
    "a NUL": b"a\x00b",
    "an escape": b"a\x1b[31mb",
    "a delete": b"a\x7fb",
}
ODD_VALUES = {
    "a blank": b"a b",
    "nothing": b"",
    "quotes": b'"a"',
    "markup": b"<script>",
    "Latin-1": b"\xff",
    "UTF-8": "é".encode(),
    "a direction": "\u202e".encode(),
    "too much": b"a" * 129,
}
NAMES = [b"X-Request-Id", b"X-Client-Id", b"Idempotency-Key"]


async def post(server: harness.Running, fields: bytes, body: bytes) -> bytes:
    head = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields
    return await raw_sockets.raw(
        server.port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


def check_head(answer: bytes) -> None:
    """No line of an answer's head is somebody else's."""
    head = answer.partition(b"\r\n\r\n")[0]
    assert b"njected" not in head
    for line in head.split(b"\r\n"):
        assert re.fullmatch(rb"[\x20-\x7e]+", line), line


@pytest.mark.case("4.13")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", CONTROLS.values(), ids=CONTROLS)
async def test_a_control_character_in_a_header_is_400(
    server: harness.Running, name: bytes, value: bytes
) -> None:
    answer = await post(server, name + b": " + value + b"\r\n", asking.demo("tokens=1"))
    assert status(answer) == 400
    check_head(answer)
    assert b"njected" not in answer


@pytest.mark.case("4.13")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
async def test_a_header_that_is_stored_has_a_shape(
    server: harness.Running, name: bytes, value: bytes
) -> None:
    answer = await post(server, name + b": " + value + b"\r\n", asking.demo("tokens=1"))
    check_head(answer)
    if name == NAMES[2] and value in (b'"a"', b"<script>", b"a" * 129):
        assert status(answer) == 201  # it is compared, and shown to nobody
    else:
        assert (status(answer), code(answer)) == (400, "invalid_field")
        assert name.decode().lower() in answer.decode("latin-1").lower()
    assert not value or value not in answer


WRITTEN = [
    "a\r\nInjected: yes",
    "a\nInjected: yes",
    "a\rInjected: yes",
    "a\x00b",
    "a\x1b[31mb",
]


@pytest.mark.case("4.13")
@pytest.mark.parametrize("value", WRITTEN)
async def test_a_value_of_a_body_is_shown_escaped(server: harness.Running, value: str) -> None:
    quick = [{"role": "user", "content": "/demo tokens=1 rate=10000"}]
    good = {"model": "demo", "messages": quick}
    sent = [
        {**good, "model": value},
        {**good, "provider": value},
        {**good, "model": f"demo/{value}"},
        {**good, value: 1},
        {**good, "metadata": {"priority": value}},
        {**good, "messages": [{"role": value, "content": "x"}]},
        {**good, "metadata": {"session_id": value}},
        {**good, "metadata": {"user_id": value}},
    ]
    for each in sent:
        for fields in (b"", b"Accept: text/event-stream\r\n"):
            answer = await post(server, fields, msgspec.json.encode(each))
            check_head(answer)
            body = answer.partition(b"\r\n\r\n")[2]
            assert value.encode() not in body
            assert re.search(rb"[\x00\x1b\x7f]", body) is None
            assert b"\nInjected" not in body
            assert status(answer) in (200, 201, 400)


@pytest.mark.case("4.13")
@pytest.mark.parametrize(
    "value", ["%0d%0aInjected:%20yes", "%0aInjected", "%00", "%1b%5b31m", "%ff"]
)
async def test_a_value_of_an_address_is_put_into_no_header(
    server: harness.Running, value: str
) -> None:
    whole = await asking.finished(server.port, "tokens=1")
    stream = harness.stream_of(whole)
    for target in (
        f"/v1/streams/{value}",
        f"/v1/streams/{stream}{value}/events",
        f"/v1/streams/{stream}/events?after={value}",
        f"/v1/streams?before={value}&client_id={value}",
        f"/v1/streams?status={value}",
        f"/v1/connections/{value}",
        f"/{value}",
    ):
        answer = await asked(server.port, target.encode())
        check_head(answer)
        assert re.search(rb"[\x00\x1b\r]", answer.partition(b"\r\n\r\n")[2]) is None


MARK = "zqxmark"


@pytest.mark.case("4.13")
async def test_no_answer_s_head_has_a_word_of_the_caller_s(server: harness.Running) -> None:
    """Where a word can be in a request, each in its own allowed shape."""
    whole = await asking.finished(server.port, "tokens=1")
    stream, other = harness.stream_of(whole), events.new_stream_id()
    headers = {
        **dict.fromkeys(("X-Request-Id", "X-Client-Id", "Idempotency-Key", "User-Agent"), MARK),
        **dict.fromkeys(("Origin", "Referer", "Cookie", "Accept-Language"), MARK),
        **dict.fromkeys(("Access-Control-Request-Method", "X-Original-Host", MARK), MARK),
        "Host": f"{MARK}.localhost",
    }
    meta = {"session_id": MARK, "user_id": MARK}
    good = asking.demo("tokens=1", metadata=meta)
    for method, target, body in (
        ("GET", f"/{MARK}", None),
        ("GET", f"/healthz?{MARK}={MARK}", None),
        ("OPTIONS", f"/v1/streams?{MARK}", None),
        ("DELETE", f"/v1/streams/{MARK}", None),
        ("GET", f"/v1/streams/{MARK}/events", None),
        ("GET", f"/v1/streams/{stream}?after={MARK}", None),
        ("GET", f"/v1/streams/{stream}/events?after={MARK}", None),
        ("GET", f"/v1/streams/{stream}/events", None),
        ("GET", f"/v1/streams/{other}", None),
        ("GET", f"/v1/connections/{MARK}", None),
        ("POST", f"/v1/streams?{MARK}", good),
        ("POST", "/v1/streams", harness.wanted(MARK)),
        ("POST", "/v1/streams", harness.wanted("demo", provider=MARK)),
        ("POST", f"/v1/streams/{stream}/cancel?{MARK}", b""),
    ):
        for fields in (headers, {**headers, "Origin": PAGE}, {**headers, **asking.SSE}):
            answer = await harness.ask(server.port, method, target, fields, body)
            assert MARK not in str(answer.headers), (method, target)
    fields = {**headers, **asking.SSE, "Origin": PAGE, "Idempotency-Key": "k2"}
    answer = await harness.ask(server.port, "POST", "/v1/streams", fields, good)
    assert (answer.status, MARK in str(answer.headers)) == (200, False)


# Packed bodies


@pytest.mark.case("4.15")
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_a_packed_body_is_415(server: harness.Running, coding: str) -> None:
    bomb = gzip.compress(b" " * (16 << 20) + asking.demo("tokens=1"))
    for body in (bomb, gzip.compress(asking.demo("tokens=1")), asking.demo("tokens=1")):
        for fields in ({}, asking.SSE):
            answer = await harness.ask(
                server.port, "POST", "/v1/streams", {**fields, "Content-Encoding": coding}, body
            )
            assert (answer.status, answer.json()["code"]) == (415, "unsupported_encoding")


@pytest.mark.case("4.15")
async def test_a_packed_body_that_does_not_say_so_is_no_json(server: harness.Running) -> None:
    body = gzip.compress(asking.demo("tokens=1"))
    for fields in ({}, {"Content-Encoding": "identity"}):
        answer = await harness.ask(server.port, "POST", "/v1/streams", fields, body)
        assert (answer.status, answer.json()["code"]) == (400, "malformed_body")
    fields = {"Content-Encoding": "Identity"}
    plain = await harness.ask(server.port, "POST", "/v1/streams", fields, asking.demo("tokens=1"))
    assert plain.status == 201
