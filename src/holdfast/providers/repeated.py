"""The commonest read: frames that differ from an earlier one in nothing but a piece of text.

Strategy: a provider writes the same bytes around each piece, so what stands before and after the
text of one frame is compared with the next, and only the text is decoded. That is exact, and not a
guess: a frame is learned only if the format's own reading of it, with other texts put in, gives
just these texts (`learn`), and a text counts only if JSON has it as it stands: no quote, no
backslash, nothing that cannot be printed. Whatever else comes is read the long way.

OpenAI fills its frames up with letters that mean nothing, so a frame may have a second place that
changes (`_FILLER`).
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast import events

_FILLER = b'"obfuscation":"'
_TRIALS = (b"", b"Z", b"one: {two}, 'three' [4]", "wörter 😀".encode())

Plain = Callable[[bytes], events.Chunk | None]
"""What the data of a frame say, if that is one piece of text and nothing else."""


class Frame:
    """Bytes around the text. `chunk` makes an event of a text; `middle` stands between the text and
    the filler, where there is one."""

    __slots__ = ("_end", "_head", "_index", "_kind", "_middle", "_size", "_tail")

    def __init__(
        self, head: bytes, middle: bytes, end: bytes, kind: events.ChunkType, index: int
    ) -> None:
        self._head, self._middle, self._end = head, middle, end
        self._size, self._tail, self._kind, self._index = len(head), len(end), kind, index

    def read(self, data: bytes) -> list[events.Body] | None:
        """The pieces of text, where the data are nothing but whole frames of this kind."""
        head, size, middle = self._head, self._size, self._middle
        stop = len(data) - self._tail
        if stop >= size and not middle and data.startswith(head) and data.endswith(self._end):
            text = text_of(data[size:stop])  # None where it is more than one frame
            if text is not None:
                return [events.Chunk(self._kind, text, self._index)] if text else []
        parts = data.split(self._end)
        if parts.pop():
            return None
        out = list[events.Body]()
        for part in parts:
            if not part.startswith(head):
                return None
            raw = part[size:]
            if middle:
                raw, found, filler = raw.partition(middle)
                if not found or text_of(filler) is None:
                    return None
            text = text_of(raw)
            if text is None:
                return None
            if text:
                out.append(events.Chunk(self._kind, text, self._index))
        return out


def text_of(raw: bytes) -> str | None:
    """The string that these bytes are between two quotes of JSON, if they are as it is."""
    if b'"' in raw or b"\\" in raw:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def learn(data: bytes, said: events.Chunk, plain: Plain) -> Frame | None:
    """What is around the text of this one frame, which said this; None where that cannot be told
    for certain."""
    raw = said.delta.encode("utf-8", "replace")
    if not data.startswith(b"data: {") or not data.endswith(b"}\n\n") or data.count(b"\n") != 2:
        return None
    if not raw or text_of(raw) is None or data.count(b'"%b"' % raw) != 1:
        return None
    head, _, end = data.partition(b'"%b"' % raw)
    head, end, middle = head + b'"', b'"' + end, b""
    if end.count(_FILLER) == 1:
        before, _, behind = end.partition(_FILLER)
        middle, end = before + _FILLER, behind[behind.index(b'"') :]
    for trial in _TRIALS:
        for filler in _TRIALS[:3] if middle else (b"",):
            found = plain((head + trial + middle + filler + end)[6:-2])
            if found != events.Chunk(said.type, trial.decode(), said.choice):
                return None
    return Frame(head, middle, end, said.type, said.choice)


class Never:
    """A fold whose frames do not repeat, or are never learned."""

    calm = False

    def plain(self, data: bytes) -> events.Chunk | None:
        """See `base.Fold.plain`."""
        return None
