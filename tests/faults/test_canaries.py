"""Keys, tokens, prompts and answers are told to nobody who may not know, in no form.

Strategy: a real server is brought to fail in every way that we know, with secrets in each of them
(`telling`), and afterwards all that came out is searched for each secret in each form (`canaries`).
The operator may know nothing of what callers and providers said; a stranger nothing at all; the
owner gets her answer, and in it what the provider says of her prompt, but no key. The stores are
sealed, and hold none of it.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib import parse

import msgspec
import pytest
import pytest_asyncio
from click import testing
from tests.faults import canaries, served, telling
from tests.integration import asking, harness

from holdfast import cli

pytestmark = pytest.mark.asyncio(loop_scope="module")

Teller = telling.Teller


async def bad_credentials(teller: Teller, node: telling.Node) -> None:
    secrets = teller.secrets
    for who in ("wrong", "gone", "brief", "late", "other", "forged", None):
        for target in ("/v1/streams", f"/v1/streams?key={secrets.wrong}"):
            await teller.tell(node, who, "GET", target)
    for said in (
        secrets.wrong,
        f"Basic {secrets.wrong}",
        f"Bearer {secrets.wrong} {secrets.wrong}",
        f"Bearer {secrets.wrong}\xff",
        f"Bearer {secrets.wrong}.{secrets.wrong}.{secrets.wrong}",
        f"Bearer {secrets.wrong}{telling.LONG[:9000]}",
        f"Bearer {secrets.wrong}{telling.LONG}",
        f"Bearer {secrets.keys['alice'][:-1]}",
        f"Bearer {secrets.tokens['carol'][:-2]}",
    ):
        await teller.tell(node, None, "GET", "/v1/streams", more={"Authorization": said})
    for name in ("X-Api-Key", "Cookie", "X-Request-Id", "Last-Event-ID"):
        await teller.tell(node, None, "GET", "/v1/streams", more={name: secrets.wrong})
    await teller.tell(node, "overseer", "POST", "/v1/streams", b"{}")


async def bad_bodies(teller: Teller, node: telling.Node) -> None:
    said, prompt = asking.demo(prompt=teller.secrets.prompt), teller.secrets.prompt
    quoted = msgspec.json.encode(prompt)
    for body in (
        said[:-2],
        said + b"}",
        quoted,
        b"[" + quoted + b"]",
        said.replace(b"/demo", b"\xff"),
        prompt.encode() + b"\xff",
        prompt.encode("utf-16"),
        harness.wanted("vendor/ok", messages=prompt),
        harness.wanted("vendor/ok", messages=[prompt]),
        harness.wanted("vendor/ok", messages=[{"role": "user", "content": {"text": prompt}}]),
        harness.wanted("vendor/ok", messages=[{"role": "user", "content": [prompt]}]),
        harness.wanted("vendor/ok", messages=[{"role": "user", "text": prompt}]),
        harness.wanted("vendor/ok", temperature=prompt),
        harness.wanted("vendor/ok", context={"persona": prompt}),
        harness.wanted("vendor/ok", stop={"at": prompt}),
        harness.wanted("vendor/ok", tools=[prompt]),
        harness.wanted("nobody/m", messages=[{"role": "user", "content": prompt}]),
        b'{"messages": %b}' % (b"[" * 200 + quoted + b"]" * 200),
    ):
        answer = await teller.tell(node, "alice", "POST", "/v1/streams", body)
        assert answer.startswith(b"HTTP/1.1 400"), (body, answer)
    large = harness.wanted("vendor/ok", prompt=prompt * 100_000)
    await teller.tell(node, "alice", "POST", "/v1/streams", large)
    packed = {"Content-Encoding": "gzip"}
    await teller.tell(node, "alice", "POST", "/v1/streams", said, packed)
    for name in ("X-Client-Id", "X-Request-Id", "Idempotency-Key", "Last-Event-ID"):
        ascii_ = prompt.encode("ascii", "replace").decode()
        await teller.tell(node, "alice", "POST", "/v1/streams", said, {name: f"{ascii_} é"})
    once = {"Idempotency-Key": "one"}
    for body in (said, asking.demo("tokens=1")):
        await teller.tell(node, "alice", "POST", "/v1/streams", body, once)


FAILING = (
    *(f"status-{status}" for status in (301, 400, 401, 403, 404, 408, 413, 429, 500, 503, 529)),
    *("event", "cut", "reset", "stall", "broken", "wrong", "text", "json", "html"),
)


async def failing_answers(teller: Teller, node: telling.Node) -> list[str]:
    """Streams of Alice's, one for each way to fail, and one that did not."""
    found = [telling.stream_of(await teller.asks(node, "alice", name)) for name in FAILING]
    whole = telling.stream_of(await teller.asks(node, "alice", "ok"))
    await teller.asks(node, "carol", "ok")
    await teller.asks(node, "poor", "long")
    for _ in range(2):
        await teller.tell(node, "rare", "GET", "/v1/streams")
    await teller.tell(node, "alice", "POST", "/v1/streams", harness.wanted("second/m"), asking.SSE)
    return [*found, whole]


