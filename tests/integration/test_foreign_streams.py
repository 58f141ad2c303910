"""Whoever may not read a stream cannot tell that it exists.

Strategy: one owner has a stream in every state that a stream can be in, and those who are not the
owner ask for each of them, and for one that never was, in every way that there is: each route,
each method, each kind of credential. What comes back is compared byte for byte, but for the date.
What can be told by time is another matter (`bench/foreign.py`); here stands its cause: neither a
foreign id nor an unknown one reaches the log.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.integration import asking, callers, harness

from holdfast.access import ids, principal
from holdfast.http import routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = {
    "alice": callers.Who("acme", "alice"),
    "bob": callers.Who("acme", "bob"),
    "acme": callers.Who("acme"),
    "other": callers.Who("globex"),
    "zoe": callers.Who("globex", "zoe"),
    "root": callers.Who("ops", "", ("admin",)),
}
HOOKED = {
    "bob": principal.Principal("acme", "bob"),
    "other": principal.Principal("globex"),
}
HOUR_MS = 3_600_000
KEY = "the-same-for-all"


class Kept(msgspec.Struct, frozen=True):
    """`ids` are Alice's streams by state, and one that never was; `last` the id of each one's last
    event; `connections` by state; `links` are signed URLs of streams of the askers' own."""

    stage: callers.Stage
    ids: dict[str, str]
    last: dict[str, str]
    connections: dict[str, str]
    links: dict[str, str]

    @property
    def port(self) -> int:
        return self.stage.server.port


async def made(stage: callers.Stage, name: str, options: str = "tokens=3") -> harness.Response:
    """A stream of this caller's that has ended."""
    labels = {"session_id": "secret-session", "user_id": "secret-user"}
    sent = {**stage.key(name), "X-Client-Id": "secret-client"}
    body = asking.demo(options, metadata=labels)
    return await (await harness.begin(stage.server.port, body, sent.items())).rest()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    folder: Path = tmp_path_factory.mktemp("foreign")
    async with callers.staged(folder, PEOPLE, HOOKED) as stage:
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

    headers: callers.Headers
    query: str = ""


def credentials(kept: Kept) -> dict[str, Credential]:
    """Of people who may not see Alice's streams, in every kind."""
    stage = kept.stage
    found = {f"key of {name}": Credential(stage.key(name)) for name in ("bob", "other", "zoe")}
    found |= {f"hook for {name}": Credential({callers.HOOK: name}) for name in HOOKED}
    found |= {f"link of {name}": Credential({}, query) for name, query in kept.links.items()}
    found["token of bob"] = Credential(stage.token("acme", "bob"))
    found["token of another alice"] = Credential(stage.token("globex", "alice"))
    found["nothing"] = Credential({})
    return found


async def raw(
    kept: Kept, method: str, target: str, sent: callers.Headers, body: bytes = b""
) -> bytes:
    """The whole answer as it came, without its date."""
    fields = {"Host": "x", "Connection": "close", "Content-Length": str(len(body)), **sent}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {said}" for name, said in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    answer = await asking.raw(kept.port, request)
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


def positions(kept: Kept, state: str) -> list[tuple[str, callers.Headers]]:
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


@pytest.mark.case("4.2")
async def test_the_streams_are_what_they_are_called(kept: Kept) -> None:
    """For their owner; else nothing here would show anything."""
    wanted = {"live": 200, "finished": 204, "cancelled": 204, "expired": 410, "never": 404}
    for name in ("alice", "acme", "root"):
        for state in STATES:
            path = f"/v1/streams/{kept.ids[state]}/events"
            sent = {**kept.stage.key(name), "Last-Event-ID": kept.last[state]}
            reader = await harness.Reader.open(kept.port, "GET", path, sent)
            await reader.close()
            assert reader.status == wanted[state], (name, state)
    shown = {"live": 200, "finished": 200, "cancelled": 200, "expired": 410, "never": 404}
    for state in STATES:
        path = f"/v1/streams/{kept.ids[state]}"
        found = await harness.ask(kept.port, "GET", path, kept.stage.key("alice"))
        assert found.status == shown[state]


@pytest.mark.case("4.2")
async def test_a_foreign_stream_is_like_one_that_never_was(kept: Kept) -> None:
    compared = 0
    for kind, credential in credentials(kept).items():
        expected = 404 if kind.startswith(("key", "hook", "token")) else 401
        for method, path in targets("{stream_id}"):
            answers: dict[tuple[object, ...], set[bytes]] = {}
            for state in STATES:
                target = path.replace("{stream_id}", kept.ids[state])
                for number, (query, more) in enumerate(positions(kept, state)):
                    sent = {**credential.headers, **more}
                    asked = queried(target, credential.query, query)
                    answer = await raw(kept, method, asked, sent)
                    answers.setdefault((kind, method, path, number), set()).add(answer)
                    allowed = {405} if method in ("OPTIONS", "DELETE", "PUT") else {expected, 405}
                    assert status(answer) in allowed, (kind, method, target, answer)
                    compared += 1
            for what, different in answers.items():
                assert len(different) == 1, (what, different)
    assert compared > 5000


