"""An answer as it comes, on a terminal or in a pipe: what `ask` and `tail` have in common.

Strategy: text goes to stdout and everything else to stderr, so that a pipe gets the answer
alone; `Printer` keeps the lines of the two apart where both are one terminal. With `--json`
every event is a line of stdout instead. Both are fed event by event by `follow`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec

from holdfast import client, errors, events
from holdfast.cli import output


class How(msgspec.Struct, frozen=True):
    """The options that `options` makes."""

    json: bool
    reasoning: bool
    quiet: bool


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of following; the command gets `json`, `reasoning` and `quiet`."""
    for option in (
        click.option("--quiet", is_flag=True, help="Nothing on stderr but rewinds and errors."),
        click.option("--reasoning", is_flag=True, help="The reasoning too, on stderr."),
        click.option("--json", is_flag=True, help="A line of JSON an event: id, event, data."),
    ):
        command = option(command)
    return command


class Printer:
    """Writes events for people. `voided`: a rewind came after text had been written."""

    def __init__(self, how: How) -> None:
        self.voided = False
        self._how = how
        out, err = output.is_terminal(sys.stdout), output.is_terminal(sys.stderr)
        self._one_terminal = out and err
        self._counts = err and not (out or how.quiet)
        self._begun, self._pieces = time.monotonic(), 0
        self._out_open = self._err_open = self._given = False
        self._call: int | None = None
        self._attempt = ""

    def take(self, event: events.Event) -> None:
        body = event.body
        # The attempt that ends the stream is told by its error.
        attempt, self._attempt = self._attempt, ""
        if attempt and event.kind != "error":
            self._tell(attempt)
        match body:
            case events.Chunk() if not body.choice:
                self._chunk(body)
            case events.Rewind():
                self._rewind(body)
            case _ if not self._how.quiet:
                said = _told(body)
                if isinstance(body, events.Attempt):
                    self._attempt = said
                elif said:
                    self._tell(said)

    def finish(self) -> None:
        """The end of the text: one line break more, on a terminal only where a line is open."""
        if self._out_open or not self._one_terminal:
            output.write("\n")
        self._out_open = False

    def leave(self) -> None:
        """The end of writing, wherever it is: the next line on stderr begins at its start."""
        self._begin_on_stderr(fresh=True)

    def _chunk(self, chunk: events.Chunk) -> None:
        if chunk.type == "content":
            self._write(chunk.delta)
        elif chunk.type == "reasoning":
            if self._how.reasoning:
                self._aside(chunk.delta, dim=True)
        elif self._how.quiet:
            return
        elif chunk.type == "refusal":
            self._aside(chunk.delta)
        elif chunk.type == "tool_call":
            call = chunk.call or 0
            if self._call != call:
                self._call = call
                self._begin_on_stderr(fresh=True)
                self._aside(f"[tool call {output.one_line(chunk.name or '')}] ")
            self._aside(chunk.delta)

    def _rewind(self, body: events.Rewind) -> None:
        self.voided = self.voided or self._given
        void = "what was written above is void, " if self._given else ""
        self._given = False
        if self._out_open and not self._one_terminal:
            output.write("\n")
            self._out_open = False
        self._tell(f"rewind: {body.reason}; {void}the answer follows from its start")

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._one_terminal and self._err_open:
            self._begin_on_stderr(fresh=True)
        output.write(text)
        self._given, self._out_open = True, not text.endswith("\n")
        self._pieces += 1
        if self._counts and not self._how.reasoning:
            took = time.monotonic() - self._begun
            click.echo(f"\r{self._pieces} pieces, {took:.1f} s", nl=False, err=True)
            self._err_open = True

    def _tell(self, text: str) -> None:
        self._begin_on_stderr(fresh=True)
        self._aside(f"[{output.one_line(text)}]\n")

    def _aside(self, text: str, **style: Any) -> None:
        if text:
            self._begin_on_stderr(fresh=False)
            output.note(text, **style)
            self._err_open = not text.endswith("\n")

    def _begin_on_stderr(self, *, fresh: bool) -> None:
        """Ends what is open on this terminal; `fresh`: also a line that stderr itself began."""
        if (self._one_terminal and self._out_open) or (fresh and self._err_open):
            output.note("\n")
            self._out_open = self._out_open and not self._one_terminal
            self._err_open = False


def _told(body: events.Body) -> str:
    """What people should know of an event that is no text; "" for nothing."""
    match body:
        case events.Attempt() if body.error:
            why = body.message or body.error
            return f"attempt {body.number}, {body.provider}/{body.model}: {why}"
        case events.Fallback():
            return f"goes on from {body.from_} to {body.to}: {body.reason}"
        case events.Adopted():
            return "another writer goes on"
        case events.Citation():
            return f"source: {body.title or ''} {body.url or ''}"
        case _:
            return ""


async def follow(answer: client.AnswerStream, how: How) -> bool:
    """Shows an answer to its end; true where what stdout got is the answer and no more.

    Raises AnswerFailed for one that ended with `error`, and what reading raises.
    """
    if how.json:
        async for event in answer:
            _json(answer.stream_id, event)
        raise_failed(answer.so_far.error)
        return True
    printer = Printer(how)
    try:
        async for event in answer:
            printer.take(event)
        raise_failed(answer.so_far.error)
        printer.finish()
    finally:
        printer.leave()
    return not printer.voided


def _json(stream: str, event: events.Event) -> None:
    place = events.event_id(events.StreamId(stream), event.position) if event.seq else None
    data = msgspec.Raw(msgspec.json.format(event.data, indent=-1))
    output.json_line({"id": place, "event": event.kind, "data": data})


def raise_failed(error: events.Error | None) -> None:
    """Raises AnswerFailed for the `error` event of a stream, if it has one."""
    if error is not None:
        raise errors.AnswerFailed(error.message, code=error.code, retryable=error.retryable)


def summarise(answer: client.AnswerStream, begun: float) -> None:
    """One line on stderr; `begun` is a reading of time.monotonic."""
    complete, seconds = answer.so_far.complete, time.monotonic() - begun
    if complete is None:
        return
    said = f"{complete.length} bytes in {seconds:.1f} s, {complete.finish_reason}"
    said += f", stream {answer.stream_id}"
    if answer.reconnects:
        said += f", {answer.reconnects} reconnects"
    if complete.choices:
        said += f", the first of {len(complete.choices)} choices"
    output.note(f"[{said}]\n")
