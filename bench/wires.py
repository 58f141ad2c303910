"""What each kind of provider sends for an answer of plain text, frame by frame.

Strategy: a `Wire` writes the frames around and of the tokens with the fields, spaces and line
ends of the real one, as each API's reference and clients know them; only the text is the
bench's. What costs a reader something is kept: OpenAI Responses names every event twice and
repeats the whole text three times at the end, Anthropic pads its events with spaces, Google counts
its usage in every frame and ends lines with CR LF.

Formats: https://platform.openai.com/docs/api-reference/chat-streaming and
.../responses-streaming (asked not to pad, as `holdfast` asks them),
https://docs.anthropic.com/en/docs/build-with-claude/streaming,
https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Wire(NamedTuple):
    """One kind's stream. `path` is what its request path has in it and no other's; `token`
    takes a token's number, from 0, and its text; `ending` the number of tokens and the whole
    text. Texts must need no escape in JSON."""

    path: str
    opening: str
    token: Callable[[int, str], str]
    ending: Callable[[int, str], str]


# OpenAI chat completions

_CHAT = (
    'data: {"id":"chatcmpl-Q7h2LmV0c9TzRk4WbXs81DnYfEaJu","object":"chat.completion.chunk",'
    '"created":1790000000,"model":"gpt-4.1-mini-2025-04-14","service_tier":"default",'
    '"system_fingerprint":"fp_5c1e09d7ab","choices":['
)
_PIECE = '{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}],"usage":null}\n\n'
_CHAT_OPENING = _CHAT + _PIECE % ('"role":"assistant","content":"","refusal":null', "null")


def _chat_token(number: int, text: str) -> str:
    return _CHAT + _PIECE % (f'"content":"{text}"', "null")


def _chat_ending(tokens: int, text: str) -> str:
    usage = (
        f'],"usage":{{"prompt_tokens":9,"completion_tokens":{tokens},"total_tokens":{tokens + 9},'
        '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":'
        '{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,'
        '"rejected_prediction_tokens":0}}}\n\n'
    )
    return _CHAT + _PIECE % ("", '"stop"') + _CHAT + usage + "data: [DONE]\n\n"


# OpenAI Responses

_RESPONSE = (
    '"response":{"id":"resp_4f81c2a09b7d3e5566aa01f2c3d4e5f60718293a4b5c6d7e8f","object":'
    '"response","created_at":1790000000,"status":"%s","background":false,"error":null,'
    '"incomplete_details":null,"instructions":null,"max_output_tokens":null,'
    '"max_tool_calls":null,"model":"gpt-4.1-mini-2025-04-14","output":[%s],'
    '"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,'
    '"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":"%s",'
    '"store":false,"temperature":1.0,"text":{"format":{"type":"text"},"verbosity":"medium"},'
    '"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled",'
    '"usage":%s,"user":null,"metadata":{}}'
)
_ITEM_ID = "msg_4f81c2a09b7d3e5566aa01f2c3d4e5f60f1e2d3c4b5a69788"
_ITEM = f'{{"id":"{_ITEM_ID}","type":"message","status":"%s","content":[%s],"role":"assistant"}}'
_PLACE = f'"item_id":"{_ITEM_ID}","output_index":0,"content_index":0'
_PART = '{"type":"output_text","annotations":[],"logprobs":[],"text":"%s"}'
_FIRST_DELTA = 4
"""The sequence number of the first token's event."""


def _event(type: str, number: int, rest: str) -> str:
    return (
        f'event: response.{type}\ndata: {{"type":"response.{type}",'
        f'"sequence_number":{number},{rest}}}\n\n'
    )


_RESPONSES_OPENING = (
    _event("created", 0, _RESPONSE % ("in_progress", "", "auto", "null"))
    + _event("in_progress", 1, _RESPONSE % ("in_progress", "", "auto", "null"))
    + _event("output_item.added", 2, '"output_index":0,"item":' + _ITEM % ("in_progress", ""))
    + _event("content_part.added", 3, f'{_PLACE},"part":{_PART % ""}')
)


