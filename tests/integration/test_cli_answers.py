"""The client's commands against a real server: `ask`, `tail`, `streams`.

Strategy: the commands run in this process, the server in a thread, so that a table of cases
takes no start of a process. What only a process shows (pipes, terminals, Ctrl-C) is in
test_cli_processes.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from click import testing
from tests.integration import asking, harness, server_in_thread
from tests.unit.client import scripted

from holdfast import client
from holdfast.cli import asking as asking_command
from holdfast.cli import main
from holdfast.client import background

PROMPT = "Hm?\n/demo rate=10000 tokens=12 reasoning=4 tool=1 unicode=1"


@pytest.fixture(scope="module")
def server() -> Iterator[harness.Running]:
    with server_in_thread.running() as running:
        yield running


@pytest.fixture(scope="module")
def answered(server: harness.Running) -> str:
    """The id of an answer that is complete."""
    with client.Client(server.url) as asked, asked.stream(model="demo", prompt=PROMPT) as answer:
        answer.final()
        return answer.stream_id


def run(url: str, *args: str, stdin: bytes = b"", key: str | None = None) -> testing.Result:
    env = {"HOLDFAST_URL": url, "HOLDFAST_API_KEY": key}
    return testing.CliRunner().invoke(
        main, args, env=env, input=stdin, catch_exceptions=False, prog_name="holdfast"
    )


def fetch(server: harness.Running, target: str) -> harness.Response:
    return asyncio.run(harness.ask(server.port, "GET", target))


def lines(text: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in text.splitlines()]


def check_failed(done: testing.Result, code: str) -> None:
    """The last line on stderr says why."""
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("holdfast: ")
    assert last.endswith(f" [{code}]")


# tail


def test_tail_prints_the_text_and_the_rest_on_stderr(
    server: harness.Running, answered: str
) -> None:
    text = asking.content(fetch(server, f"/v1/streams/{answered}/events").body)
    for named in (answered, f"{server.url}/v1/streams/{answered}", f"/v1/streams/{answered}"):
        done = run(server.url, "tail", named)
        assert (done.exit_code, done.stdout) == (0, text + "\n")
        call, summary = done.stderr.splitlines()
        assert call.startswith("[tool call look_up] {")
        assert summary.endswith(f", tool_calls, stream {answered}]")
    thought = run(server.url, "tail", "--reasoning", answered)
    assert thought.stdout == done.stdout
    assert re.match(r" \w.*\n\[tool call look_up\] ", thought.stderr)
    quiet = run(server.url, "tail", "--quiet", answered)
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, done.stdout, "")


def test_tail_as_json_is_what_is_on_the_wire(server: harness.Running, answered: str) -> None:
    wire = harness.said(fetch(server, f"/v1/streams/{answered}/events").body)
    done = run("http://127.0.0.1:1", "tail", "--json", f"{server.url}/v1/streams/{answered}/events")
    assert done.exit_code == 0
    said = [{"id": one.id, "event": one.event, "data": one.data} for one in wire]
    assert lines(done.stdout) == said
    rest = run(server.url, "tail", "--json", "--quiet", "--after", wire[4].id or "", answered)
    assert lines(rest.stdout) == said[5:]
    assert rest.stderr == ""


def test_tail_after_the_end_says_how_it_ended(server: harness.Running, answered: str) -> None:
    end = fetch(server, f"/v1/streams/{answered}").json()["position"]
    done = run(server.url, "tail", "--after", end, answered)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "\n", "")
    with client.Client(server.url) as asked:
        with asked.stream(model="demo", prompt="/demo error_at=2 rate=1000") as answer:
            list(answer)
        after = str(answer.position)
    check_failed(run(server.url, "tail", "--after", after, answer.stream_id), "provider_failed")
    failed = run(server.url, "tail", answer.stream_id)
    check_failed(failed, "provider_failed")
    assert len(failed.stdout.split()) == 2
    as_json = run(server.url, "tail", "--json", answer.stream_id)
    check_failed(as_json, "provider_failed")
    assert lines(as_json.stdout)[-1]["event"] == "error"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nonsense"], "stream_not_found"),
        (["0123456789abcdefghijklmnOP"], "stream_not_found"),
        (["http://127.0.0.1:1/v1/streams/0123456789abcdefghijklmnOP"], "gave_up"),
        (["http://127.0.0.1:1/"], "invalid_field"),
        (["--url", "localhost", "0123456789abcdefghijklmnOP"], "invalid_field"),
        (["--after", "7", "0123456789abcdefghijklmnOP"], "malformed_position"),
        (["--after", "1-9", "0123456789abcdefghijklmnOP"], "stream_not_found"),
        (["--ca-file", "/nowhere.pem", "0123456789abcdefghijklmnOP"], "settings_error"),
    ],
)
def test_tail_tells_an_error_in_one_line(
    args: list[str], code: str, server: harness.Running
) -> None:
    done = run(server.url, "tail", *args)
    check_failed(done, code)
    assert len(done.stderr.splitlines()) == 1


class Scripted:
    """A server that tells a story as its scenes have it, in a thread."""

    def __init__(self, *scenes: scripted.Scene) -> None:
        self.server = scripted.Server(scripted.plain(), *scenes)
        self.loop = background.Background(self.server.close)
        self.loop.run(self.server.open)

    def __enter__(self) -> scripted.Server:
        return self.server

    def __exit__(self, *_: object) -> None:
        self.loop.close()


STORY = scripted.plain()
BEGUN = [scripted.chunk(block) for block in STORY.blocks()[:3]]
REST = [scripted.chunk(block) for block in STORY.blocks()]
TEXT = "".join(scripted.TEXTS)


def test_tail_survives_a_cut() -> None:
    with Scripted(scripted.says(scripted.begin(), *BEGUN, reset=True)) as server:
        done = run(server.url, "tail", scripted.STREAM, key="k-1")
        assert (done.exit_code, done.stdout) == (0, TEXT + "\n")
        assert done.stderr.endswith(", 1 reconnects]\n")
        assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer k-1"] * 2


def test_tail_as_json_tells_what_is_no_utf_8() -> None:
    """As a server to come may send it: in what we do not know of an event."""
    first, *rest = STORY.blocks()
    broken = [first.replace(b'"request_id"', b'"news":"a\xff","request_id"'), *rest]
    assert broken[0] != first
    scene = [*map(scripted.chunk, broken), scripted.END]
    with Scripted(scripted.says(scripted.begin(), *scene)) as server:
        done = run(server.url, "tail", "--json", scripted.STREAM)
        assert done.exit_code == 0
        assert lines(done.stdout)[0]["data"]["news"] == "a\ufffd"


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    with Scripted(scripted.says(STORY.response())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "other.invalid")
        done = run("http://holdfast.invalid", "tail", scripted.STREAM)
        assert (done.exit_code, done.stdout) == (0, TEXT + "\n")
        line = f"GET http://holdfast.invalid/v1/streams/{scripted.STREAM}/events HTTP/1.1"
        assert [asked.line for asked in proxy.asked] == [line]
        check_failed(run("http://other.invalid", "tail", scripted.STREAM), "gave_up")
        assert len(proxy.asked) == 1


def test_a_proxy_that_cannot_be_used_stops_only_who_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost;127.*;<local>")
    with Scripted() as server:
        assert run(server.url, "tail", scripted.STREAM).exit_code == 0
    check_failed(run("http://holdfast.invalid", "tail", scripted.STREAM), "settings_error")


def test_a_redirect_is_told_with_what_to_do() -> None:
    head = b"HTTP/1.1 301 x\r\nContent-Length: 0\r\nLocation: https://other.example/x\r\n\r\n"
    with Scripted(scripted.says(head)) as server:
        done = run(server.url, "ask", "Hello")
        check_failed(done, "request_refused")
        assert "--url" in done.stderr


def test_the_key_of_the_environment_goes_to_no_other_server() -> None:
    with Scripted() as server:
        url = f"{server.url}/v1/streams/{scripted.STREAM}"
        assert run("http://127.0.0.1:1", "tail", url, key="k-1").exit_code == 0
        assert run("http://127.0.0.1:1", "tail", "--api-key", "k-2", url).exit_code == 0
        keys = [asked.headers.get("authorization") for asked in server.asked]
        assert keys == [None, "Bearer k-2"]


def rewinding() -> Scripted:
    whole = scripted.chunk(scripted.REWIND)
    return Scripted(scripted.says(scripted.begin(), *BEGUN, whole, *REST, scripted.END))


def test_a_rewind_is_told_and_the_answer_follows() -> None:
    with rewinding() as server:
        done = run(server.url, "tail", scripted.STREAM)
        assert done.exit_code == 0
        assert done.stdout == f"{''.join(scripted.TEXTS[:2])}\n{TEXT}\n"
        assert done.stderr.startswith("[rewind: unknown_position; what was written above is void")
    with rewinding() as server:
        said = lines(run(server.url, "tail", "--json", scripted.STREAM).stdout)
        rewind = {"id": None, "event": "rewind", "data": {"reason": "unknown_position"}}
        assert said[3] == rewind
        assert [one["event"] for one in said[4:6]] == ["start", "chunk"]
        assert said[4]["id"] == STORY.id(1)


def test_ask_into_a_pipe_fails_where_the_pipe_got_void_text() -> None:
    with rewinding() as server:
        done = run(server.url, "ask", "Why?")
        check_failed(done, "rewound")
        assert done.stdout.endswith(f"\n{TEXT}\n")
    with rewinding() as server:
        assert run(server.url, "ask", "--json", "Why?").exit_code == 0


# ask


def test_ask_as_json_says_the_stream_too(server: harness.Running) -> None:
    done = run(server.url, "ask", "--json", "--quiet", "-m", "demo-fast", "--system", "x", "Hello")
    assert (done.exit_code, done.stderr) == (0, "")
    said = lines(done.stdout)
    assert [said[0]["event"], said[-1]["event"]] == ["start", "complete"]
    assert said[0]["data"]["model"] == "demo-fast"
    assert said[-1]["id"].startswith(said[0]["data"]["stream_id"])


@pytest.mark.parametrize("args", [[], ["-"]])
def test_ask_reads_what_is_piped(args: list[str], server: harness.Running) -> None:
    said = "Kelp 🌊\n/demo rate=10000 tokens=4".encode()
    done = run(server.url, "ask", *args, stdin=said)
    assert (done.exit_code, done.stdout) == (0, "You asked: “Kelp 🌊”\n")


@pytest.mark.parametrize(
    ("stdin", "why"), [(b"", "empty"), (b" \n", "empty"), (b"\xff", "UTF-8"), (b"x" * 9, "over 8")]
)
def test_ask_refuses_what_is_no_prompt(
    stdin: bytes, why: str, server: harness.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_command, "MAX_PROMPT", 8)
    done = run(server.url, "ask", stdin=stdin)
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_ask_tells_of_more_choices(server: harness.Running) -> None:
    """`n` is no option of `ask`, so `tail` has to do."""
    with client.Client(server.url) as asked:
        ask = asked.stream(model="demo", prompt="/demo rate=1000 tokens=3", n=2)
        with ask as answer:
            final = answer.final()
    done = run(server.url, "tail", answer.stream_id)
    assert done.stdout == final.choice(0).content + "\n"
    assert done.stderr.endswith(", the first of 2 choices]\n")


# streams


def test_streams_list_is_a_table(server: harness.Running, answered: str) -> None:
    listed = run(server.url, "streams", "list", "--status", "completed")
    assert (listed.exit_code, listed.stderr) == (0, "")
    head, *rows = listed.stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "MODEL", "CREATED", "(UTC)"]
    (row,) = [row for row in rows if row.startswith(answered)]
    assert re.fullmatch(r"\S+ +completed +demo/demo +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row)
    assert max(map(len, listed.stdout.splitlines())) <= 80


def test_streams_list_pages_and_filters(server: harness.Running, answered: str) -> None:
    with client.Client(server.url) as asked:
        for _ in range(3):
            metadata = {"session_id": "s 1\x1b"}
            with asked.stream(
                model="demo", prompt="/demo tokens=1 rate=1000", metadata=metadata
            ) as answer:
                answer.final()
        whole = asked.streams(session_id="s 1\x1b")
    listed = run(server.url, "streams", "list", "--json", "--session", "s 1\x1b")
    assert listed.stdout == msgspec.json.encode(whole).decode() + "\n"
    assert len(whole["streams"]) == 3
    first = run(server.url, "streams", "list", "--session", "s 1\x1b", "--limit", "2")
    assert len(first.stdout.splitlines()) == 3
    more = re.fullmatch(r"\[more: --before (\S+)\]\n", first.stderr)
    assert more
    rest = run(server.url, "streams", "list", "--session", "s 1\x1b", "--before", more[1])
    assert rest.stdout.splitlines()[1].split()[0] == whole["streams"][2]["id"]
    none = run(server.url, "streams", "list", "--client", "nobody")
    assert (none.exit_code, len(none.stdout.splitlines())) == (0, 1)


def test_streams_show_gives_facts_then_the_text(server: harness.Running, answered: str) -> None:
    shown = run(server.url, "streams", "show", f"{server.url}/v1/streams/{answered}")
    assert (shown.exit_code, shown.stderr) == (0, "")
    facts, _, text = shown.stdout.partition("\n\n")
    known = fetch(server, f"/v1/streams/{answered}").json()
    assert text == known["content"] + "\n"
    for name in ("id", "status", "sha256", "position"):
        assert re.search(rf"^{name} +{re.escape(known[name])}$", facts, re.MULTILINE)
    assert re.search(r"^tool call +look_up\(\{", facts, re.MULTILINE)
    as_json = run(server.url, "streams", "show", "--json", answered)
    assert as_json.stdout == msgspec.json.encode(known).decode() + "\n"


def test_streams_show_tells_the_whole_story(server: harness.Running, answered: str) -> None:
    shown = run(server.url, "streams", "show", "--timeline", answered)
    assert (shown.exit_code, shown.stderr) == (0, "")
    known = fetch(server, f"/v1/streams/{answered}/timeline").json()
    rows = [line.split("  ") for line in shown.stdout.splitlines()]
    told = [row[1].strip() for row in rows if row[0].strip().endswith(" s")]
    assert told == [entry["what"] for entry in known["entries"]]
    assert {"start", "first_chunk", "complete"} <= set(told)
    as_json = run(server.url, "streams", "show", "--timeline", "--json", answered)
    assert as_json.stdout == msgspec.json.encode(known).decode() + "\n"


def test_streams_show_says_what_a_story_lacks() -> None:
    entry = b'{"after_ms": 5, "what": "start", "detail": {"provider": "a"}, "at": "x"}'
    said = b'{"entries": [%b], "truncated": true, "nodes": [{"id": "a", "answered": %b}], %b}'
    whole, part = (b"true", b'"archive_answered": true'), (b"false", b'"archive_answered": true')
    answers = [scripted.refusal(200, said % (entry, *one)) for one in (whole, part)]
    with Scripted(*map(scripted.says, answers)) as server:
        for notes in (1, 2):
            shown = run(server.url, "streams", "show", "--timeline", scripted.STREAM)
            assert shown.stdout.splitlines()[1].split() == ["0.005", "s", "start", "provider", "a"]
            assert len(shown.stderr.splitlines()) == notes


def test_streams_show_tells_the_error(server: harness.Running) -> None:
    prompt = "/demo status=429"
    with client.Client(server.url) as asked, asked.stream(model="demo", prompt=prompt) as answer:
        list(answer)
    shown = run(server.url, "streams", "show", answer.stream_id)
    assert shown.exit_code == 0
    assert re.search(r"^error .*\[provider_rate_limited\]$", shown.stdout, re.MULTILINE)
    check_failed(run(server.url, "streams", "show", "nonsense"), "stream_not_found")


@pytest.mark.parametrize("option", ["--wait", "--no-wait", "--json"])
def test_streams_cancel_waits_for_the_end(option: str, server: harness.Running) -> None:
    args = [] if option == "--wait" else [option]
    with client.Client(server.url) as asked:
        with asked.stream(model="demo", prompt="/demo stall_at=2 rate=1000") as answer:
            next(answer)
        done = run(server.url, "streams", "cancel", *args, answer.stream_id)
        assert done.exit_code == 0
        with asked.resume(answer.stream_id) as answer:
            assert list(answer)[-1].kind == "error"
        status = asked.get(answer.stream_id)["status"]
    assert status == "cancelled"
    if option == "--wait":
        assert done.stdout == f"{answer.stream_id} cancelled\n"
    elif option == "--json":
        assert msgspec.json.decode(done.stdout)["status"] == "cancelled"
    again = run(server.url, "streams", "cancel", answer.stream_id)
    assert again.stdout == f"{answer.stream_id} cancelled\n"


def row(status: str, completed_at: str | None) -> bytes:
    entry = {
        "id": scripted.STREAM, "status": status, "provider": "demo", "model": "demo",
        "created_at": "2026-01-01", "completed_at": completed_at, "position": STORY.id(3)[27:],
    }  # fmt: skip
    return scripted.refusal(202, msgspec.json.encode(entry))


def test_streams_cancel_reads_to_the_end_before_it_tells() -> None:
    answers = [scripted.says(row("streaming", None)), None, scripted.says(row("ended", "now"))]
    for option, asks in ((), 4), (("--no-wait",), 1):
        with Scripted() as server:
            rest = scripted.says(scripted.begin(), scripted.chunk(STORY.block(4)))  # and a cut
            server.scenes = [scene or rest for scene in answers]
            server.scenes.insert(2, scripted.says(STORY.response(4)))
            done = run(server.url, "streams", "cancel", *option, scripted.STREAM)
            said = "ended" if asks == 4 else "streaming"
            assert (done.exit_code, done.stdout) == (0, f"{scripted.STREAM} {said}\n")
            path = f"/v1/streams/{scripted.STREAM}"
            lines = [f"POST {path}/cancel", *[f"GET {path}/events"] * 2, f"POST {path}/cancel"]
            assert [asked.line for asked in server.asked] == [
                f"{line} HTTP/1.1" for line in lines[:asks]
            ]
            after = [asked.headers.get("last-event-id") for asked in server.asked]
            assert after == [None, STORY.id(3), STORY.id(4), None][:asks]


def test_streams_cancel_leaves_what_has_ended(server: harness.Running, answered: str) -> None:
    done = run(server.url, "streams", "cancel", answered)
    assert (done.exit_code, done.stdout) == (0, f"{answered} completed\n")


def test_a_server_of_another_kind_is_told() -> None:
    other = [scripted.says(scripted.refusal(200, b'{"streams": 1, "id": 2}')) for _ in range(4)]
    with Scripted(*other) as server:
        commands = (["list"], ["show"], ["show", "--timeline"], ["cancel"])
        for name, *options in commands:
            command = [name, *options, *([] if name == "list" else [scripted.STREAM])]
            check_failed(run(server.url, "streams", *command), "client_error")
