"""The error tree: its codes are on the wire, so a change of one must be meant.

Strategy: the table below says again what each class says, and is compared with the classes
themselves; the tree in the module's docstring is parsed and compared too. A class that is
renamed, moved, added or given another status fails here until the table says so.
"""

from __future__ import annotations

import re

import pytest

from holdfast import errors

# Class: (parent, code, status, retryable)
TABLE = {
    "HoldfastError": ("Exception", "internal", 500, False),
    "RequestError": ("HoldfastError", "request_error", 400, False),
    "MalformedBody": ("RequestError", "malformed_body", 400, False),
    "InvalidField": ("RequestError", "invalid_field", 400, False),
    "BodyTooLarge": ("RequestError", "body_too_large", 413, False),
    "UnsupportedEncoding": ("RequestError", "unsupported_encoding", 415, False),
    "UnknownProvider": ("RequestError", "unknown_provider", 400, False),
    "UnknownModel": ("RequestError", "unknown_model", 400, False),
    "MalformedPosition": ("RequestError", "malformed_position", 400, False),
    "ForeignPosition": ("RequestError", "foreign_position", 400, False),
    "IdempotencyMismatch": ("RequestError", "idempotency_mismatch", 422, False),
    "AlreadyRunning": ("RequestError", "already_running", 409, False),
    "NotYet": ("RequestError", "not_yet", 501, False),
    "AccessError": ("HoldfastError", "access_error", 403, False),
    "Unauthorized": ("AccessError", "unauthorized", 401, False),
    "Forbidden": ("AccessError", "forbidden", 403, False),
    "StreamNotFound": ("AccessError", "stream_not_found", 404, False),
    "StreamExpired": ("AccessError", "stream_expired", 410, False),
    "ConnectionNotFound": ("AccessError", "connection_not_found", 404, False),
    "CapacityError": ("HoldfastError", "capacity_error", 503, True),
    "TooManyConnections": ("CapacityError", "too_many_connections", 503, True),
    "Overloaded": ("CapacityError", "overloaded", 503, True),
    "Draining": ("CapacityError", "draining", 503, True),
    "KeysUnavailable": ("CapacityError", "keys_unavailable", 503, True),
    "ArchiveUnavailable": ("CapacityError", "archive_unavailable", 503, True),
    "QuotaError": ("HoldfastError", "quota_error", 429, True),
    "RequestLimit": ("QuotaError", "request_limit", 429, True),
    "StreamLimit": ("QuotaError", "stream_limit", 429, True),
    "ConnectionLimit": ("QuotaError", "connection_limit", 429, True),
    "TokenLimit": ("QuotaError", "token_limit", 429, True),
    "CostLimit": ("QuotaError", "cost_limit", 429, True),
    "LogError": ("HoldfastError", "log_error", 503, True),
    "LogUnavailable": ("LogError", "log_unavailable", 503, True),
    "LogLocked": ("LogError", "log_locked", 503, False),
    "LogCorrupt": ("LogError", "log_corrupt", 503, False),
    "KeyMissing": ("LogCorrupt", "key_missing", 503, False),
    "UnknownPosition": ("LogError", "unknown_position", 409, False),
    "TransportError": ("HoldfastError", "transport_error", 502, True),
    "Unreachable": ("TransportError", "unreachable", 502, True),
    "DeadlineExceeded": ("TransportError", "deadline_exceeded", 504, True),
    "Truncated": ("TransportError", "truncated", 502, True),
    "ProtocolViolation": ("TransportError", "protocol_violation", 502, True),
    "SseError": ("HoldfastError", "sse_error", 502, False),
    "LineTooLong": ("SseError", "line_too_long", 502, False),
    "EventTooLarge": ("SseError", "event_too_large", 502, False),
    "ProviderError": ("HoldfastError", "provider_error", 502, True),
    "ProviderUnreachable": ("ProviderError", "provider_unreachable", 502, True),
    "ProviderTimeout": ("ProviderError", "provider_timeout", 504, True),
    "ProviderInterrupted": ("ProviderError", "provider_interrupted", 502, True),
    "ProviderMalformed": ("ProviderError", "provider_malformed", 502, True),
    "ProviderFailed": ("ProviderError", "provider_failed", 502, True),
    "ProviderOverloaded": ("ProviderError", "provider_overloaded", 503, True),
    "ProviderRateLimited": ("ProviderError", "provider_rate_limited", 429, True),
    "ProviderQuota": ("ProviderError", "provider_quota", 429, False),
    "ProviderAuth": ("ProviderError", "provider_auth", 502, False),
    "ProviderModelNotFound": ("ProviderError", "provider_model_not_found", 404, False),
    "ProviderContextLength": ("ProviderError", "provider_context_length", 400, False),
    "ProviderRejected": ("ProviderError", "provider_rejected", 400, False),
    "StreamFailure": ("HoldfastError", "stream_failure", 500, False),
    "Cancelled": ("StreamFailure", "cancelled", 499, False),
    "Interrupted": ("StreamFailure", "interrupted", 500, True),
    "ContinuationDiverged": ("StreamFailure", "continuation_diverged", 500, True),
    "StreamTooLarge": ("StreamFailure", "stream_too_large", 500, False),
    "LogLost": ("StreamFailure", "log_lost", 503, True),
    "SettingsError": ("HoldfastError", "settings_error", 500, False),
    "UnknownSetting": ("SettingsError", "unknown_setting", 500, False),
    "MissingKey": ("SettingsError", "missing_key", 503, False),
    "PortTaken": ("SettingsError", "port_taken", 500, False),
    "NotStarted": ("SettingsError", "not_started", 503, False),
    "ClientError": ("HoldfastError", "client_error", 500, False),
    "AnswerFailed": ("ClientError", "answer_failed", 500, False),
    "RequestRefused": ("ClientError", "request_refused", 500, False),
    "VerificationFailed": ("ClientError", "verification_failed", 500, False),
    "Rewound": ("ClientError", "rewound", 500, True),
    "GaveUp": ("ClientError", "gave_up", 500, True),
}

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.HoldfastError)
}


