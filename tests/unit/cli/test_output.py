"""What reaches a terminal, and what ends a command."""

from __future__ import annotations

import errno
import io
import sys

import click
import msgspec
import pytest
from click import testing
from tests.unit.cli import terminals

from holdfast import errors
from holdfast.cli import output

EVIL = "a\x1b]0;title\x07\r\x9b31m\x7f\x00b\tc\n€"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_no_control_character_and_a_pipe_gets_all(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = terminals.Streams(monkeypatch, out=terminal, err=False)
    output.write(EVIL)
    harmless = "a\ufffd]0;title\ufffd\ufffd\ufffd31m\ufffd\ufffdb\tc\n€"
    assert streams.out == (harmless if terminal else EVIL)


@pytest.mark.parametrize("terminal", [True, False])
def test_notes_are_the_same_and_styled_on_a_terminal_only(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = terminals.Streams(monkeypatch, out=False, err=terminal)
    output.note("\x1b[1mx", dim=True)
    assert streams.err == ("\x1b[2m\ufffd[1mx\x1b[0m" if terminal else "x")


def test_json_is_one_line_that_a_terminal_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = terminals.Streams(monkeypatch, out=True, err=True)
    output.json_line({"a": "x\n\x1b\x9b€"})
    assert streams.out == '{"a":"x\\n\\u001b\ufffd€"}\n'


def test_json_that_is_no_utf_8_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = terminals.Streams(monkeypatch, out=False, err=False)
    output.json_line({"data": msgspec.Raw(b'"a\xff"')})
    assert streams.out == '{"data":"a\ufffd"}\n'


class Broken(io.StringIO):
    """A stdout that takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, "full")


def test_a_stdout_that_takes_nothing_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(errors.ClientError, match="closed"):
        output.write("x")
    full = Broken(errno.ENOSPC)
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(errors.ClientError, match=r"^stdout cannot be written: full\.$"):
        output.write("x")
    # The interpreter flushes it at exit.
    assert sys.stdout is not full
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE))
    with pytest.raises(BrokenPipeError):
        output.write("x")


def test_a_closed_stderr_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    output.note("x", dim=True)
    assert not output.is_terminal(sys.stderr)


def ended(error: BaseException) -> tuple[int, str, str]:
    @click.command(cls=output.Command)
    def command() -> None:
        raise error

    done = testing.CliRunner().invoke(command, [])
    return done.exit_code, done.stdout, done.stderr


def test_an_error_is_one_line_with_its_code() -> None:
    refused = errors.RequestRefused("no\nway\x1b[1m\u2028!", status=404, code="a\nb")
    assert ended(refused) == (1, "", "holdfast: no way [1m ! [a b]\n")


def test_wrong_settings_have_a_line_each() -> None:
    wrong = errors.SettingsError("one\ntwo")
    lines = "holdfast: one [settings_error]\nholdfast: two [settings_error]\n"
    assert ended(wrong) == (1, "", lines)


def test_notes_are_told_with_it() -> None:
    for error, said in (
        (errors.GaveUp("no."), "holdfast: no. Do this. Or that. [gave_up]\n"),
        (errors.SettingsError("one\ntwo"), ""),
    ):
        error.add_note("Do this.")
        error.add_note("Or\nthat.")
        told = ended(error)[2]
        assert told == said or told.splitlines() == [
            "holdfast: one [settings_error]",
            "holdfast: two Do this. Or that. [settings_error]",
        ]


def test_ctrl_c_has_an_exit_code_of_its_own() -> None:
    assert ended(KeyboardInterrupt()) == (130, "", "")


def test_a_bug_keeps_its_traceback() -> None:
    @click.command(cls=output.Command)
    def command() -> None:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        testing.CliRunner().invoke(command, [], catch_exceptions=False)
