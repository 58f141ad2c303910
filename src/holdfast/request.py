"""What a client asks for, whatever it spoke: the value between dialects and providers.

Strategy: a dialect parses its body into a `Request`; a provider builds its call from one;
neither sees the other. Messages stay close to what the client sent (role, content, and the
fields of tool use), because providers differ in what they take and each says so itself.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec

Label = Annotated[str, msgspec.Meta(max_length=256)]
"""Text that is stored, indexed and shown."""

Priority = Literal["low", "normal", "high"]

MAX_TARGETS = 8
"""Providers that a request may name as the next ones."""

TargetName = Annotated[str, msgspec.Meta(max_length=321)]
"""`provider/model`, of 64 and 256 characters at most."""


# Packed whole: a default counts as left out only where it is the same object, so that two
# requests that are equal would get two fingerprints.
class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels of a stream; they never reach a provider."""

    purpose: Label = "chat"
    priority: Priority = "normal"
    session_id: Label | None = None
    user_id: Label | None = None


class Fallback(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What follows where a provider fails; None leaves it to the server.

    `mode`: whether an answer that broke off is continued, written anew, or ends with the error.
    `otherwise`: what happens to one that cannot be continued. `providers`, each as
    `provider/model`, are asked next, in this order, in place of the server's; an empty list is
    nobody else.
    """

    mode: Literal["continue", "restart", "none"] | None = None
    otherwise: Literal["restart", "error"] | None = None
    providers: Annotated[list[TargetName], msgspec.Meta(max_length=MAX_TARGETS)] | None = None


class Message(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One message. `content` is text, or a list of parts as in OpenAI chat completions."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class Foreign(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a request says that was written for another API, beside what all providers know.

    `kind` is the wire format that it was written in, as a provider's kind. `fields` are for
    providers of that kind alone; of them `harmless` change nothing in the answer. `headers` are
    sent to these providers beside their own. `whole`: the answer is wanted in one piece, so nobody
    has read what is taken back; else only what is `revocable`, by its type, may stand before an
    answer that begins anew.
    """

    kind: str
    fields: dict[str, Any] = {}
    harmless: list[str] = []
    headers: dict[str, str] = {}
    revocable: list[str] = []
    whole: bool = False


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer that is wanted. `flush_interval_ms` and `buffer_size` (bytes) bound how
    long the answer's pieces may gather; None leaves it to the server."""

    model: str
    messages: list[Message]
    provider: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stop: list[str] | None = None
    n: int = 1
    buffer_size: int | None = None
    flush_interval_ms: int | None = None
    context: dict[str, Any] | None = None
    fallback: Fallback | None = None
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    foreign: Foreign | None = None


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Request).decode


def pack(request: Request) -> bytes:
    """The request as the header keeps it: JSON, the same for equal requests."""
    return _encode(request)


def unpack(data: bytes) -> Request:
    """The opposite of `pack`; raises `msgspec.DecodeError`."""
    return _decode(data)


def fingerprint(request: Request) -> bytes:
    """SHA-256 of the packed request: tells whether two bodies ask for the same, be it whole or as
    it comes, and whatever could be taken back of it."""
    if request.foreign is not None:
        foreign = msgspec.structs.replace(request.foreign, whole=False, revocable=[])
        request = msgspec.structs.replace(request, foreign=foreign)
    return hashlib.sha256(pack(request)).digest()
