"""How Anthropic is asked.

Strategy: the request's fields in Anthropic's words. What it does not know (more than one
answer, JSON without a schema) is refused by name.

The API version stays the one before 2026-10-21, which refuses every temperature.

Format: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import request
from holdfast.providers import asked, failures
from holdfast.providers.anthropic import fold, messages, models, tools

VERSION = "2023-06-01"


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A `base.Format`."""

    @property
    def kind(self) -> str:
        return "anthropic"

    @property
    def keeping(self) -> None:
        """See `base.Format.keeping`."""
        return None

    def prefills(self, model: str) -> bool:
        """See `base.Format.prefills`."""
        return models.prefills(model)

    def path(self, model: str) -> str:
        """See `base.Format.path`."""
        return "/v1/messages"

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """See `base.Format.headers`."""
        version = ("anthropic-version", VERSION)
        return (version,) if key is None else (("x-api-key", key), version)

    def fold(self, wanted: request.Request, source: failures.Source) -> fold.Fold:
        """See `base.Format.fold`."""
        return fold.Fold(source)

    def payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        """See `base.Format.payload`."""
        if wanted.n != 1:
            asked.refuse("n", "this provider gives one answer at a time")
        warm = wanted.temperature
        if warm is not None and not 0 <= warm <= 1:
            asked.refuse("temperature", "this provider takes 0 to 1")
        own = wanted.foreign is not None and wanted.foreign.kind == self.kind
        system, turns = messages.conversation(wanted.messages, model, own=own)
        limit = models.max_tokens(model) if wanted.max_tokens is None else wanted.max_tokens
        payload: dict[str, Any] = {
            "model": model,
            "max_tokens": limit,
            "messages": turns,
            "stream": True,
        }
        optional = {
            "system": system,
            "tools": tools.tools(wanted),
            "tool_choice": tools.choice(wanted),
            "stop_sequences": wanted.stop,
            "output_config": _output(wanted),
        }
        payload.update({name: value for name, value in optional.items() if value})
        if warm is not None:
            payload["temperature"] = warm
        if wanted.top_p is not None:
            payload["top_p"] = wanted.top_p
        return payload


def _output(wanted: request.Request) -> dict[str, Any] | None:
    shape = asked.response_format(wanted)
    if shape is None:
        return None
    if isinstance(shape, asked.AnyObject):
        asked.refuse("response_format", "this provider takes a json_schema and no json_object")
    # Its name is for people, and the answer always keeps to the schema, strict or not.
    described = {} if shape.description is None else {"description": shape.description}
    return {"format": {"type": "json_schema", "schema": described | shape.schema}}
