"""One tree of errors for the whole package.

Strategy: every failure that Holdfast names is a class here, and nothing else is
raised across a module's border on purpose. A class carries three facts that do not
depend on where it was raised: a stable `code` for programs, the HTTP `status` that a
route answers with, and `retryable`: whether the same call may succeed later unchanged.
The class docstring's first line is the default message; the message given at the
raise says what was wrong, where, and what to do. Messages never hold keys, prompts or
answers. Foreign exceptions are mapped at the edge where they appear.

    HoldfastError
    ├── RequestError                 the caller's mistake
    │   ├── MalformedBody            the body is not JSON, or not an object
    │   ├── InvalidField             a field is missing, unknown or of a wrong type
    │   ├── BodyTooLarge
    │   ├── UnknownProvider
    │   ├── UnknownModel
    │   ├── MalformedPosition
    │   ├── ForeignPosition          a position of another stream
    │   ├── IdempotencyMismatch
    │   └── NotYet                   named in the design, built later
    ├── AccessError                  a final verdict on who and what
    │   ├── StreamNotFound           unknown, or not yours: the same answer
    │   ├── StreamExpired
    │   └── ConnectionNotFound
    ├── CapacityError                a passing refusal
    │   ├── TooManyConnections
    │   ├── Overloaded
    │   └── Draining
    ├── LogError                     the event log
    │   ├── LogUnavailable
    │   ├── LogLocked
    │   ├── LogCorrupt
    │   ├── StreamExists
    │   └── UnknownPosition
    ├── TransportError               an HTTP exchange that we began
    │   ├── Unreachable
    │   ├── DeadlineExceeded
    │   ├── Truncated
    │   └── ProtocolViolation
    ├── SseError                     bytes that are no event stream, or too large
    │   ├── LineTooLong
    │   └── EventTooLarge
    ├── ProviderError                what ended an attempt
    │   ├── ProviderUnreachable
    │   ├── ProviderTimeout
    │   ├── ProviderInterrupted      the answer broke off before its end marker
    │   ├── ProviderMalformed
    │   ├── ProviderFailed           5xx, or an error event
    │   ├── ProviderOverloaded
    │   ├── ProviderRateLimited
    │   ├── ProviderQuota
    │   ├── ProviderAuth
    │   ├── ProviderModelNotFound
    │   ├── ProviderContextLength
    │   └── ProviderRejected         another 4xx
    ├── StreamFailure                why a stream ended with `error`, the provider apart
    │   ├── Cancelled
    │   ├── Interrupted              its writer died
    │   ├── StreamTooLarge
    │   └── LogLost                  the log did not come back in time
    ├── SettingsError                a setting that cannot be used
    │   ├── UnknownSetting
    │   ├── MissingKey
    │   └── PortTaken
    └── ClientError                  raised by holdfast.AsyncClient
        ├── AnswerFailed             the stream ended with an `error` event
        ├── RequestRefused           the server's final verdict, as problem details
        ├── VerificationFailed       the text is not what the server wrote
        └── GaveUp                   reconnecting did not help in time
"""

from __future__ import annotations

from typing import ClassVar


