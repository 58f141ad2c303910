"""The body of `POST /api/chat`: what `useChat` sends, and what an application may add to it.

Strategy: `useChat` sends a chat's id and its messages; what its transport's `body` adds stands
beside them. Of that our own fields are taken and the rest is the application's business: it is
meant for no provider, so it is left alone. The chat's id becomes the session of the stream, by
which the stream is found again. A message that is gone on with, after its tools were called, keeps
its id: the page would show it twice else.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from holdfast import errors, request
from holdfast.dialects import base, bodies
from holdfast.dialects.ai_sdk import chunks, messages

NAME = "ai_sdk"
MAX_MESSAGES = 10_000
MAX_TOKENS = 10_000_000

Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKENS)]


class Body(msgspec.Struct, frozen=True):
    """The fields that are known. What the AI SDK calls otherwise than we do has both names."""

    messages: Annotated[list[messages.UiMessage], msgspec.Meta(max_length=MAX_MESSAGES)] = []
    id: request.Label | None = None
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    system: str | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    topP: Share | None = None
    max_tokens: Tokens | None = None
    maxOutputTokens: Tokens | None = None
    tools: list[dict[str, Any]] | dict[str, dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    toolChoice: str | dict[str, Any] | None = None
    fallback: request.Fallback | None = None
    stream: bool = True


def parse(body: bytes, model: str | None) -> base.Asked:
    """What a body asks for; `model` where it names none. Raises `errors.MalformedBody`,
    `errors.InvalidField`."""
    said, _ = bodies.parted(body, Body)
    model = said.model or model
    if model is None:
        raise errors.InvalidField(
            "`model` is missing: have the transport's `body` name one, or set dialects.chat_model."
        )
    told = messages.read(said.messages)
    if not told:
        raise errors.InvalidField("`messages` is missing or empty; give at least one message.")
    if said.system is not None:
        told.insert(0, request.Message("system", said.system))
    wanted = request.Request(
        model,
        told,
        temperature=said.temperature,
        top_p=said.topP if said.top_p is None else said.top_p,
        max_tokens=said.max_tokens or said.maxOutputTokens,
        tools=_tools(said.tools),
        tool_choice=_tool_choice(said.tool_choice or said.toolChoice),
        fallback=said.fallback,
        metadata=request.Metadata(session_id=said.id or None),
        foreign=request.Foreign(
            messages.sealing(said.messages) or NAME,
            revocable=chunks.REVOCABLE,
            whole=not said.stream,
        ),
    )
    return base.Asked(wanted, said.stream, chunks.terms(_continued(said.messages)))


def _continued(told: list[messages.UiMessage]) -> str:
    """The id of the message that the answer goes on with, if it does."""
    if not told or told[-1].role != "assistant":
        return ""
    return told[-1].id


def _tools(said: list[dict[str, Any]] | dict[str, dict[str, Any]] | None) -> Any:
    """The tools as OpenAI has them; a mapping has them by name, as the AI SDK does."""
    if not isinstance(said, dict):
        return said or None
    found = []
    for name, tool in said.items():
        schema = tool.get("inputSchema", tool.get("parameters"))
        if not isinstance(schema, dict):
            raise errors.InvalidField(f"`tools.{name[:100]}.inputSchema` must be a JSON Schema.")
        function = {"name": name, "parameters": schema}
        if tool.get("description") is not None:
            function["description"] = tool["description"]
        found.append({"type": "function", "function": function})
    return found or None


def _tool_choice(said: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """The choice as OpenAI has it; the AI SDK names a tool by `toolName`."""
    if isinstance(said, dict) and said.get("type") == "tool":
        return {"type": "function", "function": {"name": said.get("toolName")}}
    return said
