"""What happened in a run with faults: the entries that `checker` judges.

Strategy: whoever takes part (a node, a reader, a provider, the one who makes the faults) writes
down what it saw, when it saw it, and nothing that it concludes. An entry is a value; a history
is a list of them in any order that keeps each actor's own. On disk it is JSON, a line an entry,
so that processes that are killed leave what they had written.

Times are seconds of one clock that all actors of a run share: `time.monotonic` on one machine, a
simulated loop's clock. `conn` names one response, `reader` somebody who comes back over many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec


class Appended(msgspec.Struct, frozen=True, tag_field="what", tag="appended"):
    """The log acknowledged an event to its writer."""

    at: float
    stream: str
    epoch: int
    seq: int
    digest: str
    kind: str


class Connected(msgspec.Struct, frozen=True, tag_field="what", tag="connected"):
    """A reader asked for a stream after `cursor`, `<epoch>-<seq>`, or from the start with "".

    `bad` says that the cursor was made up and must not be good."""

    at: float
    reader: str
    conn: str
    stream: str
    cursor: str = ""
    bad: bool = False


class Answered(msgspec.Struct, frozen=True, tag_field="what", tag="answered"):
    """The head of a response came, with this status."""

    at: float
    conn: str
    status: int


class Delivered(msgspec.Struct, frozen=True, tag_field="what", tag="delivered"):
    """A whole durable event came. `tag` is the stream that the event itself names, "" where it
    names none."""

    at: float
    conn: str
    epoch: int
    seq: int
    digest: str
    kind: str
    tag: str = ""


class Reset(msgspec.Struct, frozen=True, tag_field="what", tag="reset"):
    """A transient `rewind` came: what follows begins with the first event."""

    at: float
    conn: str


class Disconnected(msgspec.Struct, frozen=True, tag_field="what", tag="disconnected"):
    """A response is over. `clean`: with its last chunk. `ours`: the reader itself went away."""

    at: float
    conn: str
    clean: bool
    ours: bool = False


class Called(msgspec.Struct, frozen=True, tag_field="what", tag="called"):
    """A provider got a call for this stream."""

    at: float
    stream: str


class Marked(msgspec.Struct, frozen=True, tag_field="what", tag="marked"):
    """The provider has sent its end marker for this stream."""

    at: float
    stream: str


class Sent(msgspec.Struct, frozen=True, tag_field="what", tag="sent"):
    """The provider has written so many bytes of its answer into an open connection."""

    at: float
    stream: str
    size: int


class Cancelled(msgspec.Struct, frozen=True, tag_field="what", tag="cancelled"):
    """A request to cancel this stream was acknowledged."""

    at: float
    stream: str


class Shredded(msgspec.Struct, frozen=True, tag_field="what", tag="shredded"):
    """Somebody asked for this stream to be destroyed. `done`: that is acknowledged, and nothing of
    it may be read any more."""

    at: float
    stream: str
    done: bool = False


class Fault(msgspec.Struct, frozen=True, tag_field="what", tag="fault"):
    """A fault begins or is healed; one that is over at once, such as a kill, is both. `loses`: a
    store may have lost what it acknowledged shortly before or meanwhile."""

    at: float
    name: str
    on: bool
    loses: bool = False


class Expected(msgspec.Struct, frozen=True, tag_field="what", tag="expected"):
    """What a stream's text is to be if it completes: SHA-256 (hex) of its UTF-8. `calls` is how
    many provider calls it may cost; `key` names the Idempotency-Key of all who ask for it;
    `observed` says that its provider writes down what it does."""

    at: float
    stream: str
    sha256: str
    calls: int = 1
    key: str = ""
    observed: bool = True


class Kept(msgspec.Struct, frozen=True, tag_field="what", tag="kept"):
    """An event as a store holds it when everything is over; beside the terminal one `sha256` of
    the whole text, and the `code` of an `error`."""

    at: float
    store: str
    stream: str
    epoch: int
    seq: int
    digest: str
    kind: str
    sha256: str = ""
    code: str = ""


Entry = (
    Appended
    | Connected
    | Answered
    | Delivered
    | Reset
    | Disconnected
    | Called
    | Marked
    | Sent
    | Cancelled
    | Shredded
    | Fault
    | Expected
    | Kept
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def digest(kind: str, data: bytes) -> str:
    """What tells two events apart: 16 hex digits of the SHA-256 of kind and data."""
    return hashlib.sha256(b"%b\0%b" % (kind.encode(), data)).hexdigest()[:16]


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Adds lines to a history."""
    with path.open("ab") as file:
        file.write(b"".join(_encode(entry) + b"\n" for entry in entries))


def read(path: Path) -> list[Entry]:
    """The entries of a history; a last line that its writer did not finish is left out. Raises
    `msgspec.DecodeError` for any other that is none."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [_decode(line) for line in whole.split(b"\n") if line]
