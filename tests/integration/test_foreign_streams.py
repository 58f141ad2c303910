"""Whoever may not read a stream cannot tell that it exists.

Strategy: whoever is not the owner (`others_streams`) asks for a stream in each state, and for one
that never was, in every way that there is: each route, each method, each kind of credential. What
comes back is compared byte for byte, but for the date. What can be told by time is another matter
(`bench/foreign.py`); here stands its cause: neither a foreign id nor an unknown one reaches the
log.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio
from tests.integration import asking, harness, others_streams

from holdfast.access import ids
from holdfast.http import routes

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-same-for-all"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[others_streams.Kept]:
    async with others_streams.keeping(tmp_path_factory.mktemp("foreign")) as found:
        yield found


@pytest.mark.case("4.2")
async def test_the_streams_are_what_they_are_called(kept: others_streams.Kept) -> None:
    """For their owner; else nothing here would show anything."""
    wanted = {"live": 200, "finished": 204, "cancelled": 204, "expired": 410, "never": 404}
    for name in ("alice", "acme", "root"):
        for state in others_streams.STATES:
            path = f"/v1/streams/{kept.ids[state]}/events"
            sent = {**kept.stage.key(name), "Last-Event-ID": kept.last[state]}
            reader = await harness.Reader.open(kept.port, "GET", path, sent)
            await reader.close()
            assert reader.status == wanted[state], (name, state)
    shown = {"live": 200, "finished": 200, "cancelled": 200, "expired": 410, "never": 404}
    for state in others_streams.STATES:
        path = f"/v1/streams/{kept.ids[state]}"
        found = await harness.ask(kept.port, "GET", path, kept.stage.key("alice"))
        assert found.status == shown[state]


@pytest.mark.case("4.2")
async def test_a_foreign_stream_is_like_one_that_never_was(kept: others_streams.Kept) -> None:
    compared, rows = 0, {(row.method, row.path) for row in routes.ROWS}
    for kind, credential in others_streams.credentials(kept).items():
        expected = 404 if kind.startswith(("key", "hook", "token")) else 401
        for method, path in others_streams.targets("{stream_id}"):
            answers: dict[tuple[object, ...], set[bytes]] = {}
            for state in others_streams.STATES:
                target = path.replace("{stream_id}", kept.ids[state])
                for number, (query, more) in enumerate(others_streams.positions(kept, state)):
                    sent = {**credential.headers, **more}
                    asked = others_streams.queried(target, credential.query, query)
                    answer = await others_streams.raw(kept, method, asked, sent)
                    answers.setdefault((kind, method, path, number), set()).add(answer)
                    never = method in ("OPTIONS", "DELETE", "PUT") and (method, path) not in rows
                    allowed = {405} if never else {expected, 405}
                    assert others_streams.status(answer) in allowed, (kind, method, target, answer)
                    compared += 1
            for what, different in answers.items():
                assert len(different) == 1, (what, different)
    assert compared > 5000


@pytest.mark.case("4.2")
async def test_a_foreign_id_of_another_shape_is_the_same(kept: others_streams.Kept) -> None:
    """Too long, too short, of 26 letters, of other alphabets."""
    for kind, credential in others_streams.credentials(kept).items():
        answers = set()
        for id in (kept.ids["live"], "x", "0" * 26, "0" * 32, "z" * 33, "%C3%A9" * 32, "..;"):
            target = others_streams.queried(f"/v1/streams/{id}", credential.query)
            answers.add(await others_streams.raw(kept, "GET", target, credential.headers))
        assert len(answers) == 1, kind


@pytest.mark.case("4.2")
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_foreign_stream_is_not_resumed_by_post(
    kept: others_streams.Kept, accept: str
) -> None:
    for kind, credential in others_streams.credentials(kept).items():
        for body in (b"", asking.demo("tokens=1"), b"{"):
            answers = set()
            for state, place in itertools.product(
                others_streams.STATES, ("its own", "0-0", "99-1")
            ):
                own = kept.last[state]
                id = own if place == "its own" else f"{kept.ids[state]}:{place}"
                sent = {**credential.headers, "Last-Event-ID": id, "Accept": accept}
                target = others_streams.queried("/v1/streams", credential.query)
                answers.add(await others_streams.raw(kept, "POST", target, sent, body))
            (answer,) = answers
            expected = 404 if kind.startswith(("key", "hook", "token")) else 401
            assert others_streams.status(answer) == expected, kind


@pytest.mark.case("4.2")
async def test_a_position_of_a_foreign_stream_says_nothing_on_one_s_own(
    kept: others_streams.Kept,
) -> None:
    own = harness.stream_of(await others_streams.made(kept.stage, "bob"))
    path = f"/v1/streams/{own}/events"
    answers = set()
    for state in others_streams.STATES:
        sent = {**kept.stage.key("bob"), "Last-Event-ID": kept.last[state]}
        answers.add(await others_streams.raw(kept, "GET", path, sent))
        query = f"after={kept.last[state]}"
        answers.add(
            await others_streams.raw(
                kept, "GET", others_streams.queried(path, query), kept.stage.key("bob")
            )
        )
    (answer,) = answers
    assert others_streams.status(answer) == 400


@pytest.mark.case("4.2")
async def test_a_foreign_connection_is_like_one_that_never_was(kept: others_streams.Kept) -> None:
    for kind, credential in others_streams.credentials(kept).items():
        for method, path in others_streams.targets("{connection_id}"):
            answers = set()
            for id in kept.connections.values():
                target = others_streams.queried(
                    path.replace("{connection_id}", id), credential.query
                )
                answers.add(await others_streams.raw(kept, method, target, credential.headers))
            assert len(answers) == 1, (kind, method, answers)
            expected = 404 if kind.startswith(("key", "hook", "token")) else 401
            assert others_streams.status(answers.pop()) in (expected, 405)
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
async def test_lists_show_nothing_of_others(kept: others_streams.Kept) -> None:
    hers = {*kept.ids.values(), *kept.connections.values()}
    queries = [
        "limit=200",
        "client_id=secret-client",
        "session_id=secret-session",
        "status=completed",
    ]
    queries += [
        f"before={others_streams.HOUR_MS * 10**6}-{kept.ids[state]}"
        for state in others_streams.STATES
    ]
    for kind, credential in others_streams.credentials(kept).items():
        if not kind.startswith(("key", "hook", "token")):
            continue
        for path, query in itertools.product(("/v1/streams", "/v1/connections"), queries):
            found = await harness.ask(
                kept.port, "GET", others_streams.queried(path, query), credential.headers
            )
            assert found.status == 200
            texts = set(strings(found.json()))
            assert not texts & hers, (kind, query)
            own = {"bob", "other"} & set(kind.split())
            assert own or not found.json()[path.rpartition("/")[2]], (kind, query)
        pages = {
            await others_streams.raw(kept, "GET", f"/v1/streams?{query}", credential.headers)
            for query in queries[-len(others_streams.STATES) :]
        }
        assert len(pages) == 1


@pytest.mark.case("4.2")
async def test_whoever_sees_all_sees_all(kept: others_streams.Kept) -> None:
    for name in ("root", "acme"):
        page = await harness.ask(kept.port, "GET", "/v1/streams?limit=200", kept.stage.key(name))
        listed = {row["id"] for row in page.json()["streams"]}
        assert {kept.ids[state] for state in ("live", "finished", "cancelled")} <= listed
        page = await harness.ask(kept.port, "GET", "/v1/connections", kept.stage.key(name))
        connections = {one["id"] for one in page.json()["connections"]}
        assert {kept.connections[state] for state in ("live", "finished")} <= connections


@pytest.mark.case("4.2")
async def test_an_idempotency_key_leads_to_one_s_own_stream_alone(
    kept: others_streams.Kept,
) -> None:
    """The same value from everybody, and with another body: a 422 would tell that it is taken."""
    found: dict[str, str] = {}
    askers = {name: kept.stage.key(name) for name in others_streams.PEOPLE if name != "root"}
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


LOOKS = ("stat", "find", "request_cancel", "watch", "create")
"""Verbs of a log by which a route learns of a stream; `heads` and `read` a node calls by itself."""


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
async def test_neither_reaches_the_log(
    kept: others_streams.Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they cannot differ in time: what would find one, and miss the other, is not asked."""
    looked = Looked(kept.stage.server.service.log, LOOKS, monkeypatch)
    rows = [row for row in routes.ROWS if "{stream_id}" in row.path]
    for credential in others_streams.credentials(kept).values():
        for state, row in itertools.product(others_streams.STATES, rows):
            target = row.path.replace("{stream_id}", kept.ids[state])
            asked = others_streams.queried(target, credential.query)
            await harness.ask(kept.port, row.method, asked, credential.headers, b"")
            sent = {**credential.headers, "Last-Event-ID": kept.last[state]}
            await harness.ask(
                kept.port,
                "POST",
                others_streams.queried("/v1/streams", credential.query),
                sent,
                b"",
            )
    assert looked.calls == []
    path = f"/v1/streams/{kept.ids['finished']}"
    await harness.ask(kept.port, "GET", path, kept.stage.key("alice"))
    assert "stat" in looked.calls


