"""Events as the chunks of a chat completion.

Strategy: what all chunks of a stream have alike is encoded once. The commonest event, a piece of
content or reasoning of the first choice, is copied between fixed bytes, as its text is JSON
already; everything else is decoded and told by `spoken`. Each chunk is padded, as OpenAI pads
its own.

Wire: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import msgspec

from holdfast import errors, events, storage
from holdfast.dialects import padding
from holdfast.dialects.openai_chat import asking, refusals, spoken

_CONTENT = b'{"type":"content","delta":"'
_REASONING = b'{"type":"reasoning","delta":"'
_TEXT, _THOUGHT = len(_CONTENT), len(_REASONING)

_SAYS = b'{"index":0,"delta":{"content":"%b,"logprobs":null,"finish_reason":null}'
_THINKS = b'{"index":0,"delta":{"reasoning_content":"%b,"logprobs":null,"finish_reason":null}'
_BARE = len(_SAYS % b'"}')

_encode = msgspec.json.Encoder().encode


class Fold:
    """A `base.ForeignFold`."""

    def __init__(self, stream: events.StreamId, id: str, header: storage.Header) -> None:
        terms = asking.terms(header.terms)
        common = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": header.created_at // 1000,
            "model": header.model,
            "system_fingerprint": None,
        }
        self._head = b'data: %b,"choices":[' % _encode(common)[:-1]
        self._usage = terms.usage
        self._tail = b'],"usage":null' if terms.usage else b"]"
        self._padding = padding.Padding(stream) if terms.padded else None
        self.padded = terms.padded
        self._frames = 0
        self._talks = self._thinks = False  # choice 0 has begun to
        self._spoken = spoken.Spoken(stream)
        self.ended = self.failed = False

    def render(self, event: events.Event) -> bytes:
        """See `base.Fold.render`."""
        data = event.data
        # Within a text a quote has a backslash before it, so these three begin another field.
        if data.find(b'","', _TEXT) < 0:
            if self._talks and data.startswith(_CONTENT):
                return self._frame(_SAYS % data[_TEXT:])
            if self._thinks and data.startswith(_REASONING):
                return self._frame(_THINKS % data[_THOUGHT:])
        return self._other(event)

    def rewind(self, reason: str) -> bytes:
        """See `base.Fold.rewind`."""
        return self._error(
            errors.Rewound.code,
            f"The answer began anew ({reason}), which chat completions cannot say: what was read "
            "is void. Ask again.",
        )

    def _other(self, event: events.Event) -> bytes:
        if self.ended:
            return b""
        body = event.body
        if isinstance(body, events.Rewind) and not self._spoken.only_thought:
            return self.rewind(body.reason)
        if isinstance(body, events.Error):
            return self._error(body.code, body.message)
        choices = map(_encode, self._spoken.say(body))
        frames = [self._frame(choice) for choice in choices]
        if isinstance(body, events.Chunk) and body.delta and not body.choice:
            self._talks = self._talks or body.type == "content"
            self._thinks = self._thinks or body.type == "reasoning"
        if isinstance(body, events.Complete):
            frames.append(self._end(body))
        return b"".join(frames)

    def _frame(self, choice: bytes) -> bytes:
        """One chunk."""
        if self._padding is None:
            return b"%b%b%b}\n\n" % (self._head, choice, self._tail)
        self._frames += 1
        letters = self._padding.of(self._frames, len(choice) - _BARE)
        return b'%b%b%b,"obfuscation":"%b"}\n\n' % (self._head, choice, self._tail, letters)

    def _end(self, complete: events.Complete) -> bytes:
        self.ended = True
        self._talks = self._thinks = False
        if not self._usage or complete.usage is None:
            return b"data: [DONE]\n\n"
        counts = _encode(spoken.usage(complete.usage))
        return b'%b],"usage":%b}\n\ndata: [DONE]\n\n' % (self._head, counts)

    def _error(self, code: str, message: str) -> bytes:
        self.ended = self.failed = True
        self._talks = self._thinks = False
        return refusals.frame(code, message, errors.named(code).status)
