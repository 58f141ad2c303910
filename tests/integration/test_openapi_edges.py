"""What the server takes of each parameter is what `/openapi.json` says, at the edges too.

Strategy: values just within and just beyond each schema are sent as they are, without a library
that would mend them. The schema's verdict and the server's have to be the same: 400 exactly where
the schema refuses. A position of another stream is the one thing that a schema cannot say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib import parse

import jsonschema_rs
import pytest
import pytest_asyncio
from tests.integration import asking, harness, schemathesis_run

from holdfast.eventlog import memory
from holdfast.http.openapi import parameters, table

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "0123456789ABCDEFGHIJKLMNOPabcdef"
LARGEST = 2**63 - 1

PLACES = [
    *(
        "",
        "0-0",
        "1-1",
        f"{LARGEST}-{LARGEST}",
        "00000000000000000000-1",
        "000000000000000000000-1",
    ),
    *("1", "1-", "-1", "1-1-1", "1_1", " 1-1", "1-1 ", "a-1", "1--1", "+1-1", "1-1.0", "0x1-1"),
    *(f"{STREAM}:1-1", f"{STREAM[:26]}:1-1", f"{STREAM[:27]}:1-1", f"{STREAM}1:1-1", ":1-1"),
    *(f"{STREAM[:25]}:1-1", f"{STREAM[:25]}-:1-1", f"{STREAM}:", STREAM, f"{STREAM}::1-1"),
]
WHOLE = [
    *("0", "1", "200", "201", "007", "9" * 16, "9" * 17, "", "-1", "+1", "1.0", "1e3", " 1", "0x1"),
    *("1_0", "x", "null", "\u0661", "\u00b2"),
]
LABELS = ["a", "A9._:@/+=-", "x" * 128, "x" * 129, "", "a b", "a,b", "a;b", "\u00e4", "a\tb", "~"]
VALUES: dict[str, list[str]] = {
    "after": PLACES,
    "Last-Event-ID": PLACES,
    "include": ["events", "", "Events", "event", "events,"],
    "X-Request-Id": LABELS,
    "X-Client-Id": LABELS,
    "Idempotency-Key": ["k", "~!", "k" * 255, "k" * 256, "", "a b", "\u00e4", "a\tb"],
    "status": ["pending", "streaming", "completed", "error", "cancelled", "", "Error", "done"],
    "client_id": ["", "x", "\u00e4\x00", "x" * 1000],
    "session_id": ["", "x", "\u00e4\x00", "x" * 1000],
    "from": WHOLE,
    "to": WHOLE,
    "start": WHOLE,
    "end": WHOLE,
    "step": ["60", "300", "900", "3600", "21600", "86400", "", "0", "61", "060", "60.0", "604800"],
    "limit": WHOLE,
    "counts": ["true", "false", "", "True", "0", "no"],
    "compression": ["off", "on", "", "OFF", "off,off", "gzip"],
    "before": [
        *(f"1-{STREAM}", f"1-{STREAM[:26]}", f"1-{STREAM[:25]}", f"1-{STREAM}1", f"-{STREAM}"),
        *(f"{'9' * 16}-{STREAM}", f"{'9' * 17}-{STREAM}", STREAM, "1-", "", f"1-{STREAM[:31]}-"),
    ],
}
"""By parameter. Those of a signed URL have no shape of their own, and of an id in a path another
one is as unknown as one of another shape."""

ALONE = {
    ("/v1/streams/{stream_id}", "after"): {"include": "events"},
    ("/v1/metrics", "step"): {"start": "9" * 15},
}
"""What has to be there too, so that a parameter is looked at."""

FREE = ("client_id", "session_id")
"""Parameters that take any text."""


CASES = [
    (method, path, parameter)
    for (method, path), call in table.CALLS.items()
    for parameter in call.parameters
    if parameter.name in VALUES
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[schemathesis_run.Node]:
    async with schemathesis_run.serving(memory.MemoryLog()) as found:
        yield found


def takes(parameter: parameters.Parameter, value: str) -> bool:
    return jsonschema_rs.Draft202012Validator(dict(parameter.schema)).is_valid(value)


async def test_each_parameter_has_values_that_are_taken_and_some_that_are_not() -> None:
    named = {one.name for call in table.CALLS.values() for one in call.parameters}
    signed = {one.name for one in parameters.SIGNED}
    assert named - set(VALUES) == {"stream_id", "connection_id", *signed}
    for method, path, parameter in CASES:
        verdicts = {takes(parameter, value) for value in VALUES[parameter.name]}
        expected = {True} if parameter.name in FREE else {True, False}
        assert verdicts == expected, (method, path, parameter.name)


@pytest.mark.parametrize(
    ("method", "path", "parameter"),
    CASES,
    ids=[f"{method} {path} {parameter.name}" for method, path, parameter in CASES],
)
async def test_the_schema_and_the_server_agree(
    node: schemathesis_run.Node, method: str, path: str, parameter: parameters.Parameter
) -> None:
    port, key = node.server.port, schemathesis_run.bearer(node.key)
    body = asking.demo("tokens=1")
    made = await harness.ask(port, "POST", "/v1/streams", key, body)
    target = path.replace("{stream_id}", made.json()["id"])
    for value in VALUES[parameter.name]:
        query, headers = {}, {}
        if parameter.place == "query":
            query = {parameter.name: value, **ALONE.get((path, parameter.name), {})}
        elif value == value.strip():  # else it is not what arrives
            headers = {parameter.name: value}
        url = f"{target}?{parse.urlencode(query)}"
        answer = await asking.answered(port, method, url, key | headers, body)
        refused = answer.status == 400 and answer.json()["code"] != "foreign_position"
        assert answer.status < 500
        sent = bool(query or headers)
        assert (value, refused) == (value, sent and not takes(parameter, value))
