"""The provider that is reached over HTTP, for every format and vendor.

Strategy: a `Format` knows how to ask and how the answer reads, the operator where and with
which key; this file joins the two into calls, and words what goes wrong with the name that the
operator gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast import errors, request, transport
from holdfast.providers import asked, base, failures, translator

_encode = msgspec.json.Encoder().encode


class Provider:
    """A `base.Provider` at `base_url`, which ends without a slash.

    `key_needed` names the environment variable that usually holds the key, where there must
    be one; a server of one's own may need none. `prefill` stands for what the format knows of
    prefills, unless it is None. Raises `errors.SettingsError` for a URL or a
    key that cannot be sent.
    """

    def __init__(
        self,
        name: str,
        format: base.Format,
        *,
        transport_: transport.Transport,
        base_url: str,
        api_key: str | None = None,
        key_needed: str | None = None,
        prefill: bool | None = None,
    ) -> None:
        self.name = name
        self.kind = format.kind
        self._format = format
        self._transport = transport_
        self._api_key = api_key or None
        self._key_needed = key_needed
        self._prefill = prefill
        self._base_url = base_url.rstrip("/")
        self._source = failures.Source(name, self._api_key)
        try:
            self._call("POST", format.path("model"), b"{}")
        except ValueError as error:
            raise errors.SettingsError(f"The provider {name}: {error}.") from None

    def prepare(self, wanted: request.Request, model: str) -> transport.Request:
        """See `base.Provider.prepare`."""
        self._check_key()
        try:
            asked.check_tool_fields(wanted.messages)
            payload = self._format.payload(wanted, model)
            own = wanted.foreign
            if own is None or own.kind != self.kind:
                return self._call("POST", self._format.path(model), _encode(payload))
            body = _encode(_with_fields(payload, own.fields))
            call = self._call("POST", self._format.path(model), body)
            headers = (*call.headers, *own.headers.items())
            return msgspec.structs.replace(call, headers=headers)
        except errors.InvalidField as error:
            raise errors.InvalidField(f"{error.message} (provider {self.name})") from None
        except (UnicodeEncodeError, RecursionError):
            raise errors.InvalidField(
                "messages: a text is not valid Unicode, or a value is nested too deeply."
            ) from None

    def replay(
        self, wanted: request.Request, model: str, kept: str | None, written: int
    ) -> transport.Request | None:
        """See `base.Provider.replay`."""
        keeping = self._format.keeping
        path = None if keeping is None or kept is None else keeping.replay_path(kept, model)
        if path is None:
            return None
        self._check_key()
        return self._call("GET", path)

    def discard(self, kept: str) -> transport.Request | None:
        """See `base.Provider.discard`."""
        keeping = self._format.keeping
        path = None if keeping is None else keeping.discard_path(kept)
        if path is None:
            return None
        self._check_key()
        return self._call("POST", path, accept="application/json")

    def prefills(self, model: str) -> bool:
        """See `base.Provider.prefills`."""
        return self._format.prefills(model) if self._prefill is None else self._prefill

    def translator(self, wanted: request.Request) -> translator.Translator:
        """See `base.Provider.translator`."""
        return translator.Translator(self._format.fold(wanted, self._source), self._source)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> errors.ProviderError:
        """See `base.Provider.failure`."""
        return self._source.of_response(status, headers, body)

    async def open(self, call: transport.Request, sink: transport.Sink) -> base.Exchange:
        """See `base.Provider.open`."""
        return await self._transport.open(call, sink)

    def _check_key(self) -> None:
        if self._api_key is None and self._key_needed is not None:
            raise errors.MissingKey(
                f"The provider {self.name} has no API key: set {self._key_needed}, or let "
                f"providers.{self.name}.api_key_env name another variable that holds it, and "
                "start again."
            )

    def _call(
        self, method: str, path: str, body: bytes = b"", *, accept: str = "text/event-stream"
    ) -> transport.Request:
        headers = (
            *((("Content-Type", "application/json"),) if body else ()),
            ("Accept", accept),
            ("User-Agent", "holdfast"),
            *self._format.headers(self._api_key),
        )
        return transport.Request(method, self._base_url + path, headers, body)


def _with_fields(payload: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with fields that somebody else wrote in its own format; its own words count, and
    of lists (`include`) both."""
    made = dict(payload)
    for name, value in fields.items():
        ours = payload.get(name)
        if name not in payload:
            made[name] = value
        elif isinstance(ours, dict) and isinstance(value, dict):
            made[name] = value | ours
        elif isinstance(ours, list) and isinstance(value, list):
            made[name] = [*ours, *(one for one in value if one not in ours)]
    return made
