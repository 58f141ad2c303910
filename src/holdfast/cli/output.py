"""What all commands share: how they fail, and how text reaches a terminal.

Strategy: text comes from models and servers, and a terminal obeys control characters. So what
goes to a terminal is made harmless here (`shown`), and what goes into a pipe or a file is left
as it came. `Command` turns what ends a command into an exit code: an error of our tree into
one line and 1, Ctrl-C into 130; 2, for a wrong use, is click's own. Each of the three
standard streams may be closed, and is None then.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from typing import IO, Any, NoReturn

import click
import msgspec

from holdfast import errors

FAILED, INTERRUPTED = 1, 130
"""Exit codes. 130 is what shells give for SIGINT."""

WIDTH, GAP = 80, "  "
"""Columns of a table, and what stands between two of its cells."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class _WithExamples(click.Command):
    """Its epilog keeps its line breaks."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\nExamples:\n{self.epilog}")


class Group(_WithExamples, click.Group):
    """A group whose epilog are examples."""


class Command(_WithExamples):
    """A command whose epilog are examples, and whose errors are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.HoldfastError as error:
            fail(error)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def fail(error: errors.HoldfastError) -> NoReturn:
    """Tells an error in one line on stderr, its notes included, and ends with exit code 1. Wrong
    settings are told all at once, each in its line."""
    for line in lines(error):
        note(f"holdfast: {line} [{one_line(error.code)}]\n")
    sys.exit(FAILED)


def lines(error: errors.HoldfastError) -> list[str]:
    """What an error says: one line, or of wrong settings one for each."""
    separate = isinstance(error, errors.SettingsError)
    said = error.message.split("\n") if separate else [error.message]
    said[-1] = " ".join([said[-1], *getattr(error, "__notes__", ())])
    return [one_line(line) for line in said]


def one_line(text: str) -> str:
    """The text without line breaks and control characters."""
    return _BREAKS.sub(" ", text)


def is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()


def shown(text: str, stream: IO[str] | None) -> str:
    """The text as this stream may have it: where it is a terminal, a control character other
    than newline and tab becomes U+FFFD, for it could move the cursor or set the clipboard."""
    return _CONTROLS.sub("\ufffd", text) if is_terminal(stream) else text


def write(text: str) -> None:
    """Writes text from outside to stdout at once, in UTF-8, with no line break added.

    Raises ClientError where it cannot be written, and BrokenPipeError, which click ends a
    command with quietly, where nobody reads it any more.
    """
    if sys.stdout is None:
        raise errors.ClientError("There is no stdout to write to: it is closed.")
    try:
        click.echo(shown(text, sys.stdout).encode("utf-8", "replace"), nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = io.StringIO()  # or what is left is tried again at exit, with a traceback
        raise errors.ClientError(f"stdout cannot be written: {error.strerror}.") from None


def note(text: str, **style: Any) -> None:
    """The same to stderr; `style` (see click.style) is for a terminal only."""
    text = shown(text, sys.stderr)
    click.echo(click.style(text, **style) if style else text, nl=False, err=True)


def json_line(value: Any) -> None:
    """A value as one line of JSON on stdout. What is no UTF-8 in it, as in data that came from a
    server, becomes U+FFFD."""
    write(msgspec.json.encode(value).decode("utf-8", "replace") + "\n")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, shrinks: int) -> str:
    """Lines of at most `WIDTH` columns where the column `shrinks` can be cut to fit."""
    cells = [[one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - WIDTH
    widths[shrinks] = max(len(head[shrinks]), widths[shrinks] - max(0, over))
    lines = []
    for row in cells:
        if len(row[shrinks]) > widths[shrinks]:
            row[shrinks] = row[shrinks][: widths[shrinks] - 1] + "…"
        lines.append(GAP.join(map(str.ljust, row, widths)).rstrip())
    return "\n".join(lines) + "\n"
