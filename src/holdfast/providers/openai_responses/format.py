"""How OpenAI Responses, and a server of that format, is asked.

Strategy: nothing is stored at the provider: `store` is false, the whole conversation is sent
each time, and reasoning comes back encrypted, so that the next request can give it back. Only
`background` has the provider store the answer, which is what lets it be told again after a crash;
the conversation is still sent whole, as what is stored is gone some day.
`messages` writes the input. What servers do differently are fields of `Format`; what the API
cannot do is refused by name where leaving it out would change the answer.

Format: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import fnmatch
from typing import Any

import msgspec

from holdfast import request
from holdfast.providers import asked, base, failures, tool_choice
from holdfast.providers.openai_responses import background, fold, messages

REASONING = ("o[1-9]*", "gpt-[5-9]*", "gpt-oss*", "codex-*", "computer-use-*")
"""Models that reason, as patterns of the name without its vendor, but for `*-chat*`. Others
answer 400 where encrypted reasoning is asked for."""

SEALED = "reasoning.encrypted_content"
"""What is asked for so that reasoning can be given back."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A `base.Format`."""

    obfuscation_option: bool = False
    """Takes `stream_options.include_obfuscation`: the padding is of no use behind a log."""
    developer_role: bool = False
    """Knows the role `developer`; elsewhere it is sent as `system`."""
    background: bool = False
    """Each answer is generated in the background: the provider stores it, and goes on when nobody
    reads. A background run that is not stored, or was not streamed at first, cannot be streamed
    again."""

    @property
    def kind(self) -> str:
        return "openai_responses"

    @property
    def keeping(self) -> base.Keeping:
        """See `base.Format.keeping`."""
        return self

    def prefills(self, model: str) -> bool:
        """See `base.Format.prefills`."""
        return False

    def path(self, model: str) -> str:
        """See `base.Format.path`."""
        return "/responses"

    def headers(self, key: str | None) -> tuple[tuple[str, str], ...]:
        """See `base.Format.headers`."""
        return () if key is None else (("Authorization", f"Bearer {key}"),)

    def fold(self, wanted: request.Request, source: failures.Source) -> fold.Fold:
        """See `base.Format.fold`."""
        return fold.Fold(source, keeps=self.background)

    def replay_path(self, kept: str, model: str) -> str | None:
        """See `base.Keeping.replay_path`. Encrypted reasoning is left out unless it is asked for
        here too, and then the answer would not be the same."""
        include = f"&include%5B%5D={SEALED}" if _reasons(model) else ""
        path = background.path(kept)
        return None if path is None else f"{path}?stream=true{include}"

    def discard_path(self, kept: str) -> str | None:
        """See `base.Keeping.discard_path`."""
        path = background.path(kept)
        return None if path is None else f"{path}/cancel"

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
            payload["include"] = [SEALED]
        if self.background:
            payload |= {"background": True, "store": True}
        if self.obfuscation_option:
            payload["stream_options"] = {"include_obfuscation": False}
        shape = messages.text_format(wanted)
        if shape is not None:
            payload["text"] = {"format": shape}
        if wanted.tools:
            payload["tools"] = messages.tools(wanted)
        optional = {
            "tool_choice": messages.choice(wanted),
            "parallel_tool_calls": tool_choice.parallel(wanted),
            "temperature": wanted.temperature,
            "top_p": wanted.top_p,
            "max_output_tokens": wanted.max_tokens,
        }
        payload.update({name: value for name, value in optional.items() if value is not None})
        return payload


def _reasons(model: str) -> bool:
    name = model.rpartition("/")[2]
    return "-chat" not in name and any(fnmatch.fnmatchcase(name, each) for each in REASONING)