@pytest.mark.case("4.2")
async def test_the_owner_decides_where_an_id_tells_nothing(
    kept: others_streams.Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One foreign id in a thousand million seems to be one's own; what is found has an owner."""
    monkeypatch.setattr(ids, "may_be", lambda secret, id, asker: True)
    rows = [row for row in routes.ROWS if re.search(r"\{(stream|connection)_id\}", row.path)]
    for kind, credential in others_streams.credentials(kept).items():
        for row in rows:
            answers = set()
            for id in (*kept.ids.values(), *kept.connections.values()):
                target = row.path.replace("{stream_id}", id).replace("{connection_id}", id)
                asked = others_streams.queried(target, credential.query)
                answers.add(await others_streams.raw(kept, row.method, asked, credential.headers))
            assert len(answers) == 1, (kind, row.path)
            assert others_streams.status(answers.pop()) in (401, 404)


@pytest.mark.case("4.2")
async def test_neither_connection_is_looked_for(
    kept: others_streams.Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of connections, which are in memory: what is found there takes a little longer."""
    looked = Looked(kept.stage.server.service.connections, ["find"], monkeypatch)
    paths = [f"/v1/connections/{id}" for id in kept.connections.values()]
    for credential, path in itertools.product(others_streams.credentials(kept).values(), paths):
        await harness.ask(
            kept.port, "GET", others_streams.queried(path, credential.query), credential.headers
        )
    assert looked.calls == []
    await harness.ask(kept.port, "GET", paths[0], kept.stage.key("alice"))
    assert looked.calls == ["find"]


RESPONSE_CALLS = (
    ("GET", ""),
    ("GET", "?stream=true"),
    ("GET", "?stream=true&starting_after=0"),
    ("GET", "?stream=what"),
    ("HEAD", "?stream=true"),
    ("POST", "/cancel"),
)


@pytest.mark.case("4.2")
@pytest.mark.parametrize("seems_own", [False, True])
async def test_a_foreign_response_is_like_one_that_never_was(
    kept: others_streams.Kept, monkeypatch: pytest.MonkeyPatch, seems_own: bool
) -> None:
    """By the ids that clients of OpenAI know; above, no id had the begin that a response's has."""
    alice, found = kept.stage.key("alice"), [kept.ids["never"]]
    for options in ("tokens=1", "tokens=3 stall_at=2"):
        said = {"input": f"Why?\n/demo rate=10000 {options}", "background": True}
        body = harness.wanted("demo", messages=None, **said)
        made = await harness.ask(kept.port, "POST", "/v1/responses", alice, body)
        found.append(made.headers["x-stream-id"])
        shown = await harness.ask(kept.port, "GET", f"/v1/responses/resp_{found[-1]}", alice)
        assert shown.status == 200
    if seems_own:
        monkeypatch.setattr(ids, "may_be", lambda secret, id, asker: True)
    for kind, credential in others_streams.credentials(kept).items():
        for method, rest in RESPONSE_CALLS:
            path, _, query = rest.partition("?")
            answers = set()
            for id in found:
                asked = f"/v1/responses/resp_{id}{path}"
                target = others_streams.queried(asked, credential.query, query)
                answers.add(await others_streams.raw(kept, method, target, credential.headers))
            assert len(answers) == 1, (kind, method, rest, answers)
            assert others_streams.status(answers.pop()) in (401, 404)
    await harness.ask(kept.port, "POST", f"/v1/responses/resp_{found[-1]}/cancel", alice, b"")
