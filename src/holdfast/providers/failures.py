"""How a provider's refusal reads: an HTTP answer, or an error inside a stream.

Strategy: whatever its shape, a refusal is read into a `verdicts.Refusal`, whose class the
tables there give; so an error in a stream and the same error as an HTTP answer are one.

The provider's text is for people. It is shortened, and whatever looks like a key is masked:
some providers echo the key that they refuse.

Shapes: OpenAI `{"error": {message, type, code, param}}`, also with `status_code` (Groq) or
`metadata.raw` (OpenRouter); flat `{"code", "error": "text"}` (xAI); `{"message"}` (Bedrock);
`{"detail"}` (FastAPI servers); `{"object": "error", "message"}` (older vLLM); Google's
`{"error": {code, message, status, details}}`, bare or in a list, and of its Interactions API
`{"error": {code, message}}` with a word as the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from holdfast import errors
from holdfast.providers import verdicts

MAX_MESSAGE = 300
"""Characters of a provider's text that are kept."""

MAX_RETRY_AFTER = 3600.0
"""Seconds; a provider that asks for more is asked again after this long all the same."""

_READ = 4096  # characters of a provider's text that are looked at
_DEPTH = 3  # levels of `error` in `error` that are followed


class Source(msgspec.Struct, frozen=True):
    """Who speaks: the provider's `name` in messages, and the `key` to keep out of them."""

    name: str
    key: str | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return f"Source({self.name!r})"

    def in_stream(self, body: Any) -> errors.ProviderError:
        """The error that a decoded object inside a stream reports."""
        refusal = read(body)
        verdict = verdicts.classify(refusal)
        return verdict(self._said(None, refusal.text), retry_after=refusal.retry_after)

    def malformed(self, what: str) -> errors.ProviderMalformed:
        """What the provider sent is not its own format; `what` quotes nothing of it."""
        return errors.ProviderMalformed(f"{self.name}: {what}")

    def broke_off(
        self, verdict: verdicts.Verdict, reason: str, text: str = ""
    ) -> errors.ProviderError:
        """The answer broke off with a finish reason that is an error; `text` is the
        provider's."""
        said = f"The answer broke off: {reason}."
        return verdict(self._said(None, f"{said} {text}" if text else said))

    def of_response(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> errors.ProviderError:
        """The error for an answer that is no stream: any status but 200, or JSON in a 200.

        JSON in a 2xx that reports no error is no stream either: `ProviderMalformed`.
        """
        try:
            decoded = json.loads(body.decode("utf-8", "replace"), strict=False)
            refusal = read(decoded)
        except (ValueError, RecursionError):
            decoded, refusal = None, verdicts.Refusal(body[:_READ].decode("utf-8", "replace"))
        names = {name.lower(): value for name, value in headers.items()}
        retry_after = _retry_after(names)
        if retry_after is None:
            retry_after = refusal.retry_after
        if 200 <= status < 300:
            if reports_error(decoded):
                return self.in_stream(decoded)
            return self.malformed(f"HTTP {status} with a body that is no stream.")
        if "html" in names.get("content-type", "") or refusal.text.lstrip()[:1] == "<":
            refusal = verdicts.Refusal()
        verdict = verdicts.classify(refusal, status)
        return verdict(self._said(status, refusal.text), retry_after=retry_after)

    def _said(self, status: int | None, text: str) -> str | None:
        """The message: who said what with which status; None is the class's own."""
        text = masked(text, self.key)
        if status is not None:
            return f"{self.name}: HTTP {status}: {text}" if text else f"{self.name}: HTTP {status}."
        return f"{self.name}: {text}" if text else None


def reports_error(body: Any) -> bool:
    """Whether a decoded body is one of the shapes of an error."""
    if isinstance(body, list):
        return bool(body) and reports_error(body[0])
    if not isinstance(body, dict):
        return False
    return bool(body.get("error")) or "error" in (body.get("object"), body.get("type"))


def read(body: Any) -> verdicts.Refusal:
    """What a decoded body of any known shape says; never raises."""
    if isinstance(body, list):
        body = body[0] if body else None
    if isinstance(body, str):
        return verdicts.Refusal(body)
    if not isinstance(body, dict):
        return verdicts.Refusal()
    words: list[str] = []
    texts: list[str] = []
    status, retry_after = None, None
    level: Any = body
    for _ in range(_DEPTH):
        words[:0] = _words(level)
        texts[:0] = _texts(level)
        status = _status(level) or status
        retry_after = _hint(level) or retry_after
        level = level.get("error")
        if not isinstance(level, dict):
            break
    text = next((text for text in texts if text), "")
    if retry_after is None:
        retry_after = _told(text)
    return verdicts.Refusal(text, tuple(words), status, retry_after)


def _words(level: dict[str, Any]) -> list[str]:
    found = (level.get(name) for name in ("code", "type", "status"))
    return [re.sub(r"[- ]", "_", word[:100].lower()) for word in found if isinstance(word, str)]


def _texts(level: dict[str, Any]) -> list[str]:
    metadata = level.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    message = level.get("message")
    if isinstance(raw, str) and isinstance(message, str):
        message = f"{message}: {raw[:_READ]}"
    found = (message, level.get("error"), _detail(level.get("detail")), _detail(message))
    return [text[:_READ] for text in found if isinstance(text, str)]


def _detail(value: Any) -> Any:
    """The text in a validation report: `[{"loc": ["body", "n"], "msg": "…"}]`, or in `detail`."""
    if isinstance(value, dict):
        value = value.get("detail")
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return value
    place = value[0].get("loc")
    where = ".".join(str(part)[:50] for part in place[:10]) if isinstance(place, list) else ""
    return f"{where}: {value[0].get('msg')}"


def _status(level: dict[str, Any]) -> int | None:
    for name in ("status_code", "code", "status"):
        value = level.get(name)
        if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value, re.ASCII):
            return int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return None


