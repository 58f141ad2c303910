"""What is planted: all that is to be readable nowhere, and a provider that says a part of it.

Strategy: each kind of secret is a text of its own, so that what is found says what was told. Some
lie in a store that is not sealed, and are the control of the search: what was asked for in the log
alone, answers and what is known of their asker in the archive too. Credentials lie in none; so
somebody pastes them all into a prompt, and where a prompt is readable, they are.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from typing import Any

import msgspec
from tests.faults import canaries
from tests.integration import asking

from holdfast.testing import provider as replay

DIALECTS = ("native", "chat/completions", "responses", "messages", "chat")

ANSWERED = ("answer", "reasoning", "tool call", "answer to go on with")
"""By the provider."""

PROMPTS = (
    "system prompt",
    "tool",
    "tool call of the request",
    *(f"prompt by {name}" for name in DIALECTS),
    *(f"prompt that is {how}" for how in ("killed", "cancelled", "failing", "shredded")),
)

LONG_ANSWER = "long answer"
"""What is compressed and on many pages is whole for the database program alone."""

LABELS = ("user of the request", "id of the request", "client program")
"""Of who asks: told to operators, and sealed beside the answer."""

NOWHERE = ("failure of the provider", "key of the provider")
"""In no store, also where nothing is sealed, unless somebody says them."""

ALL = (*ANSWERED, *PROMPTS, LONG_ANSWER, *LABELS, *NOWHERE)

LONG = 40 * 1024
"""Characters that cannot be compressed, so that one record is on many pages."""


class Planted:
    """`pasted` holds what is known by and by: keys of callers, of the ring, of stores."""

    def __init__(self) -> None:
        self.texts = {name: canaries.letters(48) for name in ALL}
        self.noise = base64.b64encode(os.urandom(LONG * 3 // 4)).decode()
        self.pasted: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def secrets(self) -> list[canaries.Canary]:
        """All texts. Of the answer the digest too, by which somebody might look it up."""
        return [canaries.Canary(name, text) for name, text in (self.texts | self.pasted).items()]

    def pasting(self) -> str:
        """What somebody should not have said, and what all others did: it is as long in a store as
        its answer is under way."""
        some = (self[name] for name in (*PROMPTS, *NOWHERE))
        return "\n".join([*self.pasted.values(), *some])

    # Requests

    def body(self, prompt: str, model: str = "ok", **fields: Any) -> dict[str, Any]:
        called = {
            "id": "call_0",
            "type": "function",
            "function": {
                "name": "look",
                "arguments": msgspec.json.encode({"at": self["tool call of the request"]}).decode(),
            },
        }
        return {
            "model": f"vendor/{model}",
            "messages": [
                {"role": "system", "content": self["system prompt"]},
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": None, "tool_calls": [called]},
                {"role": "tool", "tool_call_id": "call_0", "content": "Nothing."},
                {"role": "user", "content": prompt},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": self["tool"],
                        "parameters": {"type": "object", "properties": {}},
                    },
                }
            ],
            "metadata": {"user_id": self["user of the request"]},
            "flush_interval_ms": 0,
            **fields,
        }

    def foreign(self, dialect: str) -> dict[str, Any]:
        """The body of another API's call at `/v1/<dialect>`; that of the AI SDK is at `/api`."""
        prompt = self[f"prompt by {dialect}"]
        said = [{"role": "user", "content": prompt}]
        if dialect == "chat":
            parts = [{"type": "text", "text": prompt}]
            chat = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": parts}]}
            return {"model": "vendor/ok", "trigger": "submit-message", **chat}
        body: dict[str, Any] = {"model": "vendor/ok", "stream": True}
        if dialect == "responses":
            return {**body, "input": prompt}
        if dialect == "messages":
            body["max_tokens"] = 1000
        return {**body, "messages": said}

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": self["client program"],
            "X-Request-Id": self["id of the request"],
        }


class Vendor(replay.ReplayServer):
    """A provider that asks for a key. `gate` is what some answers wait for in the middle."""

    def __init__(self, planted: Planted) -> None:
        super().__init__(self._answer)
        self.gate = asyncio.Event()
        self._planted = planted

    def _answer(self, asked: replay.Request) -> replay.Answer:
        planted = self._planted
        name, _, number = asked.json()["model"].partition("-")
        echo = f"{planted['failure of the provider']} {asked.headers.get('authorization')}"
        error = msgspec.json.encode({"error": {"message": echo, "type": echo, "code": None}})
        if name == "status":
            kind = ("Content-Type", "application/json")
            return replay.Answer(status=int(number), body=(error,), headers=(kind,))
        said = asking.chunk(planted["answer to go on with"])
        bodies: Mapping[str, tuple[bytes | asyncio.Event, ...]] = {
            "ok": (self._thought(), asking.chunk(planted["answer"]), self._called(), CALLED),
            "long": (asking.chunk(planted.noise), asking.chunk(planted[LONG_ANSWER]), STOP),
            "gate": (said, self.gate, said, STOP),
            "event": (said, b"data: %b\n\n" % error),
            "broken": (said, b'data: {"choices": [%b\n\n' % echo.encode()),
            "cut": (said,),
        }
        return replay.Answer(body=bodies[name], ending="fin" if name == "cut" else "clean")

    def _thought(self) -> bytes:
        thought = {"reasoning_content": self._planted["reasoning"]}
        return b"data: %b\n\n" % msgspec.json.encode({"choices": [{"index": 0, "delta": thought}]})

    def _called(self) -> bytes:
        said = msgspec.json.encode({"at": self._planted["tool call"]}).decode()
        call = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": said}}
        choice = {"index": 0, "delta": {"tool_calls": [call]}}
        return b"data: %b\n\n" % msgspec.json.encode({"choices": [choice]})


STOP = asking.STOP
CALLED = (
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}\n\n'
    b"data: [DONE]\n\n"
)
