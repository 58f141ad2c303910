"""What a recorded answer should be read as, and what was read.

Strategy: both sides become a mapping of the same plain words to plain values, made without any
code of the server: one from the file beside the recording, one from the frames that a reader
got. Whoever compares them needs to know neither. Errors are expected by a table of its own,
(status, what the body says) to class, which knows nothing of the providers' tables.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.integration import harness, recording_corrections

from holdfast import errors
from holdfast.testing import recordings

Values = dict[str, Any]


class Row(NamedTuple):
    """Where the status is one of `statuses` (none: any) and the body holds `says`, the error's
    code is `code`. An error in a stream has the status that its body names, or none."""

    statuses: frozenset[int | None]
    says: str
    code: str


def _row(statuses: Iterable[int | None], says: str, error: type[errors.HoldfastError]) -> Row:
    return Row(frozenset(statuses), says, error.code)


_QUOTA = r"insufficient_(quota|balance|credits)|credit balance is too low"
_LENGTH = r"context[_ ](length|window)|prompt is too long"
_KEY = r"(incorrect|invalid)[_ ](x-)?api[- _]?key"
_MODEL = r"model identifier is invalid|model_not_found"

ERROR_CLASSES = (
    _row((), _QUOTA, errors.ProviderQuota),
    _row((402,), "", errors.ProviderQuota),
    _row((400, 413, None), _LENGTH, errors.ProviderContextLength),
    _row((400, None), _KEY, errors.ProviderAuth),
    _row((401, 403), "", errors.ProviderAuth),
    _row((400, None), _MODEL, errors.ProviderModelNotFound),
    _row((404,), "", errors.ProviderModelNotFound),
    _row((429,), "", errors.ProviderRateLimited),
    _row((None,), r"rate_limit", errors.ProviderRateLimited),
    _row((408, 504, 524), "", errors.ProviderTimeout),
    _row((498, 503, 529), "", errors.ProviderOverloaded),
    _row((None,), r"overloaded", errors.ProviderOverloaded),
    _row(range(400, 500), "", errors.ProviderRejected),
    _row((None,), r"invalid_request_error", errors.ProviderRejected),
    _row((), "", errors.ProviderFailed),
)
"""The first row that fits."""


def error_class(status: int | None, body: str) -> str:
    """The code of the error that a refusal with this status and body is."""
    for row in ERROR_CLASSES:
        fits = not row.statuses or status in row.statuses
        if fits and re.search(row.says, body, re.IGNORECASE):
            return row.code
    raise AssertionError("the last row fits everything")


def _error(recording: recordings.Recording) -> str | None:
    """What the recording should end with; a file may name the class itself."""
    told = recording.expected.get("error")
    if recording.status != 200:
        return error_class(recording.status, recording.wire.decode("utf-8", "replace"))
    if isinstance(told, str):
        return str(getattr(errors, told).code)
    if told is None:
        cut = recording.expected.get("done") is False and recording.expected.get("finish") is None
        return errors.ProviderInterrupted.code if cut else None
    named = (told.get("status_code"), told.get("code"), told.get("status"))
    status = next((n for n in named if type(n) is int and 400 <= n < 600), None)
    return error_class(status, json.dumps(told))


def _tokens(usage: Values | None) -> list[int] | None:
    """Input, output and all tokens, of ours or of a provider's usage: chat's, Anthropic's, or
    Google's. Responses' is spelt as ours."""
    if not usage:
        return None
    counts: dict[str, int] = {name: n for name, n in usage.items() if type(n) is int}
    written = sum(counts.get(n, 0) for n in _OUTPUT)
    read = sum(counts.get(n, 0) for n in _INPUT)
    totals = (counts[n] for n in ("total_tokens", "totalTokenCount") if n in counts)
    return [read, written, next(totals, read + written)]


_INPUT = (
    *("input_tokens", "prompt_tokens"),
    *("cache_creation_input_tokens", "cache_read_input_tokens"),  # Anthropic counts them apart
    *("promptTokenCount", "toolUsePromptTokenCount"),
)
_OUTPUT = (
    *("output_tokens", "completion_tokens"),
    *("candidatesTokenCount", "thoughtsTokenCount"),
)


def _finish(beside: Values) -> str | None:
    """The provider's own word. A blocked prompt is told by Google as `blocked:REASON`; an
    answer that failed has an error and no finish reason."""
    told = beside.get("finish")
    if told is None or told in ("blocked:None", "failed"):
        return None
    return str(told).removeprefix("blocked:")


def proof(text: str) -> list[Any]:
    """Bytes and SHA-256 of a text in UTF-8."""
    data = text.encode()
    return [len(data), hashlib.sha256(data).hexdigest()]


def expected(
    recording: recordings.Recording,
) -> tuple[Values, dict[str, recording_corrections.Correction]]:
    """What should be read, and which of it was corrected."""
    beside, error = recording.expected, _error(recording)
    text = beside.get("final_text", "")
    values = {
        "text": text,
        "reasoning": beside.get("reasoning_text", ""),
        "tool calls": [_call(c["name"], c["arguments"]) for c in beside.get("tool_calls") or ()],
        "finish": _finish(beside),
        "error": error,
        "usage": _tokens(beside.get("usage")),
        "proof": None if error else proof(text),
        "end": "clean",
    }
    if "refusal_text" in beside:
        values["refusal"] = beside["refusal_text"]
    known = recording_corrections.of(beside.get("sha256", ""))
    corrected = {word: each for word, each in known.items() if word in values}
    right = {word: each.of(recording) for word, each in corrected.items()}
    return values | right, corrected


def read(answer: harness.Response) -> Values:
    """What a reader got: choice 0, of an answer that was written from start to end."""
    if answer.status != 200:
        return {"status": [answer.status, answer.body.decode("utf-8", "replace")]}
    texts: dict[str, list[str]] = {"content": [], "reasoning": [], "refusal": []}
    calls: dict[int, list[str]] = {}
    values: Values = {"finish": None, "error": None, "usage": None, "proof": None}
    for event, data, _ in map(_fields, harness.said(answer.body)):
        if event == "error":
            values["error"] = data["code"]
        elif event == "complete":
            values["proof"] = [data["length"], data["sha256"]]
            values |= _agreed(values, data)
        elif event == "metadata" and data["type"] == "usage":
            values["usage"] = _tokens(data)
        elif data.get("choice", 0) != 0:
            continue
        elif event == "metadata" and data["type"] == "finish":
            values["finish"] = data["provider_finish_reason"]
        elif event == "chunk" and data["type"] == "tool_call":
            call = calls.setdefault(data["call"], ["", ""])
            call[0] += data.get("name", "")
            call[1] += data.get("delta", "")
        elif event == "chunk" and data["type"] in texts:
            texts[data["type"]].append(data.get("delta", ""))
    said = {name: "".join(pieces) for name, pieces in texts.items()}
    values["text"], values["reasoning"] = said["content"], said["reasoning"]
    values["refusal"] = said["refusal"]
    values["tool calls"] = [_call(*calls[n]) for n in sorted(calls)]
    values["end"] = "clean" if answer.clean else "unclean"
    return values


def _call(name: str, arguments: str) -> list[str]:
    """Arguments without the whitespace that is no part of any value: who gets them as an
    object cannot know it."""
    with contextlib.suppress(ValueError):
        arguments = json.dumps(json.loads(arguments), ensure_ascii=False)
    return [name, arguments]


def _fields(block: harness.Said) -> tuple[str, Values, str | None]:
    return block.event, block.data, block.id


def _agreed(values: Values, complete: Values) -> Values:
    """The last event repeats finish and usage; where it says another thing, both are shown."""
    again = {"finish": complete["provider_finish_reason"], "usage": _tokens(complete.get("usage"))}
    return {
        word: value if value == values[word] else [values[word], "complete", value]
        for word, value in again.items()
    }
