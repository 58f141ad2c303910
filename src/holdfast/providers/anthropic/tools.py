"""The tools, as Anthropic takes them.

Strategy: a function becomes a tool of the client's own. A tool that Anthropic runs, or defines,
has a type with a date (`web_search_20250305`), and is handed on verbatim, as is a tool of the
client's own that is written in Anthropic's words already.

Format: https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
"""

from __future__ import annotations

import re
from typing import Any

from holdfast import request
from holdfast.providers import asked

_DATED = re.compile(r"[a-z0-9_]+_20\d{6}|tool_search_tool_(?:bm25|regex)|mcp_toolset")


def tools(wanted: request.Request) -> list[dict[str, Any]]:
    """The tools, in order. Raises `errors.InvalidField`."""
    return [_tool(tool) for tool in asked.tools(wanted)]


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
