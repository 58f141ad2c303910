"""Events as the frames of a response.

Strategy: the commonest event, a piece of plain text that goes on, is copied between fixed bytes, as
it is JSON already; what the other chunks mean is told by `output`. The response ends with one
frame that says all of it again. One that failed has an `error` before that, as OpenAI's own do:
clients raise that, and some would take a `response.failed` for an end like any other.

Wire: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import errors, events, storage
from holdfast.dialects import openai_errors, padding
from holdfast.dialects.openai_responses import frames, items, output, response

_PLAIN = b'{"type":"content","delta":"'
_TEXT = len(_PLAIN)

_piece = msgspec.json.Decoder(output.Piece).decode


class Fold:
    """A `base.ForeignFold`."""

    def __init__(self, stream: events.StreamId, header: storage.Header) -> None:
        said = response.terms(header)
        self._stream, self._header, self._background = stream, header, said.background
        self._fill = padding.Padding(stream) if said.padded else None
        self.padded = said.padded
        self._out = frames.Frames()
        self._output = output.Output(stream, self._out, self._fill)
        self._claim: int | None = None
        self._finish: events.Finish | None = None
        self._usage: events.Tokens | None = None
        self._known: dict[str, Any] = {}
        self.status: response.Status = "queued" if said.background else "in_progress"
        self.ended = self.failed = False

    @property
    def number(self) -> int:
        """The next frame's."""
        return self._out.number

    @property
    def only_thought(self) -> bool:
        """Another answer may follow what was said."""
        return self._output.only_thought

    def render(self, event: events.Event) -> bytes:
        """See `base.Fold.render`."""
        data, run = event.data, self._output.running
        if event.epoch >> 16 != self._claim:
            self._claimed(event.epoch >> 16)
        # A text that has no quote itself ends at the first one, and nothing else follows.
        if run is None or not data.startswith(_PLAIN) or data.find(b'"', _TEXT) != len(data) - 2:
            return self._other(event)
        piece, number = data[_TEXT:-2], self._out.number
        run.add(piece)
        self._out.number = number + 1
        if self._fill is None:
            return b'%b%d%b%b"}\n\n' % (run.before, number, run.behind, piece)
        fill = self._fill.of(number, len(piece))
        return b'%b%d%b%b","obfuscation":"%b"}\n\n' % (run.before, number, run.behind, piece, fill)

    def rewind(self, reason: str) -> bytes:
        """See `base.Fold.rewind`."""
        self._fail(
            errors.Rewound.code,
            f"The answer began anew ({reason}), which a stream of this API cannot say: what was "
            "read is void. Read the response without `stream`, or ask again.",
        )
        return self._out.taken()

    def response(self) -> bytes:
        """The response as it is by now, as JSON."""
        return response.told(
            self._stream, self._header, self.status, self._output.values(), **self._known
        )

    def _claimed(self, claim: int) -> None:
        if self._claim is not None:
            self._out.claimed(claim)
        self._claim = claim

    def _other(self, event: events.Event) -> bytes:
        if self.ended:
            return b""
        if event.kind == "chunk":
            piece = _piece(event.data)
            if not piece.choice:
                self.status = "in_progress"
                self._output.say(piece)
            return self._out.taken()
        match event.body:
            case events.Start():
                self._begin()
            case events.Citation() as body if not body.choice:
                self._output.cite(body)
            case events.Finish() as body if not body.choice:
                self._finish = body
                self._output.end(self._ends(body.finish_reason, body.provider_finish_reason)[1])
            case events.Usage() as body:
                self._usage = body
            case events.Attempt() as body if body.error:
                self._usage = None
            case events.Adopted() if self._finish is None:
                self._usage = None
            case events.Rewind() as body:
                if not self.only_thought:
                    return self.rewind(body.reason)
                self._output.begin_anew()
                self._finish = self._usage = None
            case events.Error() as body:
                self._fail(body.code, body.message)
            case events.Complete() as body:
                self._complete(body)
        return self._out.taken()

    def _begin(self) -> None:
        self._tell(b"response.created")
        if self._background:
            self._tell(b"response.queued")
        status, self.status = self.status, "in_progress"
        self._tell(b"response.in_progress")
        self.status = status

    def _complete(self, body: events.Complete) -> None:
        end: events.Complete | events.Finish = self._finish or body
        reason, status = self._ends(end.finish_reason, end.provider_finish_reason)
        self._output.end(status)
        self._known["usage"] = response.usage(body.usage or self._usage)
        if reason is None:
            self.status = "completed"
            self._known["completed_at"] = (self._header.created_at + body.duration_ms) // 1000
        else:
            self.status = "incomplete"
            self._known["incomplete_details"] = response.Reason(reason)
        self.ended = True
        self._tell(b"response." + self.status.encode())

    def _fail(self, code: str, message: str) -> None:
        told = openai_errors.told(code, message, errors.named(code).status)
        flat = {"code": code, "message": message, "param": None}
        self._out.say(b"error", frames.encode(flat | {"error": told})[1:-1])
        self._output.break_off()
        self._known["usage"] = response.usage(self._usage)
        if code == errors.Cancelled.code:
            self.status = "cancelled"
        else:
            self.status = "failed"
            self._known["error"] = response.Error(code, message)
        self.ended = self.failed = True
        self._tell(b"response.failed")

    def _tell(self, type: bytes) -> None:
        self._out.say(type, b'"response":%b' % self.response())

    def _ends(
        self, reason: events.FinishReason, word: str | None
    ) -> tuple[str | None, items.Status]:
        """Why the answer is not whole, if it is not, and the status of what is open."""
        if reason in ("stop", "tool_calls") or (reason == "refusal" and self._output.refused):
            return None, "completed"
        if reason == "length":
            return "max_output_tokens", "incomplete"
        if reason == "other":
            return word or "other", "incomplete"
        return "content_filter", "incomplete"
