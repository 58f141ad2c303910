"""Server-sent events both ways, free of I/O.

Strategy: one parser reads what providers send us and what our own client reads from
our server; one encoder writes every block that we send. Both follow WHATWG HTML 9.2.6
(https://html.spec.whatwg.org/multipage/server-sent-events.html).

The parser works on whole network reads. A read that holds a CR is first rewritten to
LF alone; then one `split` cuts it into lines at C speed, and a loop goes over lines,
never over bytes. What a read leaves unfinished waits in a bytearray, which grows in
place: a line in many small fragments costs one byte a byte and linear time. Lines stay
bytes: no UTF-8 sequence contains LF, CR, colon or space, so decoding a finished value
gives what decoding the whole stream would.

Limits are counted in bytes at the line, so that where the network cut the stream
changes neither the frames nor the error.
"""

from __future__ import annotations

import msgspec

from holdfast import errors

# Providers send an event as one line of JSON. The longest known repeat a whole answer
# (the last event of OpenAI Responses: 128,000 tokens, escaped as \uXXXX, are 1.2 MB, and
# tool arguments and reasoning come on top) or hold one base64 image (about 2 MB).
MAX_LINE = 4 << 20
# Events of several lines are rare and small; twice the line is half of what a stream may
# store in all (16 MiB), and bounds what one upstream connection can make us hold.
MAX_EVENT = 8 << 20

