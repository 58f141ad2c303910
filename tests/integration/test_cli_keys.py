"""Keys from the command line to the server: `keys`, `serve`, and the client's commands with a key.

Strategy: the commands run in this process and the server in a thread, as in test_cli_answers; what
only a process shows (what a start says and refuses, a variable that takes the key) is started. A
server looks for changes of its keys as often as its heartbeat allows, so a test sets that; it waits
for what it needs to see.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import testing
from tests.integration import asking, harness, processes, server_in_thread

from holdfast import client, errors
from holdfast.access import gate
from holdfast.cli import main

README = Path(__file__).resolve().parents[2] / "README.md"

FAST = "/demo rate=10000 tokens=5"
SOON: dict[str, Any] = {"heartbeat_interval": 0.2}
"""Changes of the keys are looked for every 50 ms."""


class Node(msgspec.Struct, frozen=True):
    """A server, and the log that its keys lie beside."""

    server: harness.Running
    log_url: str

    def keys(self, *args: str) -> testing.Result:
        return holdfast("keys", *args, "--log-url", self.log_url)

    def key(self, name: str = "test", *args: str) -> str:
        """A new one, which the server knows already."""
        done = self.keys("create", name, *args)
        assert done.exit_code == 0
        key: str = done.stdout.strip()
        until(lambda: self.asked(key) != 401)
        return key

    def asked(self, key: str | None) -> int:
        """The status of a call that needs no scope of its own."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        target = "/v1/streams/0123456789abcdefghijklmnOP"
        return asyncio.run(harness.ask(self.server.port, "GET", target, headers)).status

    def run(self, key: str | None, *args: str) -> testing.Result:
        """A command with this key in its variable."""
        return holdfast(*args, HOLDFAST_URL=self.server.url, HOLDFAST_API_KEY=key)


def holdfast(*args: str, **env: str | None) -> testing.Result:
    return testing.CliRunner().invoke(
        main, args, env=env, catch_exceptions=False, prog_name="holdfast"
    )


def until(true: Callable[[], bool]) -> None:
    """Returns when it is true; asking is what takes the time."""
    over = threading.Event()
    timer = threading.Timer(harness.PATIENCE, over.set)
    timer.start()
    try:
        while not true():
            assert not over.is_set(), "it was waited for in vain"
    finally:
        timer.cancel()


@contextlib.contextmanager
def serving(folder: Path, **server: Any) -> Iterator[Node]:
    """A node with a log and keys in this folder; it has one key, so that it lets in nobody else."""
    log_url = f"sqlite:///{folder}/log.db"
    first = holdfast("keys", "create", "first", "--log-url", log_url)
    assert first.exit_code == 0
    config = harness.configured(log_url, server=server or SOON)
    with server_in_thread.running(config) as running:
        yield Node(running, log_url)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with serving(tmp_path_factory.mktemp("node")) as found:
        yield found


@pytest.fixture(scope="module")
def key(node: Node) -> str:
    return node.key("web")


@pytest.fixture(scope="module")
def answered(node: Node, key: str) -> str:
    """The id of an answer that this key asked for."""
    with client.Client(node.server.url, key) as asked:
        with asked.stream(model="demo", prompt=FAST) as answer:
            answer.final()
        return answer.stream_id


def check_refused(done: testing.Result, code: str, *words: str) -> None:
    """All that was said is one line."""
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("holdfast: ")
    assert line.endswith(f" [{code}]")
    for word in words:
        assert word in line
    assert "hfk_" not in line


# With a key


def test_every_command_works_with_the_key_of_the_variable(node: Node, key: str) -> None:
    asked = node.run(key, "ask", FAST)
    assert (asked.exit_code, len(asked.stdout.split())) == (0, 5)
    found = re.search(r", stream (\w{32})\]\n$", asked.stderr)
    assert found
    tailed = node.run(key, "tail", "--quiet", found[1])
    assert (tailed.exit_code, tailed.stdout, tailed.stderr) == (0, asked.stdout, "")
    assert found[1] in node.run(key, "streams", "list").stdout
    assert asked.stdout.strip() in node.run(key, "streams", "show", found[1]).stdout
    assert node.run(key, "streams", "cancel", found[1]).stdout == f"{found[1]} completed\n"
    typed = node.run(None, "ask", "--quiet", "--api-key", key, FAST)
    assert (typed.exit_code, typed.stdout) == (0, asked.stdout)