async def strangers(teller: Teller, node: telling.Node, streams: list[str]) -> None:
    for who in ("bob", None):
        for stream in streams:
            for target in ("", "/events", "/connections", "?include=events"):
                await teller.tell(node, who, "GET", f"/v1/streams/{stream}{target}")
            for target in ("cancel", "links"):
                await teller.tell(node, who, "POST", f"/v1/streams/{stream}/{target}")
            last = {"Last-Event-ID": f"{stream}:1-1", **asking.SSE}
            await teller.tell(node, who, "POST", "/v1/streams", b"", last)
        for target in ("/v1/streams", "/v1/connections", "/openapi.json", "/healthz", "/readyz"):
            await teller.tell(node, who, "GET", target)
    for method in ("OPTIONS", "TRACE", "DELETE"):
        await teller.tell(node, "bob", method, "/v1/streams")
    for stream in streams:
        await teller.tell(node, "alice", "GET", f"/v1/streams/{stream}")


async def overseen(teller: Teller, node: telling.Node, streams: list[str]) -> None:
    """What an operator is shown of streams: how they went, and nothing that was said."""
    for target in (
        "/v1/errors",
        "/v1/seal",
        "/metrics",
        *(f"/v1/streams/{stream}/timeline" for stream in streams),
    ):
        found = await teller.tell(node, "overseer", "GET", target)
        assert b" 200 " in found[:20]


async def signed(teller: Teller, node: telling.Node, stream: str) -> None:
    made = await teller.tell(node, "alice", "POST", f"/v1/streams/{stream}/links")
    # The one answer that is to hold it.
    teller.heaps.owner.popitem()
    url = msgspec.json.decode(made.partition(b"\r\n\r\n")[2])["url"]
    teller.secrets.signatures.append(parse.parse_qs(url.partition("?")[2])["signature"][0])
    await teller.tell(node, "carol", "GET", url)
    for changed in (f"{url}x", url.replace("expires=", "expires=1"), url.replace("/events", "")):
        await teller.tell(node, None, "GET", changed)
    await teller.tell(node, None, "GET", f"{url}&after=nonsense")


async def begun(teller: Teller, node: telling.Node) -> str:
    """A stream that has begun and waits; who asked for it has gone."""
    words = teller.secrets.answer.encode()[:20]
    return telling.stream_of(
        await teller.asks(node, "alice", "gate", until=lambda got: words in got)
    )


async def commands(teller: Teller, node: telling.Node) -> None:
    """Of a user whose key is wrong."""
    env = {
        "HOLDFAST_API_KEY": teller.secrets.wrong,
        "HOLDFAST_URL": f"http://127.0.0.1:{node.port}",
    }
    for args in (("ask", "Hello?"), ("streams", "list"), ("streams", "cancel", "0" * 32)):
        done = await teller.command(*args, env=env)
        assert done.code == 1, done
        teller.heaps.operator[" ".join(args[:2])] = (done.out + done.err).encode()


