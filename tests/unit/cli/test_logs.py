"""Log lines: how they are drawn, who asks for which, and that no text of others breaks out of one.

Strategy: this process is configured as a server is, with a stream that keeps what is written, and
is as before at the end of each test.
"""

from __future__ import annotations

import errno
import gc
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from tests.unit.cli import terminals

from holdfast import errors, settings
from holdfast.cli import logs

SECRET = "the words of a prompt"


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    for module, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def said(log_format: str = "json", **more: Any) -> settings.Monitoring:
    given = {"log_format": log_format, **more}
    return settings.Settings.model_validate({"monitoring": given}).monitoring


def log() -> Any:
    return structlog.get_logger("holdfast")


def objects(streams: terminals.Streams) -> list[dict[str, Any]]:
    return [json.loads(line) for line in streams.err.splitlines()]


def piped(patch: pytest.MonkeyPatch) -> terminals.Streams:
    """Both streams as pipes, and no handler; from within a test, as pytest puts its own there
    before each."""
    patch.setattr(logging.root, "handlers", [])
    return terminals.Streams(patch, out=False, err=False)


def test_json_is_an_object_a_line_with_its_keys_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    facts = logs.configure(said())
    facts["worker"] = lambda: 3
    log().warning("discard_failed", stream="s", provider="p", status=500, error=None)
    (line,) = objects(streams)
    assert list(line) == ["timestamp", "level", "event", "worker", "stream", "provider", "status"]
    assert list(line.values())[1:] == ["warning", "discard_failed", 3, "s", "p", 500]
    assert len(line["timestamp"]) == len("2026-01-01T00:00:00.000Z")
    assert line["timestamp"][-1] == "Z"
    assert streams.out == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_key_of_ours_is_in_no_line(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    streams = piped(monkeypatch)
    logs.configure(said(log_format))
    log().info("request_ended", path="/v1/streams/hfk_abcdefghijkl_0123ABC/events", status=404)
    assert "/v1/streams/hfk_.../events" in streams.err
    assert "0123ABC" not in streams.err


def test_for_people_a_trace_stands_below(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    logs.configure(said("console"))
    log().error("job_failed", job="x y", trace="Traceback\n  one\x1b[2J\n", sure=True)
    first, *below = streams.err.splitlines()
    assert first[25:] == "error    job_failed job='x y' sure=True"
    assert below == ["    Traceback", "      one\\x1b[2J"]


@pytest.mark.parametrize(
    ("log_format", "terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("json", True, True),
        ("console", False, False),
    ],
)
def test_auto_is_for_people_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, log_format: str, terminal: bool, is_json: bool
) -> None:
    terminals.Streams(monkeypatch, out=False, err=terminal)
    assert logs.is_json(said(log_format), sys.stderr) is is_json


def test_less_severe_lines_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    logs.configure(said(log_level="warning"))
    log().info("stream_ended")
    log().warning("log_forgot")
    assert [line["event"] for line in objects(streams)] == ["log_forgot"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_number_for_is_left_out(
    monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    streams = piped(monkeypatch)
    logs.configure(said())
    log().warning("alert_firing", value=number, threshold=0.5)
    (line,) = objects(streams)
    assert (line.get("value"), line["threshold"]) == (None, 0.5)


@pytest.mark.case("4.20")
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "text",
    [
        "x\n2026-01-01T00:00:00.000Z info     stream_ended stream=forged",
        "x\r\nforged",
        "\x1b]0;title\x07\x1b[2J",
        "\u202eevil\u2066",
        "a\x00b\x85c\u2028d",
        "' level='error",
        '", "level": "error',
        "\ud83d",
    ],
)
def test_a_value_stays_within_its_line_and_its_field(
    monkeypatch: pytest.MonkeyPatch, text: str, log_format: str
) -> None:
    streams = piped(monkeypatch)
    logs.configure(said(log_format))
    log().warning("discard_failed", provider="p", error=text)
    (line,) = streams.err.splitlines()
    assert line.isprintable()
    if log_format == "json":
        assert json.loads(line)["error"] == text
    else:
        assert line.endswith(f"provider=p error={text!r}")


# What libraries say


def test_a_library_s_line_has_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    logs.configure(said())["node"] = lambda: "n"
    logging.getLogger("a.library").warning("%s of %s", "one", 2)
    chatty = logging.getLogger("a.chatty.library")
    monkeypatch.setattr(chatty, "level", logging.DEBUG)
    chatty.info("too much")
    chatty.log(logging.ERROR + 5, "of a level of its own")
    line, other = objects(streams)
    assert (other["level"], other["message"]) == ("error", "of a level of its own")
    assert list(line) == ["timestamp", "level", "event", "node", "logger", "message"]
    assert list(line.values())[1:] == [*("warning", "library_logged", "n", "a.library", "one of 2")]


def test_a_library_tells_no_exception_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    logs.configure(said())
    library = logging.getLogger("another")
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        library.exception("it failed: %s", error)
        library.error(error)
        library.error("%(why)s", {"why": error})
    assert SECRET not in streams.err
    whole, bare, named = objects(streams)
    assert whole["message"] == "it failed: KeyError"
    assert whole["trace"].endswith("KeyError\n")
    assert (bare["message"], named["message"]) == ("KeyError", "KeyError")


def test_what_a_library_formats_wrong_is_told_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    logs.configure(said())
    logging.getLogger("another").error("%d of %s", "one")
    assert [line["message"] for line in objects(streams)] == ["%d of %s"]


@pytest.mark.parametrize("over", [0, 1])
def test_a_library_s_message_has_a_bound(monkeypatch: pytest.MonkeyPatch, over: int) -> None:
    streams = piped(monkeypatch)
    logs.configure(said())
    logging.getLogger("another").error("x" * (logs.MAX_MESSAGE + over))
    assert [len(line["message"]) for line in objects(streams)] == [logs.MAX_MESSAGE]


# What reaches nobody, and what cannot be written


class Broken:
    def __del__(self) -> None:
        raise ValueError(SECRET)


def test_exceptions_that_reach_nobody_are_told_without_their_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = piped(monkeypatch)

    def fail() -> None:
        raise ValueError(SECRET)

    logs.configure(said())
    Broken()
    gc.collect()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    error = ValueError(SECRET)
    sys.excepthook(ValueError, error, None)
    assert SECRET not in streams.err
    lines = objects(streams)
    assert [line["where"] for line in lines] == ["finalizer", "thread", "process"]
    assert {(line["event"], line["level"]) for line in lines} == {("exception_unhandled", "error")}
    assert all("ValueError" in line["trace"] for line in lines)


def test_what_is_no_plain_value_tells_only_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = piped(monkeypatch)
    for log_format in ("json", "console"):
        logs.configure(said(log_format))
        log().error("log_failing", error=errors.LogUnavailable(SECRET))
    assert SECRET not in streams.err
    assert streams.err.count("LogUnavailable") == 2


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, Full()):
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(said())
        log().error("log_failing")