def _hint(level: dict[str, Any]) -> float | None:
    """Google's RetryInfo."""
    details = level.get("details")
    for detail in details[:20] if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return _seconds(delay[:-1])
    return None


_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PIECE = (
    r"(\d{1,6}(?:\.\d{1,9})?) ?"
    r"(ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
_PIECES = re.compile(_PIECE, re.ASCII)
_TOLD = re.compile(
    rf"(?:try again|retry) (?:in|after) ((?:{_PIECE} ?){{1,5}})", re.IGNORECASE | re.ASCII
)


def _told(text: str) -> float | None:
    """A delay in words: "Please try again in 2h1m20.5s", "Please retry after 30 seconds"."""
    match = _TOLD.search(text)
    if match is None:
        return None
    pieces = _PIECES.findall(match[1].lower())
    return _bounded(
        sum(float(n) * _SECONDS[unit if unit == "ms" else unit[0]] for n, unit in pieces)
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After-Ms`, or `Retry-After` in seconds or as a date (RFC 9110, 10.2.3)."""
    milliseconds = _seconds(headers.get("retry-after-ms", ""), 1000)
    if milliseconds is not None:
        return milliseconds
    value = headers.get("retry-after", "")
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    due = _date(value)
    if due is None:
        return None
    # Their own clock, where they tell it: ours may differ.
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return _bounded((due - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _seconds(text: str, unit: int = 1) -> float | None:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text.strip(), re.ASCII):
        return None
    return _bounded(float(text) / unit)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


_MASK = "***"
_KNOWN_BY = 8  # characters of the beginning or the end of a key, from which on they are masked
_KEYS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(bearer|basic)\s+[^\s\"',;]+", re.IGNORECASE), rf"\1 {_MASK}"),
    (
        re.compile(
            r"((?:\b|_)(?:key|secret|password|authorization|access[ _-]token)"
            r"(?: provided| given| was| is)?[\"']?\s*[:=]\s*[\"']?)"
            r"[^\s\"',;]*[^\s\"',;.]",
            re.IGNORECASE,
        ),
        rf"\1{_MASK}",
    ),
    (re.compile(r"\b(?:sk|pk|rk|gsk|xai|pplx|hf|nvapi|tgp|fw|csk|r8)[-_][\w*-]{6,}"), _MASK),
    (re.compile(r"\bAIza[\w-]{10,}|\beyJ[\w.-]{10,}"), _MASK),
    # A long run of letters and digits together. Model names are shorter.
    (re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{32,}"), _MASK),
)


def masked(text: str, secret: str | None = None) -> str:
    """The text in one line, at most `MAX_MESSAGE` characters, with keys masked.

    `secret` is the key that was sent: it is masked wherever it stands, and so is where it begins
    or ends.
    """
    text = text[:_READ].encode("utf-8", "replace").decode()
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if secret and len(secret) > 3:
        for count in range(len(secret), min(len(secret), _KNOWN_BY) - 1, -1):
            text = text.replace(secret[:count], _MASK).replace(secret[-count:], _MASK)
    for pattern, mask in _KEYS:
        text = pattern.sub(mask, text)
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
