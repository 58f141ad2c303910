"""What all commands share: how they fail, and how text reaches a terminal.

Strategy: text comes from models and servers, and a terminal obeys control characters. So what
goes to a terminal is made harmless here (`shown`), and what goes into a pipe or a file is left
as it came. `Command` turns what ends a command into an exit code: an error of our tree into
one line and 1, Ctrl-C into 130; 2, for a wrong use, is click's own.
"""

from __future__ import annotations

import re
import sys
from typing import IO, Any, NoReturn

import click
import msgspec

from holdfast import errors

FAILED, INTERRUPTED = 1, 130
"""Exit codes. 130 is what shells give for SIGINT."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Command(click.Command):
    """A command whose epilog keeps its line breaks and whose errors are one line."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\nExamples:\n{self.epilog}")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.HoldfastError as error:
            fail(error)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def fail(error: errors.HoldfastError) -> NoReturn:
    """Tells an error in one line on stderr, and ends with exit code 1. Wrong settings are told
    all at once, each in its line."""
    separate = isinstance(error, errors.SettingsError)
    for line in error.message.split("\n") if separate else [error.message]:
        note(f"holdfast: {one_line(line)} [{one_line(error.code)}]\n")
    sys.exit(FAILED)


def one_line(text: str) -> str:
    """The text without line breaks and control characters."""
    return _BREAKS.sub(" ", text)


def shown(text: str, stream: IO[str]) -> str:
    """The text as this stream may have it: where it is a terminal, a control character other
    than newline and tab becomes U+FFFD, for it could move the cursor or set the clipboard."""
    return _CONTROLS.sub("\ufffd", text) if stream.isatty() else text


def write(text: str) -> None:
    """Writes text from outside to stdout at once, in UTF-8, with no line break added."""
    click.echo(shown(text, sys.stdout).encode("utf-8", "replace"), nl=False)


def note(text: str, **style: Any) -> None:
    """The same to stderr; `style` (see click.style) is for a terminal only."""
    text = shown(text, sys.stderr)
    click.echo(click.style(text, **style) if style else text, nl=False, err=True)


def json_line(value: Any) -> None:
    """A value as one line of JSON on stdout."""
    write(msgspec.json.encode(value).decode() + "\n")