ID = "0123456789abcdefghijklmnOP"
COMMANDS = [
    ("ask", FAST),
    ("tail", ID),
    ("streams", "list"),
    ("streams", "show", ID),
    ("streams", "cancel", ID),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (None, "Set HOLDFAST_API_KEY"),
        ("sk-another-s", "HOLDFAST_API_KEY was sent"),
        (f"hfk_{'0' * 12}_{'0' * 43}", "HOLDFAST_API_KEY was sent"),
    ],
    ids=["none", "another's", "unknown"],
)
def test_who_has_no_valid_key_is_told_in_one_line(
    node: Node, command: tuple[str, ...], sent: str | None, word: str
) -> None:
    done = node.run(sent, *command)
    check_refused(done, "unauthorized", word)
    assert sent is None or sent not in done.stderr


def test_a_key_of_another_server_is_not_sent_and_that_is_told(node: Node, key: str) -> None:
    url = f"{node.server.url}/v1/streams/{ID}"
    done = holdfast("tail", url, HOLDFAST_URL="http://127.0.0.1:1", HOLDFAST_API_KEY=key)
    check_refused(done, "unauthorized", "HOLDFAST_API_KEY is for the server of --url alone")


def test_a_scope_that_is_missing_is_told(node: Node, answered: str) -> None:
    reader, writer = node.key("r", "--scope", "read"), node.key("w", "--scope", "generate")
    assert node.run(writer, "ask", FAST).exit_code == 0
    for command in (("ask", FAST), ("streams", "cancel", answered)):
        check_refused(node.run(reader, *command), "forbidden", "the scope generate", "only read")
    for command in (("tail", answered), ("streams", "list"), ("streams", "show", answered)):
        check_refused(node.run(writer, *command), "forbidden", "the scope read", "only generate")
        assert node.run(reader, *command).exit_code == 0


def test_a_stream_of_another_tenant_is_no_stream(node: Node, answered: str) -> None:
    other = node.key("other", "--tenant", "globex")
    root = node.key("root", "--tenant", "ops", "--scope", "admin")
    for command in (("tail",), ("streams", "show"), ("streams", "cancel")):
        check_refused(node.run(other, *command, answered), "stream_not_found")
    assert answered not in node.run(other, "streams", "list").stdout
    assert answered in node.run(root, "streams", "list").stdout
    user = node.key("alice", "--user", "alice")
    assert answered not in node.run(user, "streams", "list").stdout


# Limits


def test_a_request_too_many_is_told_with_the_time_to_wait(node: Node) -> None:
    # The server is asked once until it knows the key.
    key = node.key("slow", "--requests-per-minute", "2")
    assert node.run(key, "streams", "list").exit_code == 0
    for command in (("streams", "list"), ("ask", FAST), ("streams", "cancel", ID)):
        done = node.run(key, *command)
        check_refused(done, "request_limit", "2 requests a minute")
        assert re.search(r" Ask again in \d+ s\. \[", done.stderr)
    with (
        client.Client(node.server.url, key) as asked,
        pytest.raises(errors.RequestRefused) as refused,
    ):
        asked.stream(model="demo", prompt=FAST).__enter__()
    assert (refused.value.status, refused.value.code) == (429, "request_limit")
    assert refused.value.retryable
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 120


def test_an_answer_too_many_is_told(node: Node) -> None:
    key = node.key("one", "--streams", "1")
    with client.Client(node.server.url, key) as asked:
        with asked.stream(model="demo", prompt="/demo rate=1000 stall_at=2") as answer:
            next(answer)
            check_refused(node.run(key, "ask", FAST), "stream_limit", "1 answers under way")
        asked.cancel(answer.stream_id)
        until(lambda: asked.get(answer.stream_id)["status"] == "cancelled")
    until(lambda: node.run(key, "ask", FAST).exit_code == 0)


