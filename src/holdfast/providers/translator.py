"""From the bytes of a provider's event stream to event bodies, whatever the format.

Strategy: `sse.Parser` cuts the bytes into frames, and the format's `Fold` says what is new in
each. What all formats share is here: where the answer ends, and what is no frame at all. JSON
lines with no `data:` before them (Google and its gateways write their errors so, in the midst
of an event stream, and an SSE parser skips them) are gathered and judged: after such a line
nothing can be trusted any more.

What cannot be read is `ProviderMalformed`, told in words that quote nothing of it. After an
error or the end marker nothing more is said. A read that is like one before but for its text takes
the short way (`repeated`).
"""

from __future__ import annotations

import json
import re

from holdfast import errors, events, sse
from holdfast.providers import base, failures, frames, repeated

LESSONS = 8
"""Frames of an answer of which is learned how the next ones look; the first ones may differ."""

MAX_STRAY = 16 << 10
"""Bytes of JSON outside of any event; an error with all its details has about 1,400."""

_STRAY = re.compile(rb"[\r\n]{")
_decode_first = json.JSONDecoder(strict=False).raw_decode


class Translator:
    """A `base.Translator` for one answer, which `fold` reads. `source` is who speaks."""

    __slots__ = (
        "_before",
        "_fold",
        "_lessons",
        "_like",
        "_parser",
        "_short",
        "_source",
        "_stray",
        "done",
        "error",
        "finished",
        "gathered",
    )

    def __init__(self, fold: base.Fold, source: failures.Source) -> None:
        self.done = False
        self.finished = False
        self.error: errors.ProviderError | None = None
        self._fold, self._source = fold, source
        self._parser = sse.Parser()
        self._before: int | None = None  # the byte before the next read
        self._stray: bytearray | None = None
        self._like: repeated.Frame | None = None
        self._short: repeated.Frame | None = None  # `_like`, where the next read may be short
        self._lessons, self.gathered = LESSONS, 0
        """`gathered`: see `base.Translator.gathered`."""

    def feed(self, data: bytes) -> list[events.Body]:
        """See `base.Translator.feed`."""
        if self._short is not None:
            found = self._short.read(data)
            if found is not None:
                return found
            self._short = None
        out: list[events.Body] = []
        if self.done or self.error is not None or not data:
            return out
        if self._stray is not None:
            self._gather(data, out)
            return out
        before, self._before = self._before, data[-1]
        # Tells nearly every read apart at the cost of two searches. A brace right at the
        # beginning may follow the line end of the read before.
        if data[0] in b"{[" or b"\n{" in data or b"\r{" in data:
            begin = _stray_begin(data, before)
            if begin is not None:
                self._parse(data[:begin] + b"\n\n", out)
                if not self.done and self.error is None:
                    self._stray = bytearray()
                    self._gather(data[begin:], out)
                return out
        self._parse(data, out)
        if not self.done and self.error is None and self._parser.at_rest and self._fold.calm:
            if self._lessons and out:
                self._learn(data[data.rfind(b"data: ") :], out[-1])
            self._short = self._like
        return out

    def _learn(self, frame: bytes, said: events.Body) -> None:
        if isinstance(said, events.Chunk):
            self._lessons -= 1
            if self._lessons == LESSONS - 1 and b'"role"' in frame:
                return  # many name it there alone
            self._like = repeated.learn(frame, said, self._fold.plain) or self._like

    def end(self) -> list[events.Body]:
        """See `base.Translator.end`.

        Some servers leave out the last blank line: a last event that can be read counts. One
        that cannot is not whole, and neither is the answer, unless it had ended before.
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
            if not self._fold.finished:
                return out
        if not self.done and self.error is None:
            self._fold.release(out)
            self.finished = self._fold.finished
        return out

    def cut(self) -> list[events.Body]:
        """See `base.Translator.cut`."""
        out: list[events.Body] = []
        if not self.done and self.error is None:
            self._fold.tell_usage(out)
        return out

    def _parse(self, data: bytes, out: list[events.Body]) -> None:
        fold = self._fold
        try:
            for frame in self._parser.feed(data):
                fold.take(frame, out)
                if fold.done:
                    self._finish(out)
                    break
        except errors.SseError as error:
            self._fail(self._source.malformed(error.message), out)
        except errors.ProviderError as error:
            self._fail(error, out)
        self.finished, self.gathered = fold.finished, fold.gathered

    def _gather(self, data: bytes, out: list[events.Body]) -> None:
        """More of the JSON outside of events."""
        assert self._stray is not None
        self._stray += data[: MAX_STRAY + 1 - len(self._stray)]
        if len(self._stray) > MAX_STRAY:
            what = f"over {MAX_STRAY} bytes of JSON outside of any event."
            self._fail(self._source.malformed(what), out)
        elif b"}" in data or b"]" in data:
            self._judge(out, last=False)

    def _judge(self, out: list[events.Body], *, last: bool) -> None:
        assert self._stray is not None
        text = self._stray.decode("utf-8", "replace")
        if text.startswith(frames.DONE):
            self._parse(b"data: [DONE]\n\n", out)
            if self.done:
                return
        try:
            body, _ = _decode_first(text)
        except (ValueError, RecursionError):
            if last:
                what = "JSON that is not whole outside of any event."
                self._fail(self._source.malformed(what), out)
            return
        if failures.reports_error(body):
            self._fail(self._source.in_stream(body), out)
        else:
            self._fail(self._source.malformed("JSON outside of any event."), out)

    def _finish(self, out: list[events.Body]) -> None:
        self._fold.release(out)
        self.finished = self._fold.finished
        self.done = True

    def _fail(self, error: errors.ProviderError, out: list[events.Body]) -> None:
        """The attempt ends here. What is held back is no part of the answer, but its usage is."""
        self._fold.tell_usage(out)
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