@pytest.mark.case("4.2")
async def test_a_foreign_id_of_another_shape_is_the_same(kept: Kept) -> None:
    """Too long, too short, of 26 letters, of other alphabets."""
    for kind, credential in credentials(kept).items():
        answers = set()
        for id in (kept.ids["live"], "x", "0" * 26, "0" * 32, "z" * 33, "%C3%A9" * 32, "..;"):
            target = queried(f"/v1/streams/{id}", credential.query)
            answers.add(await raw(kept, "GET", target, credential.headers))
        assert len(answers) == 1, kind


@pytest.mark.case("4.2")
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_foreign_stream_is_not_resumed_by_post(kept: Kept, accept: str) -> None:
    for kind, credential in credentials(kept).items():
        for body in (b"", asking.demo("tokens=1"), b"{"):
            answers = set()
            for state, place in itertools.product(STATES, ("its own", "0-0", "99-1")):
                own = kept.last[state]
                id = own if place == "its own" else f"{kept.ids[state]}:{place}"
                sent = {**credential.headers, "Last-Event-ID": id, "Accept": accept}
                target = queried("/v1/streams", credential.query)
                answers.add(await raw(kept, "POST", target, sent, body))
            (answer,) = answers
            expected = 404 if kind.startswith(("key", "hook", "token")) else 401
            assert status(answer) == expected, kind


@pytest.mark.case("4.2")
async def test_a_position_of_a_foreign_stream_says_nothing_on_one_s_own(kept: Kept) -> None:
    own = harness.stream_of(await made(kept.stage, "bob"))
    path = f"/v1/streams/{own}/events"
    answers = set()
    for state in STATES:
        sent = {**kept.stage.key("bob"), "Last-Event-ID": kept.last[state]}
        answers.add(await raw(kept, "GET", path, sent))
        query = f"after={kept.last[state]}"
        answers.add(await raw(kept, "GET", queried(path, query), kept.stage.key("bob")))
    (answer,) = answers
    assert status(answer) == 400


@pytest.mark.case("4.2")
async def test_a_foreign_connection_is_like_one_that_never_was(kept: Kept) -> None:
    for kind, credential in credentials(kept).items():
        for method, path in targets("{connection_id}"):
            answers = set()
            for id in kept.connections.values():
                target = queried(path.replace("{connection_id}", id), credential.query)
                answers.add(await raw(kept, method, target, credential.headers))
            assert len(answers) == 1, (kind, method, answers)
            expected = 404 if kind.startswith(("key", "hook", "token")) else 401
            assert status(answers.pop()) in (expected, 405)
    for name in ("alice", "acme", "root"):
        for state, id in kept.connections.items():
            path = f"/v1/connections/{id}"
            found = await harness.ask(kept.port, "GET", path, kept.stage.key(name))
            assert found.status == (404 if state == "never" else 200), (name, state)