def test_an_answer_that_reaches_the_limit_ends_with_its_code(node: Node) -> None:
    key = node.key("few", "--tokens-per-day", "20")
    cut = node.run(key, "ask", "Tell me.\n/demo rate=1000 tokens=500")
    assert cut.exit_code == 1
    assert cut.stdout.startswith("You asked: ")
    assert cut.stderr.splitlines()[-1].endswith(" 20 tokens a day. [token_limit]")
    again = node.run(key, "ask", FAST)
    check_refused(again, "token_limit", "20 tokens a day")
    assert re.search(r" Ask again in \d+ h\. \[", again.stderr)


def test_a_model_without_a_price_is_told(node: Node) -> None:
    key = node.key("poor", "--cost-per-day", "2.5")
    done = node.run(key, "ask", FAST)
    check_refused(done, "forbidden", "demo has no price", "[prices]")


# Keys that come and go beside a running server


def test_a_new_key_is_taken_before_the_server_looks_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "REFRESH_SECONDS", 3600.0)
    with serving(tmp_path, heartbeat_interval=300.0, connection_timeout=600.0) as node:
        # It looks again in 75 s, which nobody waits for.
        for name in ("a", "b"):
            assert node.asked(node.key(name)) == 404
        assert node.asked(None) == 401


def test_a_server_that_was_open_asks_for_a_key_from_the_first_on(tmp_path: Path) -> None:
    log_url = f"sqlite:///{tmp_path}/log.db"
    with server_in_thread.running(harness.configured(log_url, server=SOON)) as running:
        node = Node(running, log_url)
        assert node.asked(None) == 404
        done = node.keys("create", "first")
        assert "from now on nobody is let in without a key" in done.stderr
        until(lambda: node.asked(None) == 401)
        assert node.asked(done.stdout.strip()) == 404
        node.keys("revoke", done.stdout.strip())
        until(lambda: node.asked(done.stdout.strip()) == 401)
        assert node.asked(None) == 401  # it does not open again


def test_a_revoked_key_is_refused_and_its_reader_told(node: Node) -> None:
    key = node.key("leaked")
    with client.Client(node.server.url, key) as asked:
        prompt = "/demo rate=1000 stall_at=3"
        with asked.stream(model="demo", prompt=prompt, flush_interval_ms=0) as answer:
            assert next(answer.text_stream)
            done = node.keys("revoke", key)
            assert (done.exit_code, done.stdout) == (0, f"{key[4:16]} revoked\n")
            with pytest.raises(errors.RequestRefused) as refused:
                answer.final()
            assert (refused.value.status, refused.value.code) == (401, "unauthorized")
            assert answer.so_far.choice().content
    check_refused(node.run(key, "tail", answer.stream_id), "unauthorized", "not valid here")
    # What it began is there for others of the tenant.
    other = node.key("other")
    assert node.run(other, "streams", "cancel", answer.stream_id).exit_code == 0


def test_a_key_ends_by_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    key = node.key("short", "--expires", "1h")
    access = node.server.service.access
    assert access is not None
    monkeypatch.setattr(access, "_clock", lambda: time.time() + 3600)
    check_refused(node.run(key, "streams", "list"), "unauthorized", "not valid here")


# What a start says


