"""UI messages as messages of a conversation.

Strategy: a message of the assistant is a whole turn: its steps, each with what was said and which
tools were called, and the tools' outputs beside their calls. Each step becomes a message, and each
output one behind it. A call without an output, of which a stop in mid-answer leaves some, is left
out, as no provider takes one. So is what is for the page alone (sources, an application's data),
and reasoning, which is for nobody but the provider that made it. What a provider has put beside a
call goes back with it, if the newest such call is of that kind too: Gemini 3 demands it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn

import msgspec

from holdfast import errors, request

MAX_PARTS = 10_000
"""Parts of one message."""

DENIED = "The user did not allow this call."
"""The output of a tool that the user has forbidden without a reason."""

SEALING = ("google", "openai_chat")
"""Kinds of providers that put something beside a call."""

_PAGE = ("reasoning", "reasoning-file", "source-url", "source-document", "custom")
_AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}


class UiMessage(msgspec.Struct, frozen=True):
    """One message as a page keeps it; what else it holds is the application's."""

    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_PARTS)]
    id: request.Label = ""


def sealing(said: list[UiMessage]) -> str:
    """The kind of provider that sealed the newest call that is sealed; "" where none is."""
    parts = (part for message in reversed(said) for part in reversed(message.parts))
    return next((kind for part in parts for kind in SEALING if _seal(part, kind)), "")


def read(said: list[UiMessage]) -> list[request.Message]:
    """The conversation; a message that says nothing is left out. Raises `errors.InvalidField`."""
    kind, found = sealing(said), list[request.Message]()
    for number, message in enumerate(said):
        turn = _Turn(message.role, kind)
        for place, part in enumerate(message.parts):
            turn.add(part, f"messages[{number}].parts[{place}]")
        found += turn.messages()
    return found


class _Turn:
    """One UI message, part by part; what a provider of this kind has sealed goes back."""

    def __init__(self, role: Literal["system", "user", "assistant"], kind: str) -> None:
        self._role, self._kind = role, kind
        self._done: list[request.Message] = []
        self._begin()

    def _begin(self) -> None:
        self._content: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._outputs: list[request.Message] = []

    def messages(self) -> list[request.Message]:
        """What it comes to."""
        self._end_step()
        return self._done

    def _end_step(self) -> None:
        if self._content or self._calls:
            content = _content(self._content)
            self._done.append(
                request.Message(self._role, content, tool_calls=self._calls or None),
            )
            self._done += self._outputs
        self._begin()

    def add(self, part: dict[str, Any], where: str) -> None:
        """Takes the next part."""
        kind = _text(part, "type", where)
        if kind == "text":
            if text := _text(part, "text", where):
                self._content.append({"type": "text", "text": text})
        elif kind == "step-start":
            self._end_step()
        elif kind == "file":
            if self._role == "user":  # what a model has drawn no model takes back
                self._content.append(_file(part, where))
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            self._call(part, kind, where)
        elif kind == "steering-message":
            self._steered(part, where)
        elif kind not in _PAGE and not kind.startswith("data-"):
            _refuse(f"{where}.type", f"{kind[:100]!r} is not known")

    def _call(self, part: dict[str, Any], kind: str, where: str) -> None:
        """A tool call; a provider's own tool was its own business."""
        output = _output(part, where)
        if self._role != "assistant":
            _refuse(where, "a tool call belongs to a message of the assistant")
        if output is None or part.get("providerExecuted") is True:
            return
        name = _text(part, "toolName", where) if kind == "dynamic-tool" else kind[len("tool-") :]
        id = _text(part, "toolCallId", where)
        written = part.get("input")
        # What a model wrote that was no JSON was never called; its error says so.
        arguments = _json(written if isinstance(written, dict) else {})
        function = {"name": name, "arguments": arguments}
        call = {"id": id, "type": "function", "function": function}
        if seal := _seal(part, self._kind):
            call["extra_content"] = seal
        self._calls.append(call)
        self._outputs.append(request.Message("tool", output, tool_call_id=id))

    def _steered(self, part: dict[str, Any], where: str) -> None:
        """What the user said while the assistant was answering."""
        self._end_step()
        said = part.get("parts")
        if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
            _refuse(f"{where}.parts", "must be a list of parts")
        turn = _Turn("user", self._kind)
        for place, one in enumerate(said):
            turn.add(one, f"{where}.parts[{place}]")
        self._done += turn.messages()


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]] | None:
    """Text alone as text: some servers take nothing else."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or None


def _seal(part: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """What a provider of this kind has put beside a call, as it is given back."""
    beside = part.get("callProviderMetadata")
    own = beside.get(kind) if isinstance(beside, dict) else None
    if not isinstance(own, dict):
        return None
    seal = {"google": own} if kind == "google" else own.get("extra_content")
    return seal if isinstance(seal, dict) else None


def _output(part: dict[str, Any], where: str) -> str | None:
    """What a tool gave; None where it did not come to that."""
    state = _text(part, "state", where)
    if state == "output-available":
        output = part.get("output")
        return output if isinstance(output, str) else _json(output)
    if state == "output-error":
        return _text(part, "errorText", where)
    approval = part.get("approval")
    answer = approval if isinstance(approval, dict) else {}
    if state == "output-denied" or answer.get("approved") is False:
        reason = answer.get("reason")
        return reason if isinstance(reason, str) and reason else DENIED
    return None


def _file(part: dict[str, Any], where: str) -> dict[str, Any]:
    url, media_type = _text(part, "url", where), _text(part, "mediaType", where)
    kind, _, form = media_type.lower().partition("/")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    if not url.startswith("data:"):
        _refuse(f"{where}.url", "a file that is no image must be a data: URL")
    if kind == "audio":
        data = url.partition(",")[2]
        sound = {"data": data, "format": _AUDIO.get(form, form)}
        return {"type": "input_audio", "input_audio": sound}
    file = {"file_data": url}
    if isinstance(part.get("filename"), str):
        file["filename"] = part["filename"]
    return {"type": "file", "file": file}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(part: dict[str, Any], name: str, where: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else _refuse(f"{where}.{name}", "must be a text")


def _refuse(where: str, why: str) -> NoReturn:
    raise errors.InvalidField(f"`{where}`: {why}.")
