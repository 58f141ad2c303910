"""A running server against its own `/openapi.json`, by schemathesis.

Strategy: nothing of ours judges. The document is taken as the server gives it, schemathesis makes
requests of it (examples, the edges of every schema, drawn ones, chains in which an answer's ids
are asked for) and holds each answer to it. It blocks, so it runs in a thread while the server
answers in the test's loop. What came back is counted by call and status, so that a test can tell
what was never reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import schemathesis
from schemathesis import engine
from schemathesis.engine import events
from schemathesis.specs.openapi import checks
from tests.integration import asking, harness

from holdfast import app
from holdfast.access import keyring, keys
from holdfast.archive import base as archive_base
from holdfast.eventlog import base

EXAMPLES = 25
"""Requests that are drawn for each call, and chains of them."""

SEED = 7

QUICK = "/demo tokens=4 rate=10000"
"""What the provider is told, so that no answer takes long."""

NOT_BY_SCHEMA = [
    *("POST /v1/streams", "GET /v1/streams/{stream_id}/events", "GET /v1/metrics"),
]
"""Calls that refuse what their schema allows: a model that nobody has, a position that names
another stream than the path does, a step without a period."""

READ_LATE = ["GET /v1/streams/{stream_id}"]
"""Calls that look at a parameter only where another one is there."""

ENDLESS = [f"GET {path}" for path in asking.ENDLESS]
"""Calls that cannot be held to the document whole."""

Schema = schemathesis.BaseSchema
Case = schemathesis.Case[Any]


class Account:
    """What was asked: `seen` counts (call, status), `failures` tells what was not as described."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []

    def note(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.ScenarioFinished):
            for id, interaction in event.recorder.interactions.items():
                if interaction.response is not None:
                    call = event.recorder.cases[id].value.operation.label
                    self.seen[call, interaction.response.status_code] += 1
                for check in event.recorder.checks.get(id, ()):
                    if check.failure_info is not None:
                        failure, sample = check.failure_info.failure, check.failure_info.code_sample
                        self.failures.append(f"{check.name}: {failure.message}\n{sample}")
        elif isinstance(event, events.NonFatalError):
            self.failures.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.EngineFinished):
            assert event.stop_reason == engine.StopReason.COMPLETED


LIMITS = {
    "request_limit": archive_base.Quota(requests_per_minute=1),
    "stream_limit": archive_base.Quota(streams=1),
    "connection_limit": archive_base.Quota(connections=1),
    "token_limit": archive_base.Quota(tokens_per_minute=20),
    "cost_limit": archive_base.Quota(cost_per_day=20),
}
"""By the code of the refusal that a key with such a quota comes to."""


GOOD = ["2xx", "3xx", "401", "403", "404", "409", "410", "429", "5xx"]
"""What a good request may come to: as usual, and 410, as another may have destroyed its stream."""


class Node(msgspec.Struct, frozen=True):
    """A running server, and the keys that it knows: one for everything, one that may only read,
    and one for each of `LIMITS`."""

    server: harness.Running
    key: str
    reading: str
    limited: dict[str, str]


@contextlib.asynccontextmanager
async def serving(log: base.EventLog, **tables: Any) -> AsyncIterator[Node]:
    """A node as it is built for people, on this log, with keys."""
    fatal: list[str] = []
    priced = {"all": {"models": ["*"], "input": 1, "output": 1}}
    config = harness.configured(**tables, prices=priced)
    node = app.asgi(config, log=log, fatal=fatal.append)
    assert node.service.access is not None
    archive = node.service.access.keyring.archive
    key = await _key(archive, scopes=("generate", "read", "admin"))
    reading = await _key(archive, scopes=("read",))
    limited = {code: await _key(archive, quota=quota) for code, quota in LIMITS.items()}
    # Many unknown keys are shown, and each would wait for the next question to the archive.
    pause, keyring.AGAIN_SECONDS = keyring.AGAIN_SECONDS, 0.0
    try:
        async with harness.serving(node) as found:
            yield Node(found, key, reading, limited)
            await asking.idle(found)
    finally:
        keyring.AGAIN_SECONDS = pause
    assert fatal == []


