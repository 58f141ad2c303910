"""How OpenAI Responses, and a server of that format, is asked.

Strategy: nothing is stored at the provider: `store` is false, the whole conversation is sent
each time, and reasoning comes back encrypted, so that the next request can give it back.
`messages` writes the input. What servers do differently are fields of `Format`; what the API
cannot do is refused by name where leaving it out would change the answer.

Format: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import fnmatch
from typing import Any

import msgspec

from holdfast import request
from holdfast.providers import asked, failures
from holdfast.providers.openai_responses import fold, messages

REASONING = ("o[1-9]*", "gpt-[5-9]*", "gpt-oss*", "codex-*", "computer-use-*")
"""Models that reason, as patterns of the name without its vendor, but for `*-chat*`. Others
answer 400 where encrypted reasoning is asked for."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A `base.Format`."""

    obfuscation_option: bool = False
    """Takes `stream_options.include_obfuscation`: the padding is of no use behind a log."""
    developer_role: bool = False
    """Knows the role `developer`; elsewhere it is sent as `system`."""

    @property
    def kind(self) -> str:
        return "openai_responses"

    def path(self, model: str) -> str:
        """See `base.Format.path`."""
        return "/responses"

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """See `base.Format.headers`."""
        return () if key is None else (("Authorization", f"Bearer {key}"),)

    def fold(self, wanted: request.Request, source: failures.Source) -> fold.Fold:
        """See `base.Format.fold`."""
        return fold.Fold(source)

    def payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        """See `base.Format.payload`."""
        if wanted.n != 1:
            asked.refuse("n", "this provider gives one answer at a time")
        if wanted.stop:
            asked.refuse("stop", "this provider takes no stop sequences")
        payload: dict[str, Any] = {
            "model": model,
            "input": list(messages.items(wanted, developer_role=self.developer_role)),
            "stream": True,
            "store": False,
        }
        if _reasons(model):
            payload["include"] = ["reasoning.encrypted_content"]
        if self.obfuscation_option:
            payload["stream_options"] = {"include_obfuscation": False}
        shape = messages.text_format(wanted)
        if shape is not None:
            payload["text"] = {"format": shape}
        if wanted.tools:
            payload["tools"] = messages.tools(wanted)
        if wanted.temperature is not None:
            payload["temperature"] = wanted.temperature
        if wanted.max_tokens is not None:
            payload["max_output_tokens"] = wanted.max_tokens
        return payload


def _reasons(model: str) -> bool:
    name = model.rpartition("/")[2]
    return "-chat" not in name and any(fnmatch.fnmatchcase(name, each) for each in REASONING)
