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
    │                      IdempotencyMismatch, NotYet (designed, built later)
    ├── AccessError        a final verdict on who and what: StreamNotFound (unknown or not
    │                      yours), StreamExpired, ConnectionNotFound
    ├── CapacityError      a passing refusal: TooManyConnections, Overloaded, Draining
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

import re
import traceback
from typing import Any


class HoldfastError(Exception):
    """Something went wrong in Holdfast."""

    code: str = "internal"
    status: int = 500
    retryable: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        """`retry_after` is a floor in seconds for the next try, where one is known."""
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.retry_after = retry_after
        super().__init__(self.message)


def trace(error: BaseException | None) -> str:
    """The traceback as text for a log line: places and messages, never the values of
    variables, which may be keys, prompts or answers."""
    return "" if error is None else "".join(traceback.format_exception(error))


class RequestError(HoldfastError):
    """The request cannot be understood or carried out as it stands."""

    status = 400


class MalformedBody(RequestError):
    """The request body is not a JSON object."""


class InvalidField(RequestError):
    """A field is missing, unknown or of a wrong type."""


class BodyTooLarge(RequestError):
    """The request body is over the limit."""

    status = 413


class UnknownProvider(RequestError):
    """No provider of this name is configured."""


class UnknownModel(RequestError):
    """No configured provider claims this model."""


class MalformedPosition(RequestError):
    """The position is not of the form `<stream_id>:<epoch>-<seq>` or `<epoch>-<seq>`."""


class ForeignPosition(RequestError):
    """The position belongs to another stream."""


class IdempotencyMismatch(RequestError):
    """This Idempotency-Key was used with another body."""

    status = 422


class NotYet(RequestError):
    """This is designed but not built yet."""

    status = 501


class AccessError(HoldfastError):
    """A final verdict on who may do what."""

    status = 403


class StreamNotFound(AccessError):
    """There is no such stream."""

    status = 404


class StreamExpired(AccessError):
    """The stream has expired."""

    status = 410


class ConnectionNotFound(AccessError):
    """There is no such connection."""

    status = 404


class CapacityError(HoldfastError):
    """The node cannot take this now."""

    status = 503
    retryable = True


class TooManyConnections(CapacityError):
    """The node has as many connections as it may hold."""


class Overloaded(CapacityError):
    """The node holds as much undelivered work as it may."""


class Draining(CapacityError):
    """The node is shutting down."""


class LogError(HoldfastError):
    """The event log failed."""

    status = 503
    retryable = True


class LogUnavailable(LogError):
    """The event log cannot be reached or written now."""


class LogLocked(LogError):
    """Another process owns the log file."""

    retryable = False


class LogCorrupt(LogError):
    """The log holds bytes that cannot be read back."""

    retryable = False


class UnknownPosition(LogError):
    """The log does not hold this position."""

    status = 409
    retryable = False


class TransportError(HoldfastError):
    """An HTTP exchange failed."""

    status = 502
    retryable = True


class Unreachable(TransportError):
    """No connection could be made."""


class DeadlineExceeded(TransportError):
    """The other side took too long."""

    status = 504


class Truncated(TransportError):
    """The response ended before its end."""


class ProtocolViolation(TransportError):
    """The other side does not speak HTTP/1.1 as it should."""


class SseError(HoldfastError):
    """The bytes are not an event stream that can be taken."""

    status = 502


class LineTooLong(SseError):
    """A line of the event stream is over the limit."""


class EventTooLarge(SseError):
    """An event of the event stream is over the limit."""


class ProviderError(HoldfastError):
    """The provider did not give an answer."""

    status = 502
    retryable = True


class ProviderUnreachable(ProviderError):
    """The provider cannot be reached."""


class ProviderTimeout(ProviderError):
    """The provider took too long."""

    status = 504


class ProviderInterrupted(ProviderError):
    """The provider's answer broke off before its end."""


class ProviderMalformed(ProviderError):
    """The provider sent something that is not its own format."""


class ProviderFailed(ProviderError):
    """The provider reported an error of its own."""


class ProviderOverloaded(ProviderError):
    """The provider is overloaded."""

    status = 503


class ProviderRateLimited(ProviderError):
    """The provider's rate limit is reached."""

    status = 429


class ProviderQuota(ProviderError):
    """The provider account's quota or credit is used up."""

    status = 429
    retryable = False


class ProviderAuth(ProviderError):
    """The provider refused the configured key."""

    retryable = False


class ProviderModelNotFound(ProviderError):
    """The provider does not know this model."""

    status = 404
    retryable = False


class ProviderContextLength(ProviderError):
    """The request is longer than the model takes."""

    status = 400
    retryable = False


class ProviderRejected(ProviderError):
    """The provider refused the request."""

    status = 400
    retryable = False


class StreamFailure(HoldfastError):
    """The stream ended without its answer."""


class Cancelled(StreamFailure):
    """The stream was cancelled."""

    status = 499


class Interrupted(StreamFailure):
    """The process that wrote this stream ended before the answer did."""

    retryable = True


class ContinuationDiverged(StreamFailure):
    """The answer went on otherwise than it had begun."""

    retryable = True


class StreamTooLarge(StreamFailure):
    """The answer is larger than a stream may be."""


class LogLost(StreamFailure):
    """The event log could not be written for too long."""

    status = 503
    retryable = True


class SettingsError(HoldfastError):
    """A setting cannot be used."""


class UnknownSetting(SettingsError):
    """No such setting exists."""


class MissingKey(SettingsError):
    """The provider's API key is not set."""

    status = 503


class PortTaken(SettingsError):
    """Another process listens on this port."""


class ClientError(HoldfastError):
    """The client could not bring the answer."""


class AnswerFailed(ClientError):
    """The stream ended with an error."""

    def __init__(self, message: str, *, code: str, retryable: bool) -> None:
        """All three as the stream's `error` event has them."""
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class RequestRefused(ClientError):
    """The server refused the request."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        """`status` is that of the response, `code` that of its problem details, if any."""
        super().__init__(message)
        self.status = status
        self.code = code or type(self).code


class VerificationFailed(ClientError):
    """The text received is not the text that the server wrote."""


class Rewound(ClientError):
    """The text given out so far is void; iterating again gives the answer from its start."""

    retryable = True


class GaveUp(ClientError):
    """The server could not be reached again in time."""

    retryable = True