def test_the_table_is_the_tree() -> None:
    tree = {
        name: (found.__bases__[0].__name__, found.code, found.status, found.retryable)
        for name, found in CLASSES.items()
    }
    assert tree == TABLE


def test_codes_are_told_apart() -> None:
    codes = [found.code for found in CLASSES.values()]
    assert len(set(codes)) == len(codes)


def documented(docstring: str) -> dict[str, str]:
    """Class to parent, as the docstring's tree has it; the root has the parent ""."""
    tree: dict[str, str] = {}
    branch = ""
    for line in docstring.splitlines():
        match = re.fullmatch(r"    (├──|└──|│  |   )? *(.*)", line)
        if match is None:
            continue
        names = re.findall(r"(?<![\w.])[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", match[2])
        if match[1] in ("├──", "└──"):
            branch, names = names[0], names[1:]
            tree[branch] = "HoldfastError"
        elif match[1] is None:
            assert names == ["HoldfastError"]
            tree["HoldfastError"] = ""
            continue
        # One name of a single word cannot be told from prose by its letters.
        names += re.findall(
            r"\b(?:Unreachable|Truncated|Overloaded|Draining|Unauthorized|Forbidden)\b", match[2]
        )
        names += re.findall(r"\b(?:Cancelled|Interrupted|Rewound)\b", match[2])
        tree.update((name, branch) for name in names)
    return tree


def branch(name: str) -> str:
    """Where the docstring has it: beneath a class that is directly beneath the root."""
    if name == "HoldfastError":
        return ""
    parent = TABLE[name][0]
    above = "HoldfastError" if parent == "HoldfastError" else TABLE[parent][0]
    return parent if above == "HoldfastError" else branch(parent)


