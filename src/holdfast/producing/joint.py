"""Where an answer passes from one call to the next: what readers are told there.

Strategy: the bodies of the new call pass through, and before the first that says something of the
answer stands what changed: a `fallback`, and a `rewind` where the answer begins anew. Until then
readers keep what they have, so that a call which brings nothing has changed nothing. Where the
answer is continued its text passes through the seam. Of whoever continues only the answer is told:
what it thinks while it reads an answer that is not its own belongs to nobody's.
"""

from __future__ import annotations

import msgspec

from holdfast import events
from holdfast.producing import seam as seams


class Change(msgspec.Struct, frozen=True):
    """From which `provider/model` to which, why (a code of our errors), and at which length of the
    text, in code points; 0 where the answer begins there."""

    source: str
    target: str
    reason: str
    at: int = 0

    def event(self, seam: seams.Seam | None = None) -> events.Fallback:
        exact, trimmed = (True, 0) if seam is None else (seam.exact, seam.trimmed)
        return events.Fallback(self.source, self.target, self.reason, exact, trimmed, self.at)


class Joint:
    """`change` is there where it moves to another target or is continued, `seam` where it is
    continued. `rewind` is why what is written is to be forgotten; None where it is not."""

    def __init__(
        self,
        change: Change | None = None,
        *,
        seam: seams.Seam | None = None,
        rewind: str | None = None,
    ) -> None:
        self._change, self._seam, self._rewind = change, seam, rewind
        self._announced = False
        self._cited: list[events.Body] = []
        self._block: int | None = None  # begun, and not told yet

    def take(self, bodies: list[events.Body]) -> list[events.Body]:
        """What is to be written of these. Raises `errors.ContinuationDiverged`."""
        out: list[events.Body] = []
        for body in bodies:
            if isinstance(body, events.Usage | events.Kept):  # of the call, not of the answer
                out.append(body)
            elif self._seam is None:
                self._announce(out)
                out.append(body)
            elif isinstance(body, events.Chunk):
                self._join(body, self._seam, out)
            elif isinstance(body, events.Citation) and not self._seam.decided:
                self._cited.append(body)  # it says nothing of where the text goes on
            else:
                self._release(self._seam, out)
                out.append(body)
        return out

    def end(self) -> list[events.Body]:
        """The call has ended: what was held back. Raises `errors.ContinuationDiverged`."""
        out: list[events.Body] = []
        if self._seam is not None:
            self._release(self._seam, out)
        self._announce(out)  # also where the whole answer says nothing
        return out

    def _join(self, chunk: events.Chunk, seam: seams.Seam, out: list[events.Body]) -> None:
        if chunk.type in ("reasoning", "opaque"):
            return
        if chunk.type != "content" or chunk.choice:
            self._release(seam, out)
            out.append(chunk)
            return
        new = seam.take(chunk.delta)
        self._block = block = self._block if chunk.block is None else chunk.block
        if not seam.decided:
            return
        self._announce(out)
        if new != chunk.delta:
            chunk = events.Chunk("content", new, block=block)
        elif block != chunk.block:
            chunk = msgspec.structs.replace(chunk, block=block)
        if new or chunk.extra:
            self._block = None
            out.append(chunk)
        self._cite(out)

    def _release(self, seam: seams.Seam, out: list[events.Body]) -> None:
        rest = seam.release()
        self._announce(out)
        if rest:
            out.append(events.Chunk("content", rest, block=self._block))
            self._block = None
        self._cite(out)

    def _cite(self, out: list[events.Body]) -> None:
        out += self._cited
        self._cited.clear()

    def _announce(self, out: list[events.Body]) -> None:
        if self._announced:
            return
        self._announced = True
        if self._change is not None:
            out.append(self._change.event(self._seam))
        if self._rewind is not None:
            out.append(events.Rewind(self._rewind))
