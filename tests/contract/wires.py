"""A text as each kind of provider sends it, and what each was sent, in one shape for all kinds.

Strategy: the smallest wire that a format takes for whole, an event a piece of the text. What was
asked is read from the payload by code that shares none with the formats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Events = list[bytes]


class Asked(NamedTuple):
    """A request's turns as (role, text), the roles `user` and `assistant` for all, and how many
    tokens the answer may have."""

    turns: list[tuple[str, str]]
    max_tokens: int | None


def _data(body: Any, event: str | None = None) -> bytes:
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {json.dumps(body)}\n\n".encode()


def _typed(body: Any) -> bytes:
    return _data(body, body["type"])


def _stepped(body: Any) -> bytes:
    return _data(body, body["event_type"])


def _chat(pieces: Iterable[str]) -> Events:
    def chunk(delta: Any, **more: Any) -> bytes:
        return _data({"choices": [{"index": 0, "delta": delta, **more}]})

    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in pieces),
        chunk({}, finish_reason="stop"),
        _data({"choices": [], "usage": usage}),
        b"data: [DONE]\n\n",
    ]


def _responses(pieces: Iterable[str]) -> Events:
    item = {"id": "m", "type": "message", "role": "assistant", "content": []}
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    done = {"id": "r", "status": "completed", "output": [], "usage": usage}
    return [
        _typed({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
        _typed({"type": "response.output_item.added", "output_index": 0, "item": item}),
        *(
            _typed({"type": "response.output_text.delta", **place, "delta": piece})
            for piece in pieces
        ),
        _typed({"type": "response.completed", "response": done}),
    ]


def _anthropic(pieces: Iterable[str]) -> Events:
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "m", "role": "assistant", "content": [], "usage": usage}
    block = {"type": "text", "text": ""}
    return [
        _typed({"type": "message_start", "message": message}),
        _typed({"type": "content_block_start", "index": 0, "content_block": block}),
        *(
            _typed(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": piece},
                }
            )
            for piece in pieces
        ),
        _typed({"type": "content_block_stop", "index": 0}),
        _typed(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 4},
            }
        ),
        _typed({"type": "message_stop"}),
    ]


def _google(pieces: Iterable[str]) -> Events:
    def frame(parts: list[Any], **more: Any) -> bytes:
        return _data({"candidates": [{"content": {"role": "model", "parts": parts}, **more}]})

    return [
        *(frame([{"text": piece}]) for piece in pieces),
        frame([], finishReason="STOP"),
    ]


def _interactions(pieces: Iterable[str]) -> Events:
    made = {"id": "i", "status": "in_progress"}
    return [
        _stepped({"event_type": "interaction.created", "interaction": made}),
        _stepped({"event_type": "step.start", "index": 0, "step": {"type": "model_output"}}),
        *(
            _stepped(
                {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": piece}}
            )
            for piece in pieces
        ),
        _stepped(
            {
                "event_type": "interaction.completed",
                "interaction": {"id": "i", "status": "completed"},
            }
        ),
    ]


WIRES: dict[str, Callable[[Iterable[str]], Events]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _anthropic,
    "google": _google,
    "google_interactions": _interactions,
}
"""An event a piece, between those that begin and end an answer, by kind."""


def _texts(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def asked(kind: str, body: Any) -> Asked:
    """What a payload of this kind asks for."""
    if kind == "google":
        turns = [
            ("user" if turn["role"] == "user" else "assistant", _texts(turn["parts"]))
            for turn in body["contents"]
        ]
        return Asked(turns, body.get("generationConfig", {}).get("maxOutputTokens"))
    if kind == "google_interactions":
        said = body["input"]
        if isinstance(said, str):
            said = [{"type": "user_input", "content": said}]
        turns = [
            ("user" if turn["type"] == "user_input" else "assistant", _texts(turn["content"]))
            for turn in said
        ]
        return Asked(turns, body.get("generation_config", {}).get("max_output_tokens"))
    messages = body["input" if kind == "openai_responses" else "messages"]
    turns = [(turn["role"], _texts(turn["content"])) for turn in messages]
    most = body.get("max_output_tokens", body.get("max_completion_tokens", body.get("max_tokens")))
    return Asked(turns, most)


def written(kind: str, body: Any) -> str:
    """What a payload of this kind gives as written of the answer."""
    said = [text for role, text in asked(kind, body).turns if role == "assistant"]
    return said[-1] if said else ""
