"""What a reader has of one stream, and whether it can be true.

Strategy: no I/O and no clock: frames in, events out. That the answer is exact is checked here
and not believed. Events follow each other without a gap, whatever the epoch; at `complete`
the length and SHA-256 of every choice must be those of the text that came. A server that
breaks one of these would break it again, so there is no second try.

A kind of event that we do not know, and metadata of a type that we do not know, count for the
position and for nothing else: a newer server may have more of them.
"""

from __future__ import annotations

import contextlib

from holdfast import answer, errors, events, sse

MAX_ANSWER = 64 << 20
"""Bytes of the events of one answer: four times what a server keeps by default."""

_ALWAYS_PLACED = frozenset(events.KINDS) - {"rewind", "heartbeat", "reconnect"}


class Received:
    """Position, fold and checks. `whole`: everything from the first event on was taken in.

    `stream_id` is "" until the server has told it. `furthest` is the highest sequence number
    ever taken in: after a `rewind` only what is beyond it is new. `ended`: the terminal event
    was taken in, or there was none left to take.
    """

    def __init__(
        self, stream_id: str, after: events.Position, *, max_answer: int = MAX_ANSWER
    ) -> None:
        """`max_answer` in bytes of event data."""
        self.stream_id = stream_id
        self.furthest = after.seq
        # Seq 0 is before the first event in every epoch.
        self._after = after if after.seq else events.BEGIN
        self._max_answer = max_answer
        self._read_from(self._after)

    def _read_from(self, position: events.Position) -> None:
        self.position = position
        self.whole = position == events.BEGIN
        self.answer = answer.Answer()
        self.ended = False
        self._size = 0

    def from_the_start(self) -> None:
        """Forget what was taken in: the next event is the first."""
        self._read_from(events.BEGIN)

    @property
    def last_event_id(self) -> str:
        """What to ask the rest with; "" for all of it."""
        if self.position == events.BEGIN:
            return ""
        return events.event_id(events.StreamId(self.stream_id), self.position)

    def response_begins(self, stream_id: str) -> None:
        """`stream_id` as the response's header has it, or ""."""
        if not self.stream_id:
            with contextlib.suppress(errors.StreamNotFound):
                self.stream_id = events.stream_id(stream_id)

    def nothing_left(self) -> None:
        """The server says that all was read: true of a position that we were given, and
        otherwise only behind the terminal event, where we would not have asked."""
        if self.position == events.BEGIN or self.position != self._after:
            raise errors.VerificationFailed(
                f"The server says that the stream ends at {self.position}, but sent no end."
            )
        self.ended = True

    def take(self, frame: sse.Frame, ts: int) -> events.Event | None:
        """The event that this frame brings, if it is one to give out; `ts` in ms since 1970.

        Raises VerificationFailed, and ClientError where the answer is over its limit.
        """
        if frame.event in ("heartbeat", "reconnect"):
            return None
        place = self._place(frame)
        if place is None:
            return None
        self._size += len(frame.data)
        if self._size > self._max_answer:
            raise errors.ClientError(f"The answer is over {self._max_answer} bytes of events.")
        if frame.event not in events.KINDS:
            return None
        return self._fold(events.Event(frame.event, frame.data, place.epoch, place.seq, ts))

    def _place(self, frame: sse.Frame) -> events.Position | None:
        """Takes in the place of this frame: BEGIN for a `rewind` of this reader's position, and for
        an `error` that stands in no log, as what follows cannot be read from it; None for a frame
        that has no place and no meaning for us.

        A frame's id may be that of a block before it, since ids persist. Most kinds have an
        id of their own or are wrong. A `rewind` or a kind we do not know may have none: then
        theirs is not the next one, and never the first, which is the id of `start`.
        """
        try:
            position = self._next_position(frame.id)
        except errors.VerificationFailed:
            if frame.event == "error" and frame.id in ("", self.last_event_id):
                return events.BEGIN
            if frame.event in _ALWAYS_PLACED:
                raise
            position = events.BEGIN
        if position.seq <= 1 and frame.event not in _ALWAYS_PLACED:
            if frame.event != "rewind":
                return None
            self.from_the_start()
            return events.BEGIN
        self.stream_id = frame.id.partition(":")[0]
        self.position = position
        self.furthest = max(self.furthest, position.seq)
        return position

    def _next_position(self, event_id: str) -> events.Position:
        """The position in this id; raises VerificationFailed unless it is the next one."""
        try:
            stream, position = events.parse_event_id(event_id)
        except errors.MalformedPosition:
            raise errors.VerificationFailed("An event came with a malformed id.") from None
        if stream is None or stream != (self.stream_id or stream):
            raise errors.VerificationFailed("An event of another stream came.")
        if position.seq != self.position.seq + 1:
            what = "a gap" if position.seq > self.position.seq else "a repeat"
            raise errors.VerificationFailed(
                f"There is {what} between {self.position} and {position}."
            )
        return position

    def _fold(self, event: events.Event) -> events.Event | None:
        try:
            self.answer.add(event)
        # Wrong JSON is a ValueError, wrong UTF-8 too; depth is a RecursionError.
        except (ValueError, RecursionError):
            if event.kind == "metadata":
                return None
            raise errors.VerificationFailed(
                f"The {event.kind} event at {self.position} cannot be read."
            ) from None
        if event.kind in events.TERMINAL:
            if self.whole and self.answer.complete is not None:
                verify(self.answer, self.answer.complete)
            self.ended = True
        return event


def verify(said: answer.Answer, end: events.Complete) -> None:
    """Raises VerificationFailed unless every choice is as long, and hashes, as `end` says."""
    expected = {choice.choice: (choice.length, choice.sha256) for choice in end.choices or ()}
    expected[0] = (end.length, end.sha256)
    for number, (length, sha256) in expected.items():
        proof = answer.Proof()
        proof.add(said.choice(number).content)
        if (proof.length, proof.sha256) != (length, sha256):
            raise errors.VerificationFailed(
                f"Choice {number} has {proof.length} bytes of text with the SHA-256 "
                f"{proof.sha256}; the server wrote {length} with {sha256}."
            )