def test_the_docstring_shows_every_class_and_no_other() -> None:
    assert documented(errors.__doc__ or "") == {name: branch(name) for name in TABLE}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_class_says_something_by_itself(name: str) -> None:
    found = CLASSES[name]
    first_line = (found.__doc__ or "").splitlines()[0]
    assert first_line.endswith(".")
    if "__init__" not in vars(found):
        error = found()
        assert error.message == str(error) == first_line
        assert error.retry_after is None


def test_a_message_and_a_delay_are_kept() -> None:
    error = errors.ProviderRateLimited("groq: slow down", retry_after=2.5)
    assert (str(error), error.message, error.retry_after) == (
        "groq: slow down",
        "groq: slow down",
        2.5,
    )
    assert errors.ProviderRateLimited.code == "provider_rate_limited"


def test_the_message_by_default_is_the_first_line_of_the_docstring() -> None:
    class Undocumented(errors.LogError): ...

    class WellDocumented(errors.LogError):
        """It broke.

        What for is a long story."""

    assert (Undocumented().message, Undocumented.code) == ("", "undocumented")
    assert (WellDocumented().message, WellDocumented.code) == ("It broke.", "well_documented")


def test_what_the_wire_said_stands_on_the_object_and_not_on_the_class() -> None:
    failed = errors.AnswerFailed("no", code="log_lost", retryable=True)
    assert (failed.message, failed.code, failed.retryable) == ("no", "log_lost", True)
    assert errors.AnswerFailed.code == "answer_failed"
    assert not errors.AnswerFailed.retryable
    refused = errors.RequestRefused("no", status=404, code="stream_not_found")
    assert (refused.message, refused.status, refused.code) == ("no", 404, "stream_not_found")
    plain = errors.RequestRefused("no", status=502)
    assert (plain.status, plain.code) == (502, "request_refused")
    assert errors.RequestRefused.status == 500


def test_a_class_is_found_by_its_code() -> None:
    for name, (_, code, status, retryable) in TABLE.items():
        found = errors.named(code)
        assert found is getattr(errors, name)
        if not issubclass(found, errors.ClientError):  # which no stream ends with
            made = found("why")
            assert (made.message, made.status, made.retryable) == ("why", status, retryable)
            assert errors.meaning(code) == found().message
    for unknown in ("", "no_such_code", "InvalidField"):
        assert errors.named(unknown) is errors.HoldfastError
        assert errors.meaning(unknown) == "Something went wrong in Holdfast."


def test_a_trace_tells_places_and_no_values() -> None:
    def fail(prompt: str) -> None:
        raise errors.LogCorrupt("the record is cut")

    secret = "a prompt that nobody may see"
    with pytest.raises(errors.LogCorrupt) as raised:
        fail(secret)
    told = errors.trace(raised.value)
    assert "in fail" in told
    assert told.endswith("LogCorrupt: the record is cut\n")
    assert secret not in told
    assert errors.trace(None) == ""


def test_a_trace_leaves_out_what_others_say() -> None:
    """They quote what they met."""
    secret = "a prompt that nobody may see"

    def fail() -> None:
        try:
            raise errors.ProviderRejected(f"vendor: HTTP 400: {secret}")
        except errors.ProviderError:
            try:
                int(secret)
            except ValueError as error:
                raise ExceptionGroup(
                    secret, [KeyError(secret), OSError(2, "No such file")]
                ) from error

    with pytest.raises(ExceptionGroup) as raised:
        fail()
    told = errors.trace(raised.value)
    assert secret not in told
    for name in ("ProviderRejected", "ValueError", "ExceptionGroup", "KeyError"):
        assert f"{name}\n" in told
    assert "FileNotFoundError: No such file\n" in told
    assert told.count("in fail") == 3


def test_a_trace_of_a_long_chain_is_bounded() -> None:
    last: BaseException | None = None
    for _ in range(1000):
        error = ValueError()
        error.__cause__, last = last, error
    assert errors.trace(last).count("ValueError") == 16
    loop = ValueError()
    loop.__context__ = KeyError()
    loop.__context__.__context__ = loop
    assert errors.trace(loop).count("Error\n") == 2
