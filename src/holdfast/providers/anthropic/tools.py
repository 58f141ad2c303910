"""The tools and which of them may be called, as Anthropic takes them.

Strategy: a function becomes a tool of the client's own. A tool that Anthropic runs, or defines,
has a type with a date (`web_search_20250305`), and is handed on verbatim, as is a tool of the
client's own that is written in Anthropic's words already, and all in a request that is.

Format: https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
"""

from __future__ import annotations

import re
from typing import Any

from holdfast import request
from holdfast.providers import asked, tool_choice

_DATED = re.compile(r"[a-z0-9_]+_20\d{6}|tool_search_tool_(?:bm25|regex)|mcp_toolset")
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "function": "tool"}


def tools(wanted: request.Request) -> list[dict[str, Any]]:
    """The tools, in order. Raises `errors.InvalidField`."""
    own = wanted.foreign is not None and wanted.foreign.kind == "anthropic"
    return [
        tool.fields if own and isinstance(tool, asked.Native) else _tool(tool)
        for tool in asked.tools(wanted)
    ]


def choice(wanted: request.Request) -> dict[str, Any] | None:
    """`tool_choice`, which says too whether several tools may be called at once; None leaves both
    to the provider. Raises `errors.InvalidField`."""
    chosen = tool_choice.of(wanted)
    single = tool_choice.parallel(wanted) is False
    if chosen is None and not single:
        return None
    if isinstance(chosen, asked.Native):
        if chosen.type not in _CHOICES.values():
            asked.refuse(chosen.where, "this provider knows no such choice")
        made = chosen.fields
    else:
        made = {"type": "auto" if chosen is None else _CHOICES[chosen.mode]}
        if chosen is not None and chosen.name:
            made["name"] = chosen.name
    # Where no tool may be called, the option is refused.
    return made | {"disable_parallel_tool_use": True} if single and made["type"] != "none" else made


def _tool(tool: asked.Tool | asked.Native) -> dict[str, Any]:
    if isinstance(tool, asked.Native):
        own = tool.type in ("", "custom") and isinstance(tool.fields.get("input_schema"), dict)
        if not own and not _DATED.fullmatch(tool.type):
            asked.refuse(tool.where, "is no tool of this provider and no function")
        return tool.fields
    made: dict[str, Any] = {
        "name": tool.name,
        # Demanded, also for a function without parameters.
        "input_schema": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description is not None:
        made["description"] = tool.description
    if tool.strict is not None:
        made["strict"] = tool.strict
    return made
