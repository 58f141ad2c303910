"""The table of what is watched: log lines, metrics and alerts.

Strategy: a threshold is here, and what it is held to stands in `telemetry.alerts.rules`. Where
alerts are posted is a secret as a whole: for many receivers the address is the key.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from holdfast.settings.fields import Count, Duration, Share, Table

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0  # seconds

KEY_BYTES = (24, 64)
"""The least and the most of a key that signs, as Standard Webhooks has it."""

_URL = r"https?://([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][!\"$-~]*)?"
_SECRET = r"whsec_[A-Za-z0-9+/]{32,86}={0,2}"


def _url(value: object) -> object:
    """Empty is none."""
    if isinstance(value, SecretStr) or value is None:
        return value
    text = value.strip() if isinstance(value, str) else None
    if text == "":
        return None
    if text is None or len(text) > 4096 or re.fullmatch(_URL, text) is None:
        raise ValueError("not the URL of a webhook")
    return text


def _secret(value: object) -> object:
    """Empty is none."""
    if isinstance(value, SecretStr) or value is None:
        return value
    text = value.strip() if isinstance(value, str) else None
    if text == "":
        return None
    if text is None or re.fullmatch(_SECRET, text) is None:
        raise ValueError("not the secret of a webhook")
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("not the secret of a webhook") from None
    if not KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]:
        raise ValueError("not the secret of a webhook")
    return text


WebhookUrl = Annotated[
    SecretStr | None,
    BeforeValidator(_url),
    WithJsonSchema({"type": "string", "pattern": r"^(https?://\S+)?$"}),
    "a URL such as https://hooks.example/alerts, with http:// or https://, without user and "
    "password",
]
WebhookSecret = Annotated[
    SecretStr | None,
    BeforeValidator(_secret),
    WithJsonSchema({"type": "string", "pattern": f"^({_SECRET})?$"}),
    "whsec_ and 24 to 64 random bytes in base64",
]


class Monitoring(Table):
    """Log lines, metrics and alerts."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are logged. `info` is one line at a stream's end."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """How lines are written: `json` is an object a line, for programs; `console` is for people.
    `auto` is for people on a terminal and JSON elsewhere."""

    access_log: bool = False
    """Whether each request is a line as well, when it has ended. Off, as a proxy's log has them
    mostly, and each stream has its line in any case."""

    error_rate: Share = Field(default=0.05, ge=0, le=1)
    """Share of streams that end with an error above which an alert is raised. One in twenty
    is more than a provider's usual day."""

    latency: Duration = Field(default=5.0, ge=0.001, le=HOUR)
    """Time of a chunk, from an event's time, which it gets just before it is appended, to its write
    to a reader, above which an alert is raised, if one in twenty takes longer. Five seconds are a
    stall that people see."""

    connection_drops: Count = Field(default=100, ge=0, le=1_000_000)
    """Connections an hour that break off above which an alert is raised. Readers come back by
    themselves, so a few are everyday life."""

    log_append: Duration = Field(default=0.25, ge=0.001, le=MINUTE)
    """Time of an append to the event log above which an alert is raised, if one in a hundred takes
    longer. A healthy one takes a few milliseconds, and readers wait for each."""

    archive_lag: Duration = Field(default=5 * MINUTE, ge=1, le=30 * DAY)
    """How long something may wait for the archive before an alert is raised. Outlasts a restart of
    a database; what waits is still in the log."""

    loop_lag: Duration = Field(default=0.25, ge=0.001, le=MINUTE)
    """How late a node's event loop may be before an alert is raised, if it is so once in a hundred
    times. From a quarter of a second on the node has more to do than it can."""

    resume_misses: Share = Field(default=0.05, ge=0, le=1)
    """Share of readers that come back behind an event which the log does not hold, above which an
    alert is raised. They begin anew; more than a few mean that a log has lost what it had."""

    webhook_url: WebhookUrl = None
    """Where alerts are posted as JSON when they fire and when they are over (`docs/alerts.md`).
    It may hold a token and is shown nowhere. None: alerts are logged and shown."""

    webhook_secret: WebhookSecret = None
    """What the posts are signed with, so that their receiver knows them for ours. Shown nowhere.
    None: they are not signed."""

    dashboard: bool = True
    """Whether the page for operators is at `/dashboard`. It holds no figures itself: each call that
    it makes needs a key with the scope `admin`."""

    opentelemetry: bool = False
    """Whether streams are told to OpenTelemetry as spans and metrics (`docs/tracing.md`); the SDK,
    and where it exports to, are the process' own. Off, as it needs `opentelemetry-api`."""

    @model_validator(mode="after")
    def _a_secret_signs_something(self) -> Self:
        if self.webhook_secret is not None and self.webhook_url is None:
            raise ValueError("webhook_secret needs a webhook_url")
        return self
