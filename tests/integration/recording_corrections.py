"""Expectations of the shared recordings that are wrong: what is right, and why.

Strategy: those files were derived by a script, with rules that are simpler than the providers'.
A row names the recording by its sha256 and one word of the expectation; the value may be read
off the recording's wire, by code that is not the translators'.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from holdfast import errors
from holdfast.testing import recordings


class Correction(NamedTuple):
    """What is right in place of one word of an expectation, and the reason. `value` may be a
    function of the recording."""

    value: Any
    reason: str

    def of(self, recording: recordings.Recording) -> Any:
        return self.value(recording) if callable(self.value) else self.value


def _google_text(recording: recordings.Recording) -> str:
    """All text parts, also those of a last event without its blank line."""
    said = []
    for line in recording.wire.splitlines():
        if line.startswith(b"data: "):
            for candidate in json.loads(line[6:])["candidates"]:
                said += [part.get("text", "") for part in candidate["content"].get("parts", ())]
    return "".join(said)


def _google_proof(recording: recordings.Recording) -> list[Any]:
    data = _google_text(recording).encode()
    return [len(data), hashlib.sha256(data).hexdigest()]


_FLUSHED = (
    "the last event lacks its blank line, which Google's own clients do not need: it counts at a "
    "clean end of the body"
)
_UNFINISHED = "no candidate has a finishReason, so the answer is not whole: it is an interruption"
_AFTER_STOP = (
    "a bare JSON error follows; STOP stood on a chunk that was not the last, and was no end"
)
_SERVER_SIDE = "a tool that Anthropic runs itself, and no call for the client to answer"
_INPUT = "the input tokens stand in message_start, and the last message_delta repeats only output"
_PIECES = "the arguments come in partialArgs over several chunks, which make two calls"

_Rows = dict[str, dict[str, Correction]]

_ROWS: _Rows = {
    # compatible/snowflake-logprobs-unicode
    "684feae8c7b235ae5d3053ab8ac1e448bd1040df24a2bce70449be311626c09b": {
        "reasoning": Correction(
            "15 * 27 = 405",
            "the file counts `reasoning` and `reasoning_content`; this vendor's reasoning is the "
            "text of `reasoning_details`, as OpenRouter's where it has no other",
        ),
    },
    # anthropic/code-execution-thinking, mcp-tool
    "dced4f65fe02f63747049369866fe83d6cba1ffe859f12ba238f74393417b625": {
        "tool calls": Correction([], _SERVER_SIDE)
    },
    "39e424a0e53acd2b001af1ce0dcce924ffc68f46bb8fd297ee175629e94a6803": {
        "tool calls": Correction([], _SERVER_SIDE)
    },
    # anthropic/astral-emoji, duplicate-message-start, max-tokens-…, text-then-tool, thinking-…
    "3bf36fda6c12fbabacd52eaaa484acb8a402eb775fe49234668d1c51583dd3cf": {
        "usage": Correction([17, 108, 125], _INPUT)
    },
    "a1250dd65009980c5efddb0dd295a07374a2d6bd5e916b811ac74f13e4c881e9": {
        "usage": Correction([17, 227, 244], _INPUT)
    },
    "e0e79ee10c18063861f4cc191ff6c6bdda767cd7407bec1c050c7831ff41f90d": {
        "usage": Correction([450, 124, 574], _INPUT)
    },
    "6ebbd71be746e8302ac4ae1432846734b1a44fb4f74cfb28c71e090295fee062": {
        "usage": Correction([506, 153, 659], _INPUT)
    },
    "cc912afc4c02ed35549e59bba621b19ea7673128793af64c7626952660a1c07b": {
        "usage": Correction([52, 216, 268], _INPUT)
    },
    # google/empty-content
    "a53aad85294efb66ddd9528f049615cf86467a11a3692b685960f569c248fffb": {
        "error": Correction(errors.ProviderInterrupted.code, _UNFINISHED),
        "proof": Correction(None, _UNFINISHED),
    },
    # google/finish-message-no-final-blank-line
    "8bd92c795eec0c54a61c32d351c7b39dfecd18bb4e0764b2b9a6ad24f415ab09": {
        "text": Correction(_google_text, _FLUSHED),
        "proof": Correction(_google_proof, _FLUSHED),
        "finish": Correction("STOP", _FLUSHED),
    },
    # google/midstream-bare-json-error
    "40958d6e876da10ce50a405e7b25d3cdfa85d715480a49e36e9614e1ee5319b2": {
        "finish": Correction(None, _AFTER_STOP),
        "error": Correction(errors.ProviderFailed.code, _AFTER_STOP),
        "proof": Correction(None, _AFTER_STOP),
    },
    # google/partial-args
    "83d7ce7b3fd55077888a02232d380e838eb8c4f69ac87ca3e4cacaad2ab7dff1": {
        "tool calls": Correction(
            [
                ["getWeather", '{"location": "Boston"}'],
                ["getWeather", '{"location": "San Francisco"}'],
            ],
            _PIECES,
        )
    },
    # google/quotes-escaped-no-final-blank-line
    "0700f3b04116308bdffa808a5f9f61b7d788ff302bf0fb7a886eae3afb39b7e4": {
        "text": Correction(_google_text, _FLUSHED),
        "error": Correction(errors.ProviderInterrupted.code, _UNFINISHED),
        "proof": Correction(None, _UNFINISHED),
    },
}


def of(sha256: str) -> dict[str, Correction]:
    """The corrections of one recording, by word."""
    return _ROWS.get(sha256, {})