async def leaving(teller: Teller, node: telling.Node) -> None:
    """Readers that go, a stream that is cancelled."""
    stream = await begun(teller, node)
    await teller.tell(node, "alice", "POST", f"/v1/streams/{stream}/cancel")
    await teller.tell(node, "alice", "GET", f"/v1/streams/{stream}/events")


FORGED = "zq\r\n2026-01-01T00:00:00.000Z info     forged\x1b]0;x\x07\x1b[2J\u202e\u2028\x85\x00"
"""What wants to be a line of the log, or more than text on a terminal."""


async def forging(teller: Teller, node: telling.Node) -> None:
    """It stands wherever a caller can put it."""
    asked = {"messages": [{"role": "user", "content": FORGED}]}
    for model in (f"vendor/ok-{FORGED}", f"vendor/status-500-{FORGED}", FORGED):
        body = harness.wanted(model, **asked)
        await teller.tell(node, "alice", "POST", "/v1/streams", body, asking.SSE)
    for fields in ({FORGED: 1}, {"provider": FORGED}, {"metadata": {"session_id": FORGED}}):
        body = harness.wanted("vendor/ok", **asked, **fields)
        await teller.tell(node, "alice", "POST", "/v1/streams", body)
    path = parse.quote(FORGED, safe="")
    for target in (f"/{path}", f"/v1/streams/{path}", f"/v1/streams?session_id={path}"):
        await teller.tell(node, "alice", "GET", target)
    for name in ("User-Agent", "X-Request-Id", "X-Forwarded-For", "traceparent"):
        for said in (FORGED[4:].encode().decode("latin-1"), "zq\x9b2J\xe2\x80\xae"):
            await teller.tell(node, "alice", "GET", "/v1/streams", more={name: said})


async def driven(teller: Teller) -> None:
    """Everything, one life of the server after the other."""
    teller.configure()
    await teller.make_keys()
    async with teller.serving("first") as node:
        teller.secrets.stores.append(teller.secret_of(teller.place / "holdfast.db"))
        await bad_credentials(teller, node)
        await bad_bodies(teller, node)
        streams = await failing_answers(teller, node)
        await strangers(teller, node, streams)
        await overseen(teller, node, streams)
        await signed(teller, node, streams[-1])
        await leaving(teller, node)
        await commands(teller, node)
        await forging(teller, node)
        killed = await begun(teller, node)
        assert await node.end(signal.SIGKILL) == -signal.SIGKILL
    async with teller.serving("after a crash", log_format="console") as node:
        await teller.tell(node, "alice", "GET", f"/v1/streams/{killed}/events")
        await forging(teller, node)
        reading = asyncio.create_task(teller.asks(node, "alice", "gate"))
        log = teller.heaps.owner
        await served.until(lambda: _open(node, teller))
        assert await node.end(signal.SIGTERM) == 0
        await reading
        assert log
    async with teller.serving("with bugs", telling.BUGS) as node:
        teller.gate.set()
        for model in ("ok", "bug", "task"):
            stream = telling.stream_of(await teller.asks(node, "alice", model))
            await teller.tell(node, "alice", "GET", f"/v1/streams/{stream}")
        assert await node.end(signal.SIGTERM) == 0
    for args in (("seal", "status"), ("config", "show")):
        done = await teller.command(*args)
        assert done.code == 0, done.err
        teller.heaps.operator[" ".join(args)] = (done.out + done.err).encode()


