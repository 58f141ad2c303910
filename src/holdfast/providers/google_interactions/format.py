"""How the Interactions API is asked.

Strategy: every request holds the whole conversation and asks that nothing be stored, as the
other formats do. The revision is pinned: the names of the events changed with it before.

Format: https://ai.google.dev/api/interactions-api, `CreateModelInteraction`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import request
from holdfast.providers import asked, failures, tool_choice
from holdfast.providers.google_interactions import fold, messages

REVISION = "2026-05-20"

TOOLS = frozenset(
    {
        "code_execution",
        "computer_use",
        "file_search",
        "google_maps",
        "google_search",
        "mcp_server",
        "retrieval",
        "tool_search",
        "url_context",
    }
)
"""Google's own tools, by `type`."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A `base.Format`."""

    @property
    def kind(self) -> str:
        return "google_interactions"

    @property
    def keeping(self) -> None:
        """See `base.Format.keeping`."""
        return None

    def prefills(self, model: str) -> bool:
        """See `base.Format.prefills`."""
        return False

    def path(self, model: str) -> str:
        """See `base.Format.path`."""
        return "/v1beta/interactions"

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """See `base.Format.headers`."""
        own = (("Api-Revision", REVISION),)
        return own if key is None else (("x-goog-api-key", key), *own)

    def fold(self, wanted: request.Request, source: failures.Source) -> fold.Fold:
        """See `base.Format.fold`."""
        return fold.Fold(source)

    def payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        """See `base.Format.payload`."""
        if wanted.n != 1:
            asked.refuse("n", "this provider gives one answer at a time")
        instructions, steps = messages.conversation(wanted.messages)
        config = {
            "temperature": wanted.temperature,
            "top_p": wanted.top_p,
            "max_output_tokens": wanted.max_tokens,
            "stop_sequences": wanted.stop or None,
            "tool_choice": _choice(wanted),
        }
        payload: dict[str, Any] = {
            "model": model.removeprefix("models/"),
            "input": steps,
            "stream": True,
            "store": False,
            "system_instruction": instructions,
            "generation_config": {k: value for k, value in config.items() if value is not None},
            "tools": [_tool(tool) for tool in asked.tools(wanted)],
            "response_format": _shape(asked.response_format(wanted)),
        }
        return {name: value for name, value in payload.items() if value not in ("", {}, [], None)}


def _choice(wanted: request.Request) -> str | dict[str, Any] | None:
    chosen = tool_choice.of(wanted)
    tool_choice.check_parallel(wanted)
    if isinstance(chosen, asked.Native):
        asked.refuse(chosen.where, "this provider knows no such choice")
    if chosen is None or chosen.mode != "function":
        return None if chosen is None else "any" if chosen.mode == "required" else chosen.mode
    return {"allowed_tools": {"mode": "any", "tools": [chosen.name]}}


def _shape(shape: asked.AnyObject | asked.Schema | None) -> dict[str, Any]:
    """The schema's name and `strict` have no place here: it is always enforced."""
    if shape is None:
        return {}
    made: dict[str, Any] = {"type": "text", "mime_type": "application/json"}
    return made | ({"schema": shape.schema} if isinstance(shape, asked.Schema) else {})


def _tool(tool: asked.Tool | asked.Native) -> dict[str, Any]:
    if isinstance(tool, asked.Native):
        if tool.type not in TOOLS:
            known = ", ".join(sorted(TOOLS))
            asked.refuse(tool.where, f"no function, and no tool of this provider ({known})")
        return tool.fields
    # `strict` is left out: clients set it for every tool, and check arguments all the same.
    made = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {name: value for name, value in made.items() if value is not None}