async def _key(archive: archive_base.Archive, **said: Any) -> str:
    token, kept = keys.new(archive.secret, "test", "tenant", now=0, **said)
    await archive.add(kept)
    return token


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def configured(node: Node) -> schemathesis.Config:
    """The same requests in every run, but for the ids, which the server draws."""
    given: dict[str, Any] = {
        "base-url": node.server.url,
        "headers": bearer(node.key),
        "seed": SEED,
        "request-timeout": harness.PATIENCE,
        "max-stream-events": 10_000,
        "continue-on-failure": True,
        "cache": {"enabled": False},
        "output": {"sanitization": {"enabled": False}},
        "generation": {
            "max-examples": EXAMPLES,
            "deterministic": True,
            "database": "none",
        },
        "checks": {
            "enabled": True,
            "positive_data_acceptance": {"expected-statuses": GOOD},
        },
        "dictionaries": {"demo": {"values": ["demo"]}},
        "parameters": {
            "body.model": {"dictionary": "demo", "probability": 0.8},
            "body.provider": {"dictionary": "demo", "probability": 0.8},
        },
        "operations": [
            {
                "include-name": NOT_BY_SCHEMA + READ_LATE,
                "checks": {"positive_data_acceptance": {"enabled": False}},
            },
            {"include-name": ENDLESS, "enabled": False},
        ],
    }
    return schemathesis.Config.from_dict(given)


async def of(node: Node) -> Schema:
    """The server's document, valid as OpenAPI 3.1. Raises what schemathesis does where it is
    not."""
    document = (await harness.ask(node.server.port, "GET", "/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document, config=configured(node))
    schema.validate()
    return schema


async def driven(schema: Schema) -> Account:
    """Asks all that schemathesis has to ask."""
    account = Account()
    schema.hook(map_case)

    def work() -> None:
        for event in engine.from_schema(schema).execute():
            account.note(event)

    await asyncio.to_thread(work)
    return account


def map_case(context: Any, case: Case) -> Case:
    """What makes a request to create a good one, which the document cannot say: where its body is
    good by the schema, the context is one that the server has a use for, whole numbers are written
    as such, and an Idempotency-Key goes with one body. Half of all are read at once, by an
    `Accept`. The same case goes the same way each time."""
    if case.operation.label != "POST /v1/streams":
        return case
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and isinstance(case.body, dict):
        case.body = _good(case.body)
    said = zlib.crc32(repr(case.body).encode())
    if positive and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(said)
    if said % 2:
        case.headers.update(asking.SSE)
    return case


def _good(body: dict[str, Any]) -> dict[str, Any]:
    made = {name: _whole(value) for name, value in body.items()}
    if isinstance(made.get("context"), dict):
        made["context"] = {"system": QUICK}
    if isinstance(made.get("messages"), list):
        made["messages"] = [*made["messages"], {"role": "system", "content": QUICK}]
    return made


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ByHand:
    """Requests of ours to the calls of a document, by one key. `seen`: (call, status) of each."""

    def __init__(self, schema: Schema, key: str) -> None:
        self.schema, self.key = schema, key
        self.seen: set[tuple[str, int]] = set()

    async def ask(
        self, call: str, *, key: str | None = None, failing: bool = False, **case: Any
    ) -> schemathesis.Response:
        """The answer, held to the document. `key` is another one, or "" for none. `failing`: a 5xx
        is what is asked for."""
        method, path = call.split(" ")
        made = self.schema[path][method].Case(**case)
        said = self.key if key is None else key
        # A signed URL is no key that could be left out.
        excluded: list[Any] = [schemathesis.checks.not_a_server_error] if failing else []
        excluded += [] if said else [checks.ignored_auth]
        headers = bearer(said) if said else None
        work = functools.partial(made.call_and_validate, headers=headers)
        answer = await asyncio.to_thread(work, excluded_checks=excluded)
        self.seen.add((call, answer.status_code))
        return answer


def successes(schema: Schema) -> set[tuple[str, int]]:
    """All (call, status) of a document below 300."""
    paths = schema.raw_schema["paths"].items()
    return {
        (f"{method.upper()} {path}", int(status))
        for path, item in paths
        for method, operation in item.items()
        for status in operation["responses"]
        if int(status) < 300
    }
