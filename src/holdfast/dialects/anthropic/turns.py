"""Tool calls one after another.

Strategy: in this API a block ends before the next one begins, and some providers tell calls that
are made together piece by piece in turns. While the open call's arguments are not yet whole, what
is said of others is held back, at most `MAX_HELD` bytes of it; so calls that do follow one another,
as nearly all do, are told as they come.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast import errors, events

MAX_HELD = 1 << 20
"""Bytes of JSON that are held back; and as much of the open call's arguments is looked at."""

NOTHING = msgspec.Raw(b'""')


class Piece(msgspec.Struct, gc=False):
    """A chunk as it is stored; its text stays the JSON that it is."""

    type: events.ChunkType
    delta: msgspec.Raw = NOTHING
    choice: int = 0
    call: int | None = None
    id: str | None = None
    name: str | None = None
    block: int | None = None
    extra: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_text = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Turns:
    """The calls of one answer."""

    def __init__(self) -> None:
        self._open: int | None = None
        self._said = bytearray()  # the open call's arguments, as the inside of a JSON string
        self._done: set[int] = set()
        self._held: dict[int, list[Piece]] = {}
        self._size = 0

    def take(self, piece: Piece) -> Sequence[Piece]:
        """What can be told now that this piece of a call came. Raises `errors.ProviderMalformed`
        for a call that had ended, `errors.StreamTooLarge` where too much would be held."""
        call = piece.call or 0
        if call == self._open:
            self._note(piece)
            return self._released([piece]) if self._held else (piece,)
        if call in self._done:
            if _text(piece.delta).strip():
                raise errors.ProviderMalformed("A tool call went on after its arguments had ended.")
            return ()
        if self._open is None or (not self._held and self._whole()):
            self._begin(call, piece)
            return (piece,)
        self._hold(call, piece)
        return ()

    def rest(self) -> list[Piece]:
        """What is still held: no call goes on."""
        rest = [piece for pieces in self._held.values() for piece in pieces]
        self._done.update(self._held)
        if self._open is not None:
            self._done.add(self._open)
        self._open, self._size = None, 0
        self._held.clear()
        self._said.clear()
        return rest

    def _released(self, told: list[Piece]) -> list[Piece]:
        """These, and what needs no longer be held behind them."""
        while self._held and self._whole():
            call = next(iter(self._held))
            pieces = self._held.pop(call)
            self._begin(call, pieces[0])
            for piece in pieces[1:]:
                self._note(piece)
            self._size -= sum(map(_size, pieces))
            told += pieces
        return told

    def _begin(self, call: int, piece: Piece) -> None:
        if self._open is not None:
            self._done.add(self._open)
        self._open = call
        self._said.clear()
        self._note(piece)

    def _note(self, piece: Piece) -> None:
        if len(self._said) <= MAX_HELD:
            self._said += bytes(piece.delta)[1:-1]

    def _hold(self, call: int, piece: Piece) -> None:
        self._size += _size(piece)
        if self._size > MAX_HELD:
            raise errors.StreamTooLarge(
                "Tool calls come in turns, and this API tells one after another: over "
                f"{MAX_HELD} bytes would have to wait."
            )
        self._held.setdefault(call, []).append(piece)

    def _whole(self) -> bool:
        """Whether the open call's arguments are whole; very long ones are not looked at."""
        if len(self._said) > MAX_HELD:
            return True
        if not self._said.rstrip(b" \\nrt").endswith(b"}"):
            return False
        try:
            _object(_text(b'"%b"' % bytes(self._said)))
        except msgspec.DecodeError:
            return False
        return True


def _size(piece: Piece) -> int:
    """Bytes that a piece is counted with; one without text is not free."""
    return 64 + len(bytes(piece.delta))
