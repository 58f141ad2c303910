"""How a vendor of the OpenAI chat format is asked.

Strategy: the vendors' differences are the fields of `Format`, so that a vendor is a row of data
(`vendors`) and no code. An option that a vendor is not known to take is left out where that is
harmless, and refused by name where leaving it out would change the answer.

Format: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from holdfast import errors, request
from holdfast.providers import asked, failures, tool_choice
from holdfast.providers.openai_chat import fold


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A `base.Format`."""

    usage_option: bool = True
    """Usage comes when `stream_options.include_usage` asks for it. Where this is false it
    comes unasked, or the option is an error (Mistral answers 422)."""
    obfuscation_option: bool = False
    """Takes `stream_options.include_obfuscation`: the padding is of no use behind a log."""
    max_tokens: str = "max_tokens"
    """The field that bounds the answer; OpenAI's reasoning models refuse the old name."""
    takes_n: bool = True
    takes_names: bool = True
    """Takes `name` in a message."""
    tool_choices: tuple[tool_choice.Mode, ...] = tool_choice.MODES
    """Those that it heeds; some vendors answer as if others had not been said."""
    parallel_option: bool = True
    """Takes `parallel_tool_calls`."""
    developer_role: bool = False
    """Knows the role `developer`; elsewhere it is sent as `system`."""
    closed: bool = False
    """Takes only what OpenAI's reference names. Servers that speak like it take parts, tools and
    response formats of their own, so there a foreign one is the server's to refuse."""

    @property
    def kind(self) -> str:
        return "openai_chat"

    @property
    def keeping(self) -> None:
        """See `base.Format.keeping`."""
        return None

    def prefills(self, model: str) -> bool:
        """See `base.Format.prefills`."""
        return False

    def path(self, model: str) -> str:
        """See `base.Format.path`."""
        return "/chat/completions"

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """See `base.Format.headers`."""
        return () if key is None else (("Authorization", f"Bearer {key}"),)

    def fold(self, wanted: request.Request, source: failures.Source) -> fold.Fold:
        """See `base.Format.fold`."""
        return fold.Fold(wanted.n, source)

    def payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        """See `base.Format.payload`."""
        if self.closed:
            _refuse_foreign(wanted)
        payload: dict[str, Any] = {
            "model": model,
            "messages": [self._message(n, item) for n, item in enumerate(wanted.messages)],
            "stream": True,
        }
        if self.usage_option:
            payload["stream_options"] = {"include_usage": True}
        if self.obfuscation_option:
            payload["stream_options"]["include_obfuscation"] = False
        if wanted.n != 1:
            if not self.takes_n:
                raise errors.InvalidField("n: this provider gives one answer at a time.")
            payload["n"] = wanted.n
        optional = {
            "temperature": wanted.temperature,
            "top_p": wanted.top_p,
            self.max_tokens: wanted.max_tokens,
            "tools": wanted.tools,
            "tool_choice": self._tool_choice(wanted),
            "parallel_tool_calls": self._parallel(wanted),
            "response_format": wanted.response_format,
            "stop": wanted.stop,
        }
        payload.update({name: value for name, value in optional.items() if value is not None})
        return payload

    def _tool_choice(self, wanted: request.Request) -> str | dict[str, Any] | None:
        chosen = tool_choice.of(wanted)
        if isinstance(chosen, tool_choice.ToolChoice) and chosen.mode not in self.tool_choices:
            known = ", ".join(self.tool_choices)
            asked.refuse("tool_choice", f"of the choices this provider heeds {known} alone")
        return None if chosen is None else wanted.tool_choice

    def _parallel(self, wanted: request.Request) -> bool | None:
        if self.parallel_option:
            return tool_choice.parallel(wanted)
        tool_choice.check_parallel(wanted)
        return None

    def _message(self, number: int, message: request.Message) -> request.Message | dict[str, Any]:
        if message.name is not None and not self.takes_names:
            raise errors.InvalidField(f"messages[{number}].name: this provider takes no names.")
        if message.role == "developer" and not self.developer_role:
            message = msgspec.structs.replace(message, role="system")
        if isinstance(message.content, list) and any(map(_is_own, message.content)):
            return _with_own(message, message.content, told=not self.closed)
        return message


_PARTS = ("text", "image_url", "input_audio", "file", "refusal")
_TOOLS = ("function", "custom")
_CHOICES = ("function", "custom", "allowed_tools")


def _refuse_foreign(wanted: request.Request) -> None:
    for number, message in enumerate(wanted.messages):
        parts = message.content if isinstance(message.content, list) else ()
        for n, part in enumerate(parts):
            if part.get("type") not in _PARTS and not _is_own(part):
                asked.refuse(f"messages[{number}].content[{n}]", "no part that OpenAI has")
    for n, tool in enumerate(wanted.tools or ()):
        if tool.get("type") not in _TOOLS:
            asked.refuse(f"tools[{n}]", "no tool that OpenAI has here")
    chosen = wanted.tool_choice
    if isinstance(chosen, dict) and chosen.get("type") not in _CHOICES:
        asked.refuse("tool_choice", "no choice that OpenAI has here")
    asked.response_format(wanted)


def _is_own(part: dict[str, Any]) -> bool:
    """Whether a part is what these vendors want as a field of the message: reasoning as it came
    (DeepSeek and Moonshot refuse a call whose reasoning is missing), or OpenRouter's with its
    signatures, the `extra` of an `opaque` chunk."""
    return len(part) == 1 and not _OWN.isdisjoint(part)


_OWN = frozenset(("reasoning_content", "reasoning_details"))


def _with_own(
    message: request.Message, content: list[dict[str, Any]], *, told: bool
) -> dict[str, Any]:
    """The message with these parts as its fields, or without them where they are not `told`."""
    fields = msgspec.to_builtins(message)
    rest = [part for part in content if not _is_own(part)]
    # One text goes as it came from a client of theirs, who sends no list.
    bare = len(rest) == 1 and rest[0].keys() == {"type", "text"}
    fields["content"] = rest[0]["text"] if bare else rest or None
    for part in filter(_is_own, content if told else ()):
        ((name, value),) = part.items()
        if name == "reasoning_content":
            fields[name] = fields.get(name, "") + str(value)
        else:
            fields.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return cast(dict[str, Any], fields)
