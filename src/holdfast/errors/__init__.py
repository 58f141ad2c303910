"""One tree of errors for the whole package.

Strategy: every failure that Holdfast names is a class here, and nothing else is
raised across a module's border on purpose. A class carries three facts that do not
depend on where it was raised: a stable `code` for programs (the class's name in
snake_case; PROTOCOL lists them, so a rename is a change of the wire), the HTTP `status`
that a route answers with, and `retryable`: whether the same call may succeed later.
The class docstring's first line is the default message; the message given at the
raise says what was wrong, where, and what to do. Messages never hold keys, prompts or
answers. Foreign exceptions are mapped at the edge where they appear.

    HoldfastError
    ├── RequestError       the caller's mistake: MalformedBody, InvalidField, BodyTooLarge,
    │                      UnknownProvider, UnknownModel, MalformedPosition, ForeignPosition,
    │                      UnsupportedEncoding, IdempotencyMismatch, NotYet (designed, built
    │                      later)
    ├── AccessError        a final verdict on who and what: Unauthorized, Forbidden,
    │                      StreamNotFound (unknown or not yours), StreamExpired,
    │                      ConnectionNotFound
    ├── CapacityError      a passing refusal: TooManyConnections, Overloaded, Draining,
    │                      KeysUnavailable, ArchiveUnavailable
    ├── QuotaError         the caller's own limits: RequestLimit, StreamLimit, ConnectionLimit,
    │                      TokenLimit, CostLimit
    ├── LogError           the event log: LogUnavailable, LogLocked, LogCorrupt, UnknownPosition
    ├── TransportError     an HTTP exchange that we began: Unreachable, DeadlineExceeded,
    │                      Truncated, ProtocolViolation
    ├── SseError           no event stream, or too large a one: LineTooLong, EventTooLarge
    ├── ProviderError      what ended an attempt: ProviderUnreachable, ProviderTimeout,
    │                      ProviderInterrupted (broke off before its end marker),
    │                      ProviderMalformed, ProviderFailed (5xx, or an error event),
    │                      ProviderOverloaded, ProviderRateLimited, ProviderQuota,
    │                      ProviderAuth, ProviderModelNotFound, ProviderContextLength,
    │                      ProviderRejected (another 4xx)
    ├── StreamFailure      why a stream ended with `error`, the provider apart: Cancelled,
    │                      Interrupted (its writer died), ContinuationDiverged (it goes on
    │                      otherwise), StreamTooLarge, LogLost (the log did not come back)
    ├── SettingsError      a setting that cannot be used: UnknownSetting, MissingKey, PortTaken
    └── ClientError        raised by the client: AnswerFailed (an `error` event),
                           RequestRefused (the server's final verdict), VerificationFailed,
                           Rewound (the text given out is void), GaveUp
"""

from __future__ import annotations

from holdfast.errors.base import (
    HoldfastError,
    named,
    trace,
)
from holdfast.errors.callers import (
    AccessError,
    ArchiveUnavailable,
    BodyTooLarge,
    CapacityError,
    ConnectionLimit,
    ConnectionNotFound,
    CostLimit,
    Draining,
    Forbidden,
    ForeignPosition,
    IdempotencyMismatch,
    InvalidField,
    KeysUnavailable,
    MalformedBody,
    MalformedPosition,
    MissingKey,
    NotYet,
    Overloaded,
    PortTaken,
    QuotaError,
    RequestError,
    RequestLimit,
    SettingsError,
    StreamExpired,
    StreamLimit,
    StreamNotFound,
    TokenLimit,
    TooManyConnections,
    Unauthorized,
    UnknownModel,
    UnknownProvider,
    UnknownSetting,
    UnsupportedEncoding,
)
from holdfast.errors.client import (
    AnswerFailed,
    ClientError,
    GaveUp,
    RequestRefused,
    Rewound,
    VerificationFailed,
)
from holdfast.errors.inside import (
    Cancelled,
    ContinuationDiverged,
    DeadlineExceeded,
    EventTooLarge,
    Interrupted,
    LineTooLong,
    LogCorrupt,
    LogError,
    LogLocked,
    LogLost,
    LogUnavailable,
    ProtocolViolation,
    ProviderAuth,
    ProviderContextLength,
    ProviderError,
    ProviderFailed,
    ProviderInterrupted,
    ProviderMalformed,
    ProviderModelNotFound,
    ProviderOverloaded,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
    SseError,
    StreamFailure,
    StreamTooLarge,
    TransportError,
    Truncated,
    UnknownPosition,
    Unreachable,
)

__all__ = [
    "AccessError",
    "AnswerFailed",
    "ArchiveUnavailable",
    "BodyTooLarge",
    "Cancelled",
    "CapacityError",
    "ClientError",
    "ConnectionLimit",
    "ConnectionNotFound",
    "ContinuationDiverged",
    "CostLimit",
    "DeadlineExceeded",
    "Draining",
    "EventTooLarge",
    "Forbidden",
    "ForeignPosition",
    "GaveUp",
    "HoldfastError",
    "IdempotencyMismatch",
    "Interrupted",
    "InvalidField",
    "KeysUnavailable",
    "LineTooLong",
    "LogCorrupt",
    "LogError",
    "LogLocked",
    "LogLost",
    "LogUnavailable",
    "MalformedBody",
    "MalformedPosition",
    "MissingKey",
    "NotYet",
    "Overloaded",
    "PortTaken",
    "ProtocolViolation",
    "ProviderAuth",
    "ProviderContextLength",
    "ProviderError",
    "ProviderFailed",
    "ProviderInterrupted",
    "ProviderMalformed",
    "ProviderModelNotFound",
    "ProviderOverloaded",
    "ProviderQuota",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderTimeout",
    "ProviderUnreachable",
    "QuotaError",
    "RequestError",
    "RequestLimit",
    "RequestRefused",
    "Rewound",
    "SettingsError",
    "SseError",
    "StreamExpired",
    "StreamFailure",
    "StreamLimit",
    "StreamNotFound",
    "StreamTooLarge",
    "TokenLimit",
    "TooManyConnections",
    "TransportError",
    "Truncated",
    "Unauthorized",
    "UnknownModel",
    "UnknownPosition",
    "UnknownProvider",
    "UnknownSetting",
    "Unreachable",
    "UnsupportedEncoding",
    "VerificationFailed",
    "named",
    "trace",
]