class HoldfastError(Exception):
    """Something went wrong in Holdfast."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        """`retry_after` is a floor in seconds for the next try, where one is known."""
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.retry_after = retry_after
        super().__init__(self.message)


class RequestError(HoldfastError):
    """The request cannot be understood or carried out as it stands."""

    code = "invalid_request"
    status = 400


class MalformedBody(RequestError):
    """The request body is not a JSON object."""

    code = "malformed_body"


class InvalidField(RequestError):
    """A field is missing, unknown or of a wrong type."""

    code = "invalid_field"


class BodyTooLarge(RequestError):
    """The request body is over the limit."""

    code = "body_too_large"
    status = 413


class UnknownProvider(RequestError):
    """No provider of this name is configured."""

    code = "unknown_provider"


class UnknownModel(RequestError):
    """No configured provider claims this model."""

    code = "unknown_model"


class MalformedPosition(RequestError):
    """The position is not of the form `<stream_id>:<epoch>-<seq>` or `<epoch>-<seq>`."""

    code = "malformed_position"


class ForeignPosition(RequestError):
    """The position belongs to another stream."""

    code = "foreign_position"


class IdempotencyMismatch(RequestError):
    """This Idempotency-Key was used with another body."""

    code = "idempotency_mismatch"
    status = 422


class NotYet(RequestError):
    """This is designed but not built yet."""

    code = "not_yet"
    status = 501


class AccessError(HoldfastError):
    """A final verdict on who may do what."""

    code = "forbidden"
    status = 403


class StreamNotFound(AccessError):
    """There is no such stream."""

    code = "stream_not_found"
    status = 404


class StreamExpired(AccessError):
    """The stream has expired."""

    code = "stream_expired"
    status = 410


class ConnectionNotFound(AccessError):
    """There is no such connection."""

    code = "connection_not_found"
    status = 404


class CapacityError(HoldfastError):
    """The node cannot take this now."""

    code = "unavailable"
    status = 503
    retryable = True


class TooManyConnections(CapacityError):
    """The node has as many connections as it may hold."""

    code = "too_many_connections"


class Overloaded(CapacityError):
    """The node holds as much undelivered work as it may."""

    code = "overloaded"


class Draining(CapacityError):
    """The node is shutting down."""

    code = "draining"


class LogError(HoldfastError):
    """The event log failed."""

    code = "log_error"
    status = 503
    retryable = True


class LogUnavailable(LogError):
    """The event log cannot be reached or written now."""

    code = "log_unavailable"


class LogLocked(LogError):
    """Another process owns the log file."""

    code = "log_locked"
    retryable = False


class LogCorrupt(LogError):
    """The log holds bytes that cannot be read back."""

    code = "log_corrupt"
    retryable = False


class StreamExists(LogError):
    """A stream with this id exists already."""

    code = "stream_exists"
    status = 409
    retryable = False


class UnknownPosition(LogError):
    """The log does not hold this position."""

    code = "unknown_position"
    status = 409
    retryable = False


class TransportError(HoldfastError):
    """An HTTP exchange failed."""

    code = "transport_error"
    status = 502
    retryable = True


class Unreachable(TransportError):
    """No connection could be made."""

    code = "unreachable"


class DeadlineExceeded(TransportError):
    """The other side took too long."""

    code = "deadline_exceeded"
    status = 504


class Truncated(TransportError):
    """The response ended before its end."""

    code = "truncated"


class ProtocolViolation(TransportError):
    """The other side does not speak HTTP/1.1 as it should."""

    code = "protocol_violation"


class SseError(HoldfastError):
    """The bytes are not an event stream that can be taken."""

    code = "sse_error"
    status = 502


class LineTooLong(SseError):
    """A line of the event stream is over the limit."""

    code = "sse_line_too_long"


class EventTooLarge(SseError):
    """An event of the event stream is over the limit."""

    code = "sse_event_too_large"


class ProviderError(HoldfastError):
    """The provider did not give an answer."""

    code = "provider_error"
    status = 502
    retryable = True


class ProviderUnreachable(ProviderError):
    """The provider cannot be reached."""

    code = "provider_unreachable"


class ProviderTimeout(ProviderError):
    """The provider took too long."""

    code = "provider_timeout"
    status = 504


class ProviderInterrupted(ProviderError):
    """The provider's answer broke off before its end."""

    code = "provider_interrupted"


class ProviderMalformed(ProviderError):
    """The provider sent something that is not its own format."""

    code = "provider_malformed"


class ProviderFailed(ProviderError):
    """The provider reported an error of its own."""

    code = "provider_failed"


class ProviderOverloaded(ProviderError):
    """The provider is overloaded."""

    code = "provider_overloaded"
    status = 503


class ProviderRateLimited(ProviderError):
    """The provider's rate limit is reached."""

    code = "provider_rate_limited"
    status = 429


class ProviderQuota(ProviderError):
    """The provider account's quota or credit is used up."""

    code = "provider_quota"
    status = 429
    retryable = False


class ProviderAuth(ProviderError):
    """The provider refused the configured key."""

    code = "provider_auth"
    retryable = False


class ProviderModelNotFound(ProviderError):
    """The provider does not know this model."""

    code = "provider_model_not_found"
    status = 404
    retryable = False


class ProviderContextLength(ProviderError):
    """The request is longer than the model takes."""

    code = "provider_context_length"
    status = 400
    retryable = False


class ProviderRejected(ProviderError):
    """The provider refused the request."""

    code = "provider_rejected"
    status = 400
    retryable = False


class StreamFailure(HoldfastError):
    """The stream ended without its answer."""

    code = "stream_failed"


class Cancelled(StreamFailure):
    """The stream was cancelled."""

    code = "cancelled"
    status = 499


class Interrupted(StreamFailure):
    """The process that wrote this stream ended before the answer did."""

    code = "interrupted"
    retryable = True


class StreamTooLarge(StreamFailure):
    """The answer is larger than a stream may be."""

    code = "stream_too_large"


class LogLost(StreamFailure):
    """The event log could not be written for too long."""

    code = "log_lost"
    status = 503
    retryable = True


class SettingsError(HoldfastError):
    """A setting cannot be used."""

    code = "invalid_setting"


class UnknownSetting(SettingsError):
    """No such setting exists."""

    code = "unknown_setting"


class MissingKey(SettingsError):
    """The provider's API key is not set."""

    code = "missing_key"
    status = 503


class PortTaken(SettingsError):
    """Another process listens on this port."""

    code = "port_taken"


class ClientError(HoldfastError):
    """The client could not bring the answer."""

    code = "client_error"


class AnswerFailed(ClientError):
    """The stream ended with an error."""

    code = "answer_failed"


class RequestRefused(ClientError):
    """The server refused the request."""

    code = "request_refused"


class VerificationFailed(ClientError):
    """The text received is not the text that the server wrote."""

    code = "verification_failed"


class GaveUp(ClientError):
    """The server could not be reached again in time."""

    code = "gave_up"
    retryable = True
