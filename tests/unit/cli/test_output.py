"""What reaches a terminal, and what ends a command."""

from __future__ import annotations

import click
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


def test_ctrl_c_has_an_exit_code_of_its_own() -> None:
    assert ended(KeyboardInterrupt()) == (130, "", "")


def test_a_bug_keeps_its_traceback() -> None:
    @click.command(cls=output.Command)
    def command() -> None:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        testing.CliRunner().invoke(command, [], catch_exceptions=False)
