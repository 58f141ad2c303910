"""From the bytes of a chat stream to event bodies.

Strategy: `sse.Parser` cuts the bytes into frames, `wire` decodes a frame, `deltas`
says what is new in it. This file decides what a frame is: a chunk, the end marker, or one of
the shapes of an error after a 200:

- a frame named `error`, whatever its data;
- a truthy `error` in a frame, in one of its choices, or in Groq's `x_groq`;
- a flat error object, `{"object": "error", "message"}` or `{"code", "error": "text"}`;
- JSON lines with no `data:` before them, which an SSE parser skips (Google);
- a finish reason that means that the answer broke off.

What cannot be read is `ProviderMalformed`, told in words that quote nothing of it. After an
error or the end marker nothing more is said.
"""

from __future__ import annotations

import json
import re
from typing import Any

from holdfast import errors, events, sse
from holdfast.providers import failures
from holdfast.providers.openai_chat import deltas, wire

MAX_STRAY = 16 << 10
"""Bytes of JSON outside of any event; an error with all its details has about 1,400."""

_DONE = "[DONE]"
_STRAY = re.compile(rb"[\r\n]{")
_decode_first = json.JSONDecoder(strict=False).raw_decode


class Translator:
    """A `base.Translator`; `choices` is the `n` that was asked for.

    `source` names the provider in messages, `secret` is the key to keep out of them.
    """

    def __init__(
        self, *, choices: int = 1, source: str = "The provider", secret: str | None = None
    ) -> None:
        self.done = False
        self.finished = False
        self.error: errors.ProviderError | None = None
        self._source, self._secret = source, secret
        self._parser = sse.Parser()
        self._deltas = deltas.Deltas(choices)
        self._before: int | None = None  # the byte before the next read
        self._stray: bytearray | None = None

    def feed(self, data: bytes) -> list[events.Body]:
        """See `base.Translator.feed`."""
        out: list[events.Body] = []
        if self.done or self.error is not None or not data:
            return out
        if self._stray is not None:
            self._gather(data, out)
            return out
        before, self._before = self._before, data[-1]
        # Tells nearly every read apart at the cost of two searches.
        if data[0] in b"{[" or b"\n{" in data or b"\r" in data:
            begin = _stray_begin(data, before)
            if begin is not None:
                self._parse(data[:begin] + b"\n\n", out)
                if not self.done and self.error is None:
                    self._stray = bytearray()
                    self._gather(data[begin:], out)
                return out
        self._parse(data, out)
        return out

    def end(self) -> list[events.Body]:
        """See `base.Translator.end`.

        Some servers leave out the last blank line: a last event that can be read counts, one
        that cannot is not whole and is left out.
        """
        out: list[events.Body] = []
        if self.done or self.error is not None:
            return out
        if self._stray is not None:
            self._judge(out, last=True)
            return out
        self._parse(b"\n\n", out)
        if isinstance(self.error, errors.ProviderMalformed):
            self.error = None
        if not self.done and self.error is None:
            self._deltas.release(out)
        return out

    def _parse(self, data: bytes, out: list[events.Body]) -> None:
        try:
            frames = self._parser.feed(data)
        except errors.SseError as error:
            self._malformed(error.message, out)
            return
        for frame in frames:
            self._take(frame, out)
            if self.done or self.error is not None:
                return

    def _take(self, frame: sse.Frame, out: list[events.Body]) -> None:
        mended = False
        try:
            chunk = wire.decode(frame.data)
        except (ValueError, RecursionError):
            slowly = self._mend(frame, out)
            if slowly is None:
                return
            chunk, mended = slowly, True
        broken = None
        if chunk.error or chunk.choices is None or frame.event == "error":
            broken = self._error_in(frame)
        choices = chunk.choices
        if chunk.x_groq or (choices and (choices[0].error or len(choices) > 1)):
            broken = broken or self._error_within(chunk)
        folded = self._deltas
        try:
            folded.take(chunk, out, mended=mended, broken=broken is not None)
        except errors.ProviderError as error:
            broken = broken or type(error)(f"{self._source}: {error.message}")
        self.finished = folded.finished
        if broken is not None:
            self._fail(broken, out)

    def _mend(self, frame: sse.Frame, out: list[events.Body]) -> wire.Chunk | None:
        """The frame read the slow way; None where it is no chunk and all is said."""
        text = frame.text.strip()
        if text == _DONE:
            self._deltas.release(out)
            self.done = True
        if text in ("", _DONE):
            return None
        body: Any = text
        try:
            body = wire.load(text)
            return wire.convert(body)
        except (ValueError, RecursionError):
            if frame.event == "error" or failures.reports_error(body):
                self._fail(self._reported(body), out)
            elif frame.event == "message":
                self._malformed("an event is not of its format.", out)
        return None

    def _error_in(self, frame: sse.Frame) -> errors.ProviderError | None:
        """The error that the frame as a whole is, if it is one."""
        try:
            body = wire.load(frame.text)
        except (ValueError, RecursionError):
            return None
        reports = frame.event == "error" or failures.reports_error(body)
        return self._reported(body) if reports else None

    def _error_within(self, chunk: wire.Chunk) -> errors.ProviderError | None:
        """The error that a chunk reports in a place of the vendor's own."""
        groq = chunk.x_groq.get("error") if isinstance(chunk.x_groq, dict) else None
        for error in (groq, *(choice.error for choice in chunk.choices or ())):
            if error:
                return self._reported({"error": error})
        return None

    def _gather(self, data: bytes, out: list[events.Body]) -> None:
        """More of the JSON outside of events: nothing after it can be trusted."""
        assert self._stray is not None
        self._stray += data
        if len(self._stray) > MAX_STRAY:
            self._malformed(f"over {MAX_STRAY} bytes of JSON outside of any event.", out)
        elif b"}" in data or b"]" in data:
            self._judge(out, last=False)

    def _judge(self, out: list[events.Body], *, last: bool) -> None:
        assert self._stray is not None
        text = self._stray.decode("utf-8", "replace")
        if text.startswith(_DONE):
            self._deltas.release(out)
            self.done = True
            return
        try:
            body, _ = _decode_first(text)
        except (ValueError, RecursionError):
            if last:
                self._malformed("JSON that is not whole outside of any event.", out)
            return
        if failures.reports_error(body):
            self._fail(self._reported(body), out)
        else:
            self._malformed("JSON outside of any event.", out)

    def _reported(self, body: Any) -> errors.ProviderError:
        return failures.in_stream(body, source=self._source, secret=self._secret)

    def _malformed(self, what: str, out: list[events.Body]) -> None:
        self._fail(errors.ProviderMalformed(f"{self._source}: {what}"), out)

    def _fail(self, error: errors.ProviderError, out: list[events.Body]) -> None:
        """The attempt ends here. What is held back is no part of the answer, but its usage is."""
        self._deltas.tell_usage(out)
        self.error = error


def _stray_begin(data: bytes, before: int | None) -> int | None:
    """Where in this read a line begins that is JSON and no field of an event.

    A list counts only where the whole body is one.
    """
    if before is None and data[0] in b"{[":
        return 0
    if before is not None and before in b"\r\n" and data[0] in b"{":
        return 0
    match = _STRAY.search(data)
    return match.start() + 1 if match else None