@contextlib.asynccontextmanager
async def everywhere(folder: Path) -> AsyncIterator[int]:
    """`serve --host 0.0.0.0`: its port."""
    process = await asyncio.create_subprocess_exec(
        *processes.COMMAND,
        *("serve", "--host", "0.0.0.0", "--port", "0"),
        cwd=folder,
        env=processes.environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said = await processes.announced(process)
        found = re.fullmatch(
            r"holdfast \S+ serves http://0\.0\.0\.0:(\d+), log \S+, keys \S+\n", said
        )
        assert found, said
        yield int(found[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_other_addresses_are_served_with_a_key_alone(tmp_path: Path) -> None:
    args = ("serve", "--host", "0.0.0.0", "--port", "0")
    done = await processes.run(*args, folder=tmp_path)
    assert (done.code, done.out) == (1, "")
    line = done.err.splitlines()[-1]
    file = (tmp_path / "holdfast-archive.db").resolve()
    assert line.startswith(f"holdfast: There is no key in {file} yet, so 0.0.0.0 would be open")
    assert "`holdfast keys create`" in line
    assert line.endswith(" [settings_error]")
    made = await processes.run("keys", "create", "web", folder=tmp_path)
    async with everywhere(tmp_path) as port:
        key = made.out.strip()
        answer = await harness.ask(port, "GET", "/v1/streams", {"Authorization": f"Bearer {key}"})
        assert answer.status == 200
        assert (await harness.ask(port, "GET", "/v1/streams")).status == 401
        # One that has ended is one all the same: the server does not open.
        await processes.run("keys", "revoke", key, folder=tmp_path)
    async with everywhere(tmp_path) as port:
        assert (await harness.ask(port, "GET", "/v1/streams")).status == 401


async def test_an_open_server_says_so_at_its_start_and_a_demo_does_not(tmp_path: Path) -> None:
    warning = "warning: there is no key, so every program of this machine may ask and read; "
    async with processes.serving(folder=tmp_path) as server:
        done = await server.end(signal.SIGTERM)
    assert warning in done.err
    async with processes.serving(folder=tmp_path, command="demo") as server:
        done = await server.end(signal.SIGTERM)
    assert "warning" not in done.err
    assert (await processes.run("keys", "create", "web", folder=tmp_path)).code == 0
    async with processes.serving(folder=tmp_path) as server:
        done = await server.end(signal.SIGTERM)
    assert "warning" not in done.err


# README


def section() -> list[str]:
    """The commands of README's section, a text for each block."""
    text = README.read_text(encoding="utf-8")
    part = text[text.index("\n## Let others in\n") :]
    part = part[: part.index("\n## ", 1)]
    assert len(part.strip().splitlines()) <= 30
    return re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


async def shell(folder: Path, script: str, **env: str) -> str:
    """What a script prints, in a folder where `.venv/bin/holdfast` is as in a checkout."""
    env["PATH"] = f"{folder}/.venv/bin:{os.environ['PATH']}"
    done = await processes.run("-e", "-c", script, command=("sh",), folder=folder, env=env)
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    return done.out


def checkout(folder: Path) -> None:
    """Puts the command where README has it, and what is used of `jq`, which not every machine has,
    beside it."""
    programs = {
        "holdfast": "from holdfast.cli import main\n\nmain()\n",
        "jq": "import json, sys\n\nprint(json.load(sys.stdin)[sys.argv[2].removeprefix('.')])\n",
    }
    folder = folder / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name, program in programs.items():
        (folder / name).write_text(f"#!{sys.executable}\n{program}")
        (folder / name).chmod(0o700)


async def test_readme_s_way_to_let_others_in(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    require("curl")
    checkout(tmp_path)
    before, after = section()
    lines = before.splitlines()
    assert lines.pop().partition("#")[0].strip() == ".venv/bin/holdfast serve --host 0.0.0.0 &"
    script = "\n".join([*lines, 'printf "%s" "$HOLDFAST_API_KEY"', ".venv/bin/holdfast keys list"])
    acme, own = (await shell(tmp_path, script)).split("\n", 1)
    key, table = own[:60], own[60:]
    assert acme.startswith("hfk_")
    assert key.startswith("hfk_")
    assert re.search(rf"^{key[4:16]}  web .*\n{acme[4:16]}  acme ", table, re.MULTILINE)
    async with everywhere(tmp_path) as port:
        here = f"127.0.0.1:{port}"
        asked = await shell(tmp_path, after.replace("127.0.0.1:8080", here), HOLDFAST_API_KEY=key)
        found = re.fullmatch(rf"new EventSource\('http://{re.escape(here)}(/.*)'\)\n", asked)
        assert found, asked
        read = await harness.ask(port, "GET", found[1])
        assert (read.status, asking.kinds(read.body)[-1]) == (200, "complete")
        path = found[1].partition("?")[0]
        assert (await harness.ask(port, "GET", path)).status == 401
        asked = await shell(
            tmp_path,
            f'.venv/bin/holdfast ask --url http://{here} --quiet "{FAST}"',
            HOLDFAST_API_KEY=acme,
        )
        assert len(asked.split()) == 5
