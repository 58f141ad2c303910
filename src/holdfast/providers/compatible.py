"""Vendors that speak the OpenAI chat format, as rows of data, and the provider for all.

Strategy: one `Provider` makes the request that a vendor's `Row` describes, so that a new
vendor is a row and no code. A row says what differs: where it is, where its key is looked
for, which options it refuses. An option that a vendor is not known to take is left out where
that is harmless, and refused by name where leaving it out would change the answer.

Base URLs, key names and options are those of the vendors' own API references; a vendor whose
URL could not be confirmed has no row and can be reached as `openai_chat` with a `base_url`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast import errors, request, transport
from holdfast.providers import base, failures, openai_chat


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor. `api_key_env` names the environment variable of its key; None needs none."""

    name: str
    base_url: str
    api_key_env: str | None
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
    developer_role: bool = False
    """Knows the role `developer`; elsewhere it is sent as `system`."""


_ROWS = (
    Row(
        name="openai",
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        obfuscation_option=True,
        max_tokens="max_completion_tokens",
        developer_role=True,
    ),
    Row(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        api_key_env="DEEPSEEK_API_KEY",
        takes_n=False,
    ),
    Row(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        api_key_env="GROQ_API_KEY",
        max_tokens="max_completion_tokens",
        takes_n=False,
        takes_names=False,
    ),
    Row(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        api_key_env="MISTRAL_API_KEY",
        usage_option=False,
    ),
    Row(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
        takes_n=False,
    ),
    Row(name="xai", base_url="https://api.x.ai/v1", api_key_env="XAI_API_KEY"),
    Row(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        api_key_env="PERPLEXITY_API_KEY",
        usage_option=False,
        takes_n=False,
    ),
    Row(
        name="together",
        base_url="https://api.together.xyz/v1",
        api_key_env="TOGETHER_API_KEY",
        usage_option=False,
    ),
    Row(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        api_key_env="FIREWORKS_API_KEY",
        usage_option=False,
    ),
    Row(
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        api_key_env="CEREBRAS_API_KEY",
        usage_option=False,
        max_tokens="max_completion_tokens",
        takes_n=False,
    ),
    Row(
        name="moonshot",
        base_url="https://api.moonshot.ai/v1",
        api_key_env="MOONSHOT_API_KEY",
    ),
    Row(
        name="alibaba",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        api_key_env="DASHSCOPE_API_KEY",
    ),
    Row(
        name="zai",
        base_url="https://api.z.ai/api/paas/v4",
        api_key_env="ZAI_API_KEY",
        usage_option=False,
        takes_n=False,
    ),
    Row(
        name="nvidia",
        base_url="https://integrate.api.nvidia.com/v1",
        api_key_env="NVIDIA_API_KEY",
    ),
    Row(name="ollama", base_url="http://localhost:11434/v1", api_key_env=None, takes_n=False),
    Row(name="vllm", base_url="http://localhost:8000/v1", api_key_env=None),
    Row(name="lmstudio", base_url="http://localhost:1234/v1", api_key_env=None, takes_n=False),
)

ROWS: dict[str, Row] = {row.name: row for row in _ROWS}
ROWS["openai_chat"] = ROWS["openai"]
"""The rows by kind; `openai_chat` is OpenAI's own, and the kind for a `base_url` of one's own."""

_encode = msgspec.json.Encoder().encode


class Provider:
    """A `base.Provider` for one row.

    `base_url` replaces the row's. A key is needed where the row has one and the URL is the
    row's own; a server of one's own may need none. Raises `errors.SettingsError` for a URL or a
    key that cannot be sent.
    """

    kind = "openai_chat"

    def __init__(
        self,
        name: str,
        row: Row,
        *,
        transport_: transport.Transport,
        base_url: str | None = None,
        api_key: str | None = None,
    ) -> None:
        self.name = name
        self._row = row
        self._transport = transport_
        self._api_key = api_key or None
        self._key_name = row.api_key_env if base_url in (None, row.base_url) else None
        self._url = (base_url or row.base_url).rstrip("/") + "/chat/completions"
        try:
            self._call(b"")
        except ValueError as error:
            raise errors.SettingsError(f"The provider {name}: {error}.") from None

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        """See `base.Provider.prepare`."""
        if self._api_key is None and self._key_name is not None:
            raise errors.MissingKey(
                f"The provider {self.name} has no API key: let providers.{self.name}.api_key_env "
                f"name a variable that holds it (usually {self._key_name}), and start again."
            )
        try:
            return self._call(_encode(self._payload(wanted, model)))
        except UnicodeEncodeError:
            raise errors.InvalidField("messages: a text is not valid Unicode.") from None

    def translator(self, wanted: request.Request) -> base.Translator:
        """See `base.Provider.translator`."""
        return openai_chat.Translator(choices=wanted.n, source=self.name, secret=self._api_key)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        """See `base.Provider.failure`."""
        return failures.of_response(status, headers, body, source=self.name, secret=self._api_key)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        """See `base.Provider.open`."""
        return await self._transport.open(call, sink)

    def _call(self, body: bytes) -> transport.Request:
        headers = [("Content-Type", "application/json"), ("Accept", "text/event-stream")]
        headers.append(("User-Agent", "holdfast"))
        if self._api_key is not None:
            headers.append(("Authorization", f"Bearer {self._api_key}"))
        return transport.Request("POST", self._url, tuple(headers), body)

    def _payload(self, wanted: request.Request, model: str) -> dict[str, Any]:
        row = self._row
        payload: dict[str, Any] = {
            "model": model,
            "messages": [self._message(n, item) for n, item in enumerate(wanted.messages)],
            "stream": True,
        }
        if row.usage_option:
            payload["stream_options"] = {"include_usage": True}
        if row.obfuscation_option:
            payload["stream_options"]["include_obfuscation"] = False
        if wanted.n != 1:
            if not row.takes_n:
                raise errors.InvalidField(f"n: {self.name} gives one answer at a time.")
            payload["n"] = wanted.n
        optional = {
            "temperature": wanted.temperature,
            row.max_tokens: wanted.max_tokens,
            "tools": wanted.tools,
            "response_format": wanted.response_format,
            "stop": wanted.stop,
        }
        payload.update({name: value for name, value in optional.items() if value is not None})
        return payload

    def _message(self, number: int, message: request.Message) -> request.Message:
        if message.name is not None and not self._row.takes_names:
            raise errors.InvalidField(f"messages[{number}].name: {self.name} takes no names.")
        if message.role == "developer" and not self._row.developer_role:
            return msgspec.structs.replace(message, role="system")
        return message
