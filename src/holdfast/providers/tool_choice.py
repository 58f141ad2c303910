"""Which tools an answer may call, or must, in values that every format can write in its own words.

Strategy: clients say it as OpenAI chat completions does (PROTOCOL, section 3), and it is read once,
here. Where there are no tools, what allows or forbids a call says nothing, and most providers
refuse it: it is left out. What demands one is refused. A choice in a provider's own words is handed
on as `asked.Native`, like a tool.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast import request
from holdfast.providers import asked

Mode = Literal["auto", "none", "required", "function"]

MODES: tuple[Mode, ...] = ("auto", "none", "required", "function")
"""What a choice may be: as the model likes, no call, some call, a call of one function."""


class ToolChoice(msgspec.Struct, frozen=True):
    """`name` is the function's that must be called, where `mode` is `function`."""

    mode: Mode
    name: str = ""


def of(wanted: request.Request) -> ToolChoice | asked.Native | None:
    """What is asked for; None leaves it to the provider. Raises `errors.InvalidField`."""
    said = wanted.tool_choice
    if said is None:
        return None
    found = _word(said) if isinstance(said, str) else _described(said)
    if wanted.tools:
        return found
    if isinstance(found, asked.Native) or found.mode in ("required", "function"):
        asked.refuse("tool_choice", "there are no tools that could be called; give `tools`")
    return None


def parallel(wanted: request.Request) -> bool | None:
    """Whether several tools may be called at once; None leaves it to the provider."""
    return wanted.parallel_tool_calls if wanted.tools else None


def check_parallel(wanted: request.Request) -> None:
    """Refuses a bound that a provider has no option for: it calls as many as it likes. Raises
    `errors.InvalidField`."""
    if parallel(wanted) is False:
        asked.refuse("parallel_tool_calls", "this provider may call several tools at once")


def _word(said: str) -> ToolChoice:
    for mode in MODES:
        if said == mode != "function":
            return ToolChoice(mode)
    return asked.refuse("tool_choice", "is auto, none, required or an object that names a function")


def _described(said: dict[str, object]) -> ToolChoice | asked.Native:
    kind = said.get("type", "")
    if kind != "function":
        return asked.Native(kind if isinstance(kind, str) else "", said, "tool_choice")
    function = said.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        asked.refuse("tool_choice.function.name", "is missing")
    return ToolChoice("function", name)