async def _open(node: telling.Node, teller: Teller) -> bool:
    """Whether somebody reads."""
    found = await harness.ask(node.port, "GET", "/v1/connections", teller.headers("alice"))
    return any(one["status"] == "streaming" for one in found.json()["connections"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Teller]:
    teller = Teller(tmp_path_factory.mktemp("canaries"), tmp_path_factory.mktemp("said"))
    async with teller.provider, teller.issuer:
        await driven(teller)
    yield teller


def leaks(found: Mapping[str, bytes], search: canaries.Search) -> list[str]:
    return [f"{where}: {what}" for where, data in found.items() for what in search(data)]


@pytest.mark.case("4.9")
async def test_everything_was_met(told: Teller) -> None:
    """Or nothing below would show anything."""
    assert told.heaps.statuses >= {200, 202, 400, 401, 403, 404, 413, 415, 422, 429, 431, 500}
    assert told.heaps.codes >= {
        *("provider_auth", "provider_rejected", "provider_rate_limited", "provider_failed"),
        *("provider_interrupted", "provider_timeout", "provider_malformed", "cancelled"),
        *("provider_unreachable", "token_limit", "request_limit", "unauthorized", "forbidden"),
    }
    owners = b"".join(told.heaps.owner.values())
    assert told.secrets.answer.encode() in owners
    shown = b"".join(told.heaps.strangers.values())
    assert b'"code":"provider_auth","provider":"vendor"' in shown  # /v1/errors
    assert b'"what":"first_chunk"' in shown
    logs = told.heaps.operator
    said = [msgspec.json.decode(line) for line in logs["first, log"].splitlines()]
    assert {"stream_ended", "request_ended"} <= {line["event"] for line in said}
    asked = [line for line in said if line["event"] == "request_ended"]
    assert {line["status"] for line in asked} >= {200, 201, 400, 401, 403, 404, 429}
    assert any("stream" in line and "connection" in line for line in asked)
    assert b"orphans_adopted" in logs["after a crash, log"]
    for event in (b"request_failed", b"callback_failed", b'"finalizer"', b'"thread"'):
        assert event in logs["with bugs, log"]
    assert len(told.secrets.stores) == 2


@pytest.mark.case("4.9")
async def test_the_operator_is_told_no_secret(told: Teller) -> None:
    assert leaks(told.heaps.operator, canaries.Search(told.secrets.everything())) == []


@pytest.mark.case("4.9")
async def test_strangers_are_told_nothing(told: Teller) -> None:
    """Nor is the owner, in an error that is not her stream's."""
    assert leaks(told.heaps.strangers, canaries.Search(told.secrets.everything())) == []


@pytest.mark.case("4.23")
@pytest.mark.case("4.9")
async def test_the_owner_is_told_no_key(told: Teller) -> None:
    assert leaks(told.heaps.owner, canaries.Search(told.secrets.credentials())) == []


@pytest.mark.case("4.25")
@pytest.mark.case("4.9")
async def test_the_stores_hold_nothing_that_can_be_read(told: Teller) -> None:
    """Neither a key nor a word, in the files, their WAL and what lies beside them, while they were
    written and at the end."""
    stored = {**told.heaps.stored, **told.stored()}
    for life in ("first", "after a crash", "with bugs"):
        assert {f"{life}, holdfast.db", f"{life}, holdfast-archive.db"} <= stored.keys()
    assert any(name.endswith("-wal") and data for name, data in stored.items())
    stored |= {f"{name}, expanded": canaries.expanded(data) for name, data in stored.items()}
    assert leaks(stored, canaries.Search(told.secrets.everything())) == []


@pytest.mark.case("4.20")
async def test_no_line_of_the_log_is_a_caller_s(told: Teller) -> None:
    """Whether it is for machines or for people; each line begins as ours do, and has nothing that a
    terminal obeys."""
    begins = {
        "first": re.compile(r'\{"timestamp":"[^"]{24}","level":"\w+","event":"\w+"[,}]'),
        "after a crash": re.compile(
            r"[0-9TZ:.-]{24} (debug|info|warning|error) +[a-z_]+($| )|    |holdfast "
        ),
    }
    for life, begin in begins.items():
        lines = told.heaps.operator[f"{life}, log"].decode().split("\n")[:-1]
        assert any("zq" in line for line in lines)
        for line in lines:
            assert line.isprintable(), (life, line)
            assert begin.match(line), (life, line)
            assert " forged" not in line[:60], (life, line)


MISTAKES = {
    "a key in two words": '[providers.x]\nkind = "openai"\napi_key = "SECRET SECRET"\n',
    "a key over two lines": '[providers.x]\nkind = "openai"\napi_key = "SECRET\\nSECRET"\n',
    "a key without quotes": '[providers.x]\nkind = "openai"\napi_key = SECRET\n',
    "a key without an end": '[providers.x]\nkind = "openai"\napi_key = "SECRET\n',
    "a key as a number": '[providers.x]\nkind = "openai"\napi_key = ["SECRET"]\n',
    "a key for its variable": '[providers.x]\nkind = "openai"\napi_key_env = "SECRET+"\n',
    "a key by another name": '[providers.x]\nkind = "openai"\napikey = "SECRET"\n',
    "a key in an address": '[providers.x]\nkind = "openai"\nbase_url = "http://u:SECRET@x/"\n',
    "a key in a query": '[providers.x]\nkind = "openai"\nbase_url = "nowhere?key=SECRET"\n',
    "a password of a proxy": '[network]\nhttps_proxy = "http://u:SECRET@x:99999"\n',
    "another proxy": '[network]\nhttp_proxy = "socks5://u:SECRET@x"\n',
    "a log with a password": '[log]\nurl = "redis://:SECRET@x?a"\n',
    "an archive with a password": '[archive]\nurl = "postgres://u:SECRET@x/db#a"\n',
    "an issuer with a key": '[jwt]\nissuer="x"\naudience="x"\nkeys_url = "http://x/?k=SECRET"\n',
    "a key ring that is none": '[sealing]\nring = ["SECRET"]\n',
    "a table that is a text": 'providers = "SECRET"\n',
    "a provider that is a text": '[providers]\nx = "SECRET"\n',
}


@pytest.mark.case("4.9")
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_wrong_settings_are_told_without_their_values(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Teller(tmp_path, tmp_path)
    secret = teller.secrets.mistyped
    text = MISTAKES[mistake].replace("SECRET", secret)
    (tmp_path / "holdfast.toml").write_text(text, encoding="utf-8")
    search = canaries.Search([canaries.Canary("mistyped", secret)])
    done = await teller.command("serve", "--port", "0")
    assert done.code == 1, done
    assert search((done.out + done.err).encode()) == []
    monkeypatch.chdir(tmp_path)
    for command in (["config", "check"], ["config", "show"], ["keys", "list"]):
        said = testing.CliRunner().invoke(cli.main, command, catch_exceptions=False)
        assert said.exit_code == 1, command
        assert search((said.stdout + said.stderr).encode()) == []


@pytest.mark.case("4.9")
async def test_wrong_variables_are_told_without_their_values(tmp_path: Path) -> None:
    teller = Teller(tmp_path, tmp_path)
    secret = teller.secrets.mistyped
    search = canaries.Search([canaries.Canary("mistyped", secret)])
    (tmp_path / "holdfast.toml").write_text('[providers.x]\nkind = "openai"\n')
    for name, value in {
        "OPENAI_API_KEY": f"{secret} {secret}",
        "HOLDFAST_PROVIDERS__X__API_KEY": f"{secret}\n{secret}",
        "HOLDFAST_PROVIDERS__X__APIKEY": secret,
        "HOLDFAST_SEALING__RING": f'{{"version":1,"keys":[{{"secret":"{secret}"}}]}}',
        "HOLDFAST_LOG__URL": f"redis://:{secret}@x",
        "HTTPS_PROXY": f"http://u:{secret}@x:99999",
        "OPENAI_BASE_URL": f"http://u:{secret}@x/",
    }.items():
        done = await teller.command("serve", "--port", "0", env={name: value})
        assert done.code == 1, (name, done)
        assert search((done.out + done.err).encode()) == [], name