def strings(value: Any) -> Iterable[str]:
    """Every text in a decoded answer."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for part in value.values() for text in strings(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in strings(part))


@pytest.mark.case("4.2")
async def test_lists_show_nothing_of_others(kept: Kept) -> None:
    hers = {*kept.ids.values(), *kept.connections.values()}
    queries = [
        "limit=200",
        "client_id=secret-client",
        "session_id=secret-session",
        "status=completed",
    ]
    queries += [f"before={HOUR_MS * 10**6}-{kept.ids[state]}" for state in STATES]
    for kind, credential in credentials(kept).items():
        if not kind.startswith(("key", "hook", "token")):
            continue
        for path, query in itertools.product(("/v1/streams", "/v1/connections"), queries):
            found = await harness.ask(kept.port, "GET", queried(path, query), credential.headers)
            assert found.status == 200
            texts = set(strings(found.json()))
            assert not texts & hers, (kind, query)
            own = {"bob", "other"} & set(kind.split())
            assert own or not found.json()[path.rpartition("/")[2]], (kind, query)
        pages = {
            await raw(kept, "GET", f"/v1/streams?{query}", credential.headers)
            for query in queries[-len(STATES) :]
        }
        assert len(pages) == 1


@pytest.mark.case("4.2")
async def test_whoever_sees_all_sees_all(kept: Kept) -> None:
    for name in ("root", "acme"):
        page = await harness.ask(kept.port, "GET", "/v1/streams?limit=200", kept.stage.key(name))
        listed = {row["id"] for row in page.json()["streams"]}
        assert {kept.ids[state] for state in ("live", "finished", "cancelled")} <= listed
        page = await harness.ask(kept.port, "GET", "/v1/connections", kept.stage.key(name))
        connections = {one["id"] for one in page.json()["connections"]}
        assert {kept.connections[state] for state in ("live", "finished")} <= connections


@pytest.mark.case("4.2")
async def test_an_idempotency_key_leads_to_one_s_own_stream_alone(kept: Kept) -> None:
    """The same value from everybody, and with another body: a 422 would tell that it is taken."""
    found: dict[str, str] = {}
    askers = {name: kept.stage.key(name) for name in PEOPLE if name != "root"}
    askers["token"] = kept.stage.token("acme", "carol")
    for number, (name, sent) in enumerate(askers.items()):
        headers = {**sent, "Idempotency-Key": KEY}
        body = asking.demo("tokens=1", prompt=f"Question {number}")
        answer = await harness.ask(kept.port, "POST", "/v1/streams", headers, body)
        assert answer.status == 201, name
        found[name] = answer.json()["id"]
        again = await harness.ask(kept.port, "POST", "/v1/streams", headers, body)
        assert (again.status, again.json()["id"]) == (200, found[name])
        other = asking.demo("tokens=2")
        refused = await harness.ask(kept.port, "POST", "/v1/streams", headers, other)
        assert refused.status == 422
    assert len(set(found.values())) == len(askers)
    for name, stream in found.items():
        for asker, sent in askers.items():
            path = f"/v1/streams/{stream}"
            seen = (await harness.ask(kept.port, "GET", path, sent)).status == 200
            theirs = name in ("alice", "bob", "acme", "token") if asker == "acme" else False
            globex = asker == "other" and name in ("zoe", "other")
            assert seen == (name == asker or theirs or globex), (name, asker)


LOOKS = ("stat", "read", "heads", "find", "request_cancel", "watch", "create")


class Looked:
    """Notes the calls of an object's methods."""

    def __init__(self, seen: Any, names: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in names:
            monkeypatch.setattr(seen, name, self._counting(name, getattr(seen, name)))

    def _counting(self, name: str, method: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            self.calls.append(name)
            return method(*given, **named)

        return counted


@pytest.mark.case("4.2")
async def test_neither_reaches_the_log(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """So they cannot differ in time: what would find one, and miss the other, is not asked."""
    looked = Looked(kept.stage.server.service.log, LOOKS, monkeypatch)
    rows = [row for row in routes.ROWS if "{stream_id}" in row.path]
    for credential in credentials(kept).values():
        for state, row in itertools.product(STATES, rows):
            target = row.path.replace("{stream_id}", kept.ids[state])
            asked = queried(target, credential.query)
            await harness.ask(kept.port, row.method, asked, credential.headers, b"")
            sent = {**credential.headers, "Last-Event-ID": kept.last[state]}
            await harness.ask(
                kept.port, "POST", queried("/v1/streams", credential.query), sent, b""
            )
    assert looked.calls == []
    path = f"/v1/streams/{kept.ids['finished']}"
    await harness.ask(kept.port, "GET", path, kept.stage.key("alice"))
    assert "stat" in looked.calls


@pytest.mark.case("4.2")
async def test_the_owner_decides_where_an_id_tells_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One foreign id in a thousand million seems to be one's own; what is found has an owner."""
    monkeypatch.setattr(ids, "may_be", lambda secret, id, asker: True)
    rows = [row for row in routes.ROWS if "{" in row.path]
    for kind, credential in credentials(kept).items():
        for row in rows:
            answers = set()
            for id in (*kept.ids.values(), *kept.connections.values()):
                target = row.path.replace("{stream_id}", id).replace("{connection_id}", id)
                asked = queried(target, credential.query)
                answers.add(await raw(kept, row.method, asked, credential.headers))
            assert len(answers) == 1, (kind, row.path)
            assert status(answers.pop()) in (401, 404)


@pytest.mark.case("4.2")
async def test_neither_connection_is_looked_for(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of connections, which are in memory: what is found there takes a little longer."""
    looked = Looked(kept.stage.server.service.connections, ["get"], monkeypatch)
    paths = [f"/v1/connections/{id}" for id in kept.connections.values()]
    for credential, path in itertools.product(credentials(kept).values(), paths):
        await harness.ask(kept.port, "GET", queried(path, credential.query), credential.headers)
    assert looked.calls == []
    await harness.ask(kept.port, "GET", paths[0], kept.stage.key("alice"))
    assert looked.calls == ["get"]