def _responses_token(number: int, text: str) -> str:
    return _event(
        "output_text.delta", number + _FIRST_DELTA, f'{_PLACE},"delta":"{text}","logprobs":[]'
    )


def _responses_ending(tokens: int, text: str) -> str:
    number, part = tokens + _FIRST_DELTA, _PART % text
    item = _ITEM % ("completed", part)
    usage = (
        '{"input_tokens":9,"input_tokens_details":{"cached_tokens":0},'
        f'"output_tokens":{tokens},"output_tokens_details":{{"reasoning_tokens":0}},'
        f'"total_tokens":{tokens + 9}}}'
    )
    return (
        _event("output_text.done", number, f'{_PLACE},"text":"{text}","logprobs":[]')
        + _event("content_part.done", number + 1, f'{_PLACE},"part":{part}')
        + _event("output_item.done", number + 2, f'"output_index":0,"item":{item}')
        + _event("completed", number + 3, _RESPONSE % ("completed", item, "default", usage))
    )


# Anthropic Messages

_ANTHROPIC_OPENING = (
    'event: message_start\ndata: {"type":"message_start","message":{"model":'
    '"claude-sonnet-4-5-20250929","id":"msg_01Hq4Vd7sKcPzT9bLwXy2NfR","type":"message",'
    '"role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":'
    '{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
    '"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
    '"output_tokens":1,"service_tier":"standard"}}      }\n\n'
    'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    '"content_block":{"type":"text","text":""}           }\n\n'
    'event: ping\ndata: {"type": "ping"}\n\n'
)
_PADDING = tuple(" " * (number * 7 % 16) for number in range(16))


def _anthropic_token(number: int, text: str) -> str:
    return (
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        f'{{"type":"text_delta","text":"{text}"}}{_PADDING[number % 16]}}}\n\n'
    )


def _anthropic_ending(tokens: int, text: str) -> str:
    return (
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0        }\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        '"stop_sequence":null},"usage":{"input_tokens":9,"cache_creation_input_tokens":0,'
        f'"cache_read_input_tokens":0,"output_tokens":{tokens}}}            }}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"          }\n\n'
    )


# Google Gemini


def _google_frame(tokens: int, text: str, finish: str = "") -> str:
    return (
        f'data: {{"candidates": [{{"content": {{"parts": [{{"text": "{text}"}}],"role": "model"}},'
        f'{finish}"index": 0}}],"usageMetadata": {{"promptTokenCount": 9,"candidatesTokenCount": '
        f'{tokens},"totalTokenCount": {tokens + 489},"promptTokensDetails": [{{"modality": "TEXT",'
        '"tokenCount": 9}],"thoughtsTokenCount": 480},"modelVersion": "gemini-2.5-flash",'
        '"responseId": "k3TzaLmQ2bXVw9vPr8yU4Ac"}\r\n\r\n'
    )


def _google_token(number: int, text: str) -> str:
    return _google_frame(number + 1, text)


def _google_ending(tokens: int, text: str) -> str:
    return _google_frame(tokens, "", '"finishReason": "STOP",')


WIRES: Mapping[str, Wire] = {
    "chat": Wire("/chat/completions", _CHAT_OPENING, _chat_token, _chat_ending),
    "responses": Wire("/responses", _RESPONSES_OPENING, _responses_token, _responses_ending),
    "anthropic": Wire("/messages", _ANTHROPIC_OPENING, _anthropic_token, _anthropic_ending),
    "google": Wire(":streamGenerateContent", "", _google_token, _google_ending),
}
"""The kinds' wires by the names that the bench gives them."""


def stamp(number: int, micros: int) -> str:
    """A token's text, as the load's client reads it: its number, from 0, and when it was
    written, in microseconds of CLOCK_MONOTONIC."""
    return f"@{number:06d}:{micros:016d};"


def frame_bytes(name: str) -> int:
    """How large a token's frame is, in bytes."""
    return len(WIRES[name].token(100, stamp(100, 0)))
