"""How Gemini is asked.

Strategy: the key goes in a header and never into the URL, which logs and proxies show. What
the API cannot take is refused by the name of the field.

Format: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent; names
of fields are those that Google's own client sends (`parametersJsonSchema`,
`responseJsonSchema`).
"""

from __future__ import annotations

from typing import Any
from urllib import parse

import msgspec

from holdfast import request
from holdfast.providers import asked, failures, tool_choice
from holdfast.providers.google import fold, messages

MAX_CHOICES = 8
MAX_STOPS = 5

TOOLS = frozenset(
    {
        "codeExecution",
        "computerUse",
        "fileSearch",
        "functionDeclarations",
        "googleMaps",
        "googleSearch",
        "googleSearchRetrieval",
        "mcpServers",
        "urlContext",
    }
)
"""Google's own tools, an object with one of these fields each."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A `base.Format`."""

    @property
    def kind(self) -> str:
        return "google"

    @property
    def keeping(self) -> None:
        """See `base.Format.keeping`."""
        return None

    def prefills(self, model: str) -> bool:
        """See `base.Format.prefills`."""
        return False

    def path(self, model: str) -> str:
        """See `base.Format.path`. A model may be named `models/gemini-x`, as Google lists it;
        `tunedModels/x` is a tuned one."""
        family, _, name = model.rpartition("/")
        if family not in ("models", "tunedModels"):
            family, name = "models", model
        named = parse.quote(name, safe="")
        return f"/v1beta/{family}/{named}:streamGenerateContent?alt=sse"

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """See `base.Format.headers`."""
        return () if key is None else (("x-goog-api-key", key),)

    def fold(self, wanted: request.Request, source: failures.Source) -> fold.Fold:
        """See `base.Format.fold`."""
        return fold.Fold(wanted.n, source)

    def payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        """See `base.Format.payload`."""
        instructions, contents = messages.conversation(wanted.messages, model)
        payload: dict[str, Any] = {"contents": contents}
        if instructions:
            payload["systemInstruction"] = {"parts": instructions}
        tools = _tools(wanted)
        if tools:
            payload["tools"] = tools
        calling = _calling(wanted, tools)
        if calling:
            payload["toolConfig"] = {"functionCallingConfig": calling}
        config = _config(wanted)
        if config:
            payload["generationConfig"] = config
        return payload


def _config(wanted: request.Request) -> dict[str, Any]:
    """`generationConfig`."""
    if wanted.n > MAX_CHOICES:
        asked.refuse("n", f"this provider gives at most {MAX_CHOICES} answers")
    if len(wanted.stop or ()) > MAX_STOPS:
        asked.refuse("stop", f"this provider takes at most {MAX_STOPS} texts")
    config: dict[str, Any] = {
        "candidateCount": wanted.n if wanted.n != 1 else None,
        "temperature": wanted.temperature,
        "topP": wanted.top_p,
        "maxOutputTokens": wanted.max_tokens,
        "stopSequences": wanted.stop or None,
    }
    shape = asked.response_format(wanted)
    if shape is not None:
        config["responseMimeType"] = "application/json"
    if isinstance(shape, asked.Schema):
        # The schema's name and `strict` have no place here: it is always enforced.
        config["responseJsonSchema"] = shape.schema
    return {name: value for name, value in config.items() if value is not None}


_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}


def _calling(wanted: request.Request, tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """`functionCallingConfig`. It is about functions alone, and an error where there are none."""
    chosen = tool_choice.of(wanted)
    tool_choice.check_parallel(wanted)
    if isinstance(chosen, asked.Native):
        asked.refuse(chosen.where, "this provider knows no such choice")
    if chosen is None:
        return None
    if not any("functionDeclarations" in tool for tool in tools):
        if chosen.mode != "auto":
            asked.refuse("tool_choice", "this provider lets functions alone be chosen")
        return None
    made: dict[str, Any] = {"mode": _MODES[chosen.mode]}
    return made | {"allowedFunctionNames": [chosen.name]} if chosen.name else made


def _tools(wanted: request.Request) -> list[dict[str, Any]]:
    """All functions in one tool, as the API wants them, and Google's own tools as they are."""
    functions: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for tool in asked.tools(wanted):
        if isinstance(tool, asked.Native):
            if not tool.fields or not tool.fields.keys() <= TOOLS:
                known = ", ".join(sorted(TOOLS))
                asked.refuse(tool.where, f"no function, and no tool of this provider ({known})")
            own.append(tool.fields)
            continue
        # `strict` is left out: clients set it for every tool, and check arguments all the same.
        declared = {
            "name": tool.name,
            "description": tool.description,
            "parametersJsonSchema": tool.parameters,
        }
        functions.append({name: value for name, value in declared.items() if value is not None})
    return ([{"functionDeclarations": functions}] if functions else []) + own
