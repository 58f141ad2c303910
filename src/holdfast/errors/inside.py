"""What failed within: the log, an exchange, a provider, a stream."""

from __future__ import annotations

from holdfast.errors.base import HoldfastError


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


class KeyMissing(LogCorrupt):
    """The key that these bytes are sealed by is not in the key ring."""


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
