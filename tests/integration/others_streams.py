"""Streams of one owner in every state, and everybody who may not see them.

Strategy: a node has one stream of Alice's in each state that a stream can be in, and the id of one
that never was. Around it are those who are not she: another user of her tenant, another tenant, a
user of that, each by the kinds of credentials that there are. What they get is taken off the
socket as it came, so that it can be compared byte for byte.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from tests.integration import asking, harness, node_with_callers, raw_sockets

from holdfast.access import ids, principal
from holdfast.http import routes

PEOPLE = {
    "alice": node_with_callers.Who("acme", "alice"),
    "bob": node_with_callers.Who("acme", "bob"),
    "acme": node_with_callers.Who("acme"),
    "other": node_with_callers.Who("globex"),
    "zoe": node_with_callers.Who("globex", "zoe"),
    "root": node_with_callers.Who("ops", "", ("admin",)),
}
HOOKED = {
    "bob": principal.Principal("acme", "bob"),
    "other": principal.Principal("globex"),
}
HOUR_MS = 3_600_000


class Kept(msgspec.Struct, frozen=True):
    """`ids` are Alice's streams by state, and one that never was; `last` the id of each one's last
    event; `connections` by state; `links` are signed URLs of streams of the askers' own."""

    stage: node_with_callers.Stage
    ids: dict[str, str]
    last: dict[str, str]
    connections: dict[str, str]
    links: dict[str, str]

    @property
    def port(self) -> int:
        return self.stage.server.port


async def made(
    stage: node_with_callers.Stage, name: str, options: str = "tokens=3"
) -> harness.Response:
    """A stream of this caller's that has ended."""
    labels = {"session_id": "secret-session", "user_id": "secret-user"}
    sent = {**stage.key(name), "X-Client-Id": "secret-client"}
    body = asking.demo(options, metadata=labels)
    return await (await harness.begin(stage.server.port, body, sent.items())).rest()


@contextlib.asynccontextmanager
async def keeping(folder: Path) -> AsyncIterator[Kept]:
    """A node with all of this."""
    async with node_with_callers.staged(folder, PEOPLE, HOOKED) as stage:
        whole = {"expired": await made(stage, "alice")}
        now = int(stage.clock.now * 1000)
        assert await stage.server.service.log.expire(now + HOUR_MS, 100) == 1
        whole["finished"] = await made(stage, "alice")
        body = asking.demo("tokens=3 stall_at=2", flush_interval_ms=0)
        readers = {}
        for state in ("live", "cancelled"):
            reader = await harness.begin(stage.server.port, body, stage.key("alice").items())
            readers[state] = await reader.until(asking.has(3))
        stream = harness.stream_of(readers["cancelled"])
        path = f"/v1/streams/{stream}/cancel"
        await harness.ask(stage.server.port, "POST", path, stage.key("alice"), b"")
        whole["cancelled"] = await readers["cancelled"].rest()
        live = readers["live"]
        found = {state: str(harness.stream_of(answer)) for state, answer in whole.items()}
        found["live"] = harness.stream_of(live)
        found["never"] = ids.new(secrets.token_bytes(32), "acme/alice")
        last = {state: asking.last_id(answer.body) for state, answer in whole.items()}
        last["live"] = asking.last_id(bytes(live.body))
        last["never"] = f"{found['never']}:{last['live'].partition(':')[2]}"
        connections = {
            "live": live.headers["x-connection-id"],
            "finished": whole["finished"].headers["x-connection-id"],
            "never": ids.new(secrets.token_bytes(32), "acme/alice"),
        }
        links = {}
        for name in ("bob", "other"):
            own = harness.stream_of(await made(stage, name))
            links[name] = (await stage.link(own, stage.key(name))).partition("?")[2]
        yield Kept(stage, found, last, connections, links)
        await live.close()
        path = f"/v1/streams/{found['live']}/cancel"
        await harness.ask(stage.server.port, "POST", path, stage.key("alice"), b"")


STATES = ("live", "finished", "cancelled", "expired", "never")


class Credential(msgspec.Struct, frozen=True):
    """Headers and a query that one asker brings."""

    headers: node_with_callers.Headers
    query: str = ""


def credentials(kept: Kept) -> dict[str, Credential]:
    """Of people who may not see Alice's streams, in every kind."""
    stage = kept.stage
    found = {f"key of {name}": Credential(stage.key(name)) for name in ("bob", "other", "zoe")}
    found |= {f"hook for {name}": Credential({node_with_callers.HOOK: name}) for name in HOOKED}
    found |= {f"link of {name}": Credential({}, query) for name, query in kept.links.items()}
    found["token of bob"] = Credential(stage.token("acme", "bob"))
    found["token of another alice"] = Credential(stage.token("globex", "alice"))
    found["nothing"] = Credential({})
    return found


async def raw(
    kept: Kept, method: str, target: str, sent: node_with_callers.Headers, body: bytes = b""
) -> bytes:
    """The whole answer as it came, without its date. The request has an id, which some answers
    tell: else each would have another one."""
    own = {"Host": "x", "Connection": "close", "X-Request-Id": "one"}
    fields = {**own, "Content-Length": str(len(body)), **sent}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {said}" for name, said in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    answer = await raw_sockets.raw(kept.port, request)
    head, _, rest = answer.partition(b"\r\n\r\n")
    without, dates = re.subn(rb"(?mi)^date: .*\r\n", b"", head + b"\r\n")
    assert dates == 1
    return without + rest


def status(answer: bytes) -> int:
    return int(answer[9:12])


def targets(kind: str) -> list[tuple[str, str]]:
    """(method, path) of all routes with such a parameter, and of those methods that follow."""
    found = [(row.method, row.path) for row in routes.ROWS if kind in row.path]
    paths = {path for _, path in found}
    more = itertools.product(("HEAD", "OPTIONS", "DELETE", "PUT"), sorted(paths))
    return [*found, *more]


def positions(kept: Kept, state: str) -> list[tuple[str, node_with_callers.Headers]]:
    """(more of the query, headers): every way to name a position, or other things to show."""
    last = kept.last[state]
    place = last.partition(":")[2]
    return [
        ("", {}),
        ("", {"Last-Event-ID": last}),
        ("", {"Last-Event-ID": place}),
        ("", {"Last-Event-ID": kept.last["finished"]}),
        ("", {"Last-Event-ID": "what is this"}),
        (f"after={last}", {}),
        (f"after={place}", {}),
        ("include=events", {}),
        ("include=everything", {}),
        ("", {"Accept": "text/event-stream"}),
        ("", {"X-Client-Id": "a line\tbreak"}),
    ]


def queried(path: str, *parts: str) -> str:
    query = "&".join(part for part in parts if part)
    return f"{path}?{query}" if query else path