_BOM = b"\xef\xbb\xbf"
# 10 digits are 115 days; more is a mistake, and int() of very many digits is slow.
_MAX_RETRY_DIGITS = 10


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event.

    `event` is "message" where the block names none. `data` is the block's data lines
    joined by LF, as sent: its UTF-8 is not yet checked. `id` is the last event id as of
    this frame: ids persist over frames that carry none.
    """

    event: str
    data: bytes
    id: str

    @property
    def text(self) -> str:
        """The data as text; invalid UTF-8 becomes U+FFFD."""
        return self.data.decode("utf-8", "replace")


class Parser:
    """An incremental parser of one event stream.

    `last_event_id` is what a reconnecting client sends as `Last-Event-ID`; it changes
    at the blank line that ends a block, also of a block without data. `retry_ms` is the
    newest valid `retry` field (at most 10 digits), or None. `comments` counts comment
    lines: a sign of life of the transport, never content.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_event",
        "_failure",
        "_head",
        "_id",
        "_max_event",
        "_max_line",
        "_tail",
        "comments",
        "last_event_id",
        "retry_ms",
    )

    def __init__(self, *, max_line: int = MAX_LINE, max_event: int = MAX_EVENT) -> None:
        """Limits in bytes: a line without its end, an event's joined data.

        An event of one line always fits: ValueError unless 1 <= max_line <= max_event.
        """
        if not 1 <= max_line <= max_event:
            raise ValueError(f"need 1 <= max_line <= max_event, got {max_line} and {max_event}")
        self._max_line = max_line
        self._max_event = max_event
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments = 0
        self.reset()

    @property
    def at_rest(self) -> bool:
        """Nothing is unfinished: what comes next is read as if it came alone."""
        return not (
            self._tail
            or self._event
            or self._after_cr
            or self._data is not None
            or self._head is not None
            or self._failure is not None
        )

    def reset(self) -> None:
        """Forget what is unfinished, and a failure: the next bytes begin a new response.

        `last_event_id`, `retry_ms` and `comments` stay, as in a browser that reconnects.
        """
        self._failure: errors.SseError | None = None
        self._head: bytes | None = b""  # what may become a BOM; None once that is decided
        self._after_cr = False
        self._tail = bytearray()
        self._data: bytes | bytearray | None = None
        self._event = ""
        self._id = self.last_event_id

    def feed(self, data: bytes) -> list[Frame]:
        """Take one network read; return the events that it completes.

        Raises errors.LineTooLong or errors.EventTooLarge. Events before the failure are
        never lost: where this read holds some, they are returned and the next call of
        `feed` or `finish` raises. After a failure both raise until `reset`.
        """
        if self._failure is not None:
            raise type(self._failure)(self._failure.message)
        if self._head is not None:
            data = self._without_bom(self._head + data)
        if (self._after_cr and data) or b"\r" in data:
            data = self._lf_only(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._tail:
            lines[0] = bytes(self._tail + lines[0])
            self._tail = bytearray()
        frames: list[Frame] = []
        try:
            self._take(lines, frames)
            if rest:
                self._tail += rest
                if len(self._tail) > self._max_line:
                    raise errors.LineTooLong(f"a line is over {self._max_line} bytes")
        except errors.SseError as failure:
            self._tail, self._data = bytearray(), None
            # A fresh object: the raised one holds its traceback, and that this parser.
            self._failure = type(failure)(failure.message)
            if not frames:
                raise
        return frames

    def finish(self, *, flush: bool = False) -> list[Frame]:
        """End of input; the parser is then as after `reset`.

        As WHATWG has it, an unfinished block is discarded, its id included. With `flush`
        a pending line and block count as if a blank line had come: for providers that
        leave it out, and only where the body ended cleanly, since half an event must not
        pass for a whole one. Raises like `feed`.
        """
        frames = self.feed(b"\n\n" if flush else b"")
        self.reset()
        return frames

    def _take(self, lines: list[bytes], frames: list[Frame]) -> None:
        """Interpret complete lines; append the events that they dispatch to `frames`."""
        max_line = self._max_line
        data = self._data
        for line in lines:
            if not line:
                self.last_event_id = self._id
                if data is not None:
                    frames.append(Frame(self._event or "message", bytes(data), self._id))
                    data = None
                self._event = ""
                continue
            if len(line) > max_line:
                raise errors.LineTooLong(f"a line is over {max_line} bytes")
            # Nearly every line that a provider sends begins so.
            value = line[6:] if line.startswith(b"data: ") else self._field(line)
            if value is not None:
                data = value if data is None else self._joined(data, value)
        self._data = data

    def _field(self, line: bytes) -> bytes | None:
        """The value of a data line; of any other line the effect, and None."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            return value
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry":
            # bytes.isdigit is ASCII only, and False of an empty value
            if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                self.retry_ms = int(value)
        elif not name:
            self.comments += 1
        return None

    def _joined(self, data: bytes | bytearray, value: bytes) -> bytearray:
        if len(data) + 1 + len(value) > self._max_event:
            raise errors.EventTooLarge(f"an event's data is over {self._max_event} bytes")
        joined = data if isinstance(data, bytearray) else bytearray(data)
        joined += b"\n" + value
        return joined

    def _without_bom(self, data: bytes) -> bytes:
        """The start of the stream without its BOM; empty while it may still become one."""
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(_BOM)

    def _lf_only(self, data: bytes) -> bytes:
        """The same lines ended by LF alone, where a CRLF may be cut between two reads."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def encode(
    data: bytes | str,
    *,
    event: str | None = None,
    id: str | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """One block: `event`, `retry`, `data` (a line for each line of it), `id`, blank line.

    The id is last because clients may commit it at its line, not at the block's end
    (@microsoft/fetch-event-source does): a cut inside the block must not make a reader
    skip an event that it never had whole. There is no block without data: stock SDKs
    take one for an empty event and fail.

    An `id` of "" is written and resets the client's; None writes no id line.
    Raises ValueError, a mistake of the caller and no failure of a stream, for CR in
    `data` (it would come back as LF), for CR, LF or NUL in `event` or `id`, for an empty
    `event` (it would come back as "message"), for a `retry_ms` below 0 or over 10 digits
    (a parser would ignore it), and for text that is not valid Unicode.
    """
    raw = data.encode() if isinstance(data, str) else data
    if b"\r" in raw:
        raise ValueError("the data of an event cannot hold CR")
    if b"\n" in raw:
        raw = raw.replace(b"\n", b"\ndata: ")
    block = b"data: " + raw
    if retry_ms is not None:
        if not 0 <= retry_ms < 10**_MAX_RETRY_DIGITS:
            raise ValueError(f"retry_ms is from 0 to {_MAX_RETRY_DIGITS} digits, got {retry_ms}")
        block = b"retry: %d\n%b" % (retry_ms, block)
    if event is not None:
        if not event:
            raise ValueError("an event's name cannot be empty; None gives it none")
        block = b"event: %b\n%b" % (_one_line(event, "event"), block)
    if id is not None:
        return b"%b\nid: %b\n\n" % (block, _one_line(id, "id"))
    return block + b"\n\n"


def comment(text: str) -> bytes:
    """A comment line with ONE newline, to be written between blocks only.

    A second newline would end a block without data, which stock SDKs take for an empty
    event and fail on. Raises ValueError for CR, LF or NUL in `text`.
    """
    return b": %b\n" % _one_line(text, "comment")


def _one_line(text: str, what: str) -> bytes:
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"{what} cannot hold CR, LF or NUL")
    return text.encode()
