"""`serve` and `demo` in this process, from the start to the signal.

As processes they are in tests/integration/test_cli.py.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click import testing
from tests.unit.cli import terminals

from holdfast import settings
from holdfast.cli import main, serving


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a server sets for its process is as it was; no file and no variable of ours is read."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    for module, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    log, threshold = structlog.get_config(), gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    structlog.configure(**log)


def test_a_demo_serves_until_it_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    # It answers by itself: what is wrong with the way to others is no concern of its.
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example")
    monkeypatch.setenv("NO_PROXY", "localhost;127.*;<local>")
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    streams = terminals.Streams(monkeypatch, out=False, err=False)
    over, answered = threading.Event(), []

    def interrupt() -> None:
        while not over.wait(0.001):
            if found := re.search(r"serves (http://127\.0\.0\.1:\d+), log memory://", streams.err):
                with urllib.request.urlopen(f"{found[1]}/healthz") as answer:
                    answered.append(answer.status)
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        main(["demo", "--port", "0"], prog_name="holdfast", standalone_mode=False)
    finally:
        over.set()
        thread.join()
    assert answered == [200]
    assert streams.out == ""
    assert "curl -N http://127.0.0.1:" in streams.err
    assert gc.get_threshold() == serving.GC_THRESHOLD


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["serve", "--port", "{port}", "--log-url", "memory://"], "port_taken"),
        (["serve", "--port", "0", "--log-url", "kafka://x"], "settings_error"),
        (["serve", "--port", "0", "--config", "missing.toml"], "settings_error"),
        (["demo", "--port", "{port}"], "port_taken"),
        (["demo", "--port", "0", "--log-url", "sqlite:///missing/log.db"], "log_unavailable"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(args: list[str], code: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [arg.format(port=port) for arg in args]
        done = testing.CliRunner().invoke(main, given, catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("holdfast: ")
    assert line.endswith(f" [{code}]")


def test_an_ipv6_address_is_spelt_as_in_a_url() -> None:
    assert serving._spell("::1") == "[::1]"
    assert serving._spell("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:9000/v1", "127.0.0.1"),
        ("http://localhost:9000/v1", "127.0.0.1"),
        ("http://127.0.0.1:9000", "localhost"),
        ("http://[::1]:9000", "::1"),
        ("http://127.0.0.7:9000", "0.0.0.0"),
        ("http://llm.example:9000", "llm.example"),
    ],
)
def test_a_provider_at_the_server_s_own_address_is_refused(
    url: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base URL that clients are given, in the shell in which the server is started."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("HOLDFAST_SERVER__HOST", host)
    monkeypatch.setenv("HOLDFAST_SERVER__PORT", "9000")
    for command in (["serve", "--port", "9000"], ["config", "check"]):
        done = testing.CliRunner().invoke(main, command)
        assert done.exit_code == 1
        assert f"providers.openai.base_url: {url} is the address of this server" in done.stderr


def test_the_address_that_a_kind_has_by_itself_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PROVIDERS__LOCAL__KIND", "vllm")
    done = testing.CliRunner().invoke(main, ["serve", "--port", "8000"])
    assert done.exit_code == 1
    assert "providers.local.base_url: http://localhost:8000/v1 is" in done.stderr


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:9001/v1", "127.0.0.1"),
        ("https://127.0.0.1:9000/v1", "127.0.0.1"),
        ("http://127.0.0.1:9000/v1", "192.0.2.1"),
        ("http://llm.example:9000/v1", "0.0.0.0"),
        ("http://127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_provider_beside_the_server_is_none_of_its_own(url: str, host: str) -> None:
    row = settings.Provider(kind="openai_chat", base_url=url)
    server = settings.Server(host=host, port=9000)
    serving.check_providers(settings.Settings(server=server, providers={"near": row}))
