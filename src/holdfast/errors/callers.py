"""What a caller or an operator did, or may not do now."""

from __future__ import annotations

from holdfast.errors.base import HoldfastError


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


class UnsupportedEncoding(RequestError):
    """A request body must come as it is, without a Content-Encoding."""

    status = 415


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


class AlreadyRunning(RequestError):
    """Such work is under way."""

    status = 409


class AccessError(HoldfastError):
    """A final verdict on who may do what."""

    status = 403


class Unauthorized(AccessError):
    """A key or a token is needed that is valid here."""

    status = 401


class Forbidden(AccessError):
    """This key or token is not for that."""


class StreamNotFound(AccessError):
    """There is no such stream."""

    status = 404


class StreamExpired(AccessError):
    """The stream has expired, or was destroyed."""

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
    """The node has as much to do as it may."""


class Draining(CapacityError):
    """The node is shutting down."""


class KeysUnavailable(CapacityError):
    """Keys cannot be looked up now."""


class ArchiveUnavailable(CapacityError):
    """The archive cannot be reached or written now."""


class QuotaError(HoldfastError):
    """A limit of the caller's is reached."""

    status = 429
    retryable = True


class RequestLimit(QuotaError):
    """As many requests a minute were made as may be."""


class StreamLimit(QuotaError):
    """As many answers are under way as may be."""


class ConnectionLimit(QuotaError):
    """As many event streams are open as may be."""


class TokenLimit(QuotaError):
    """As many tokens were used as may be."""


class CostLimit(QuotaError):
    """As much was spent as may be."""


class SettingsError(HoldfastError):
    """A setting cannot be used."""


class UnknownSetting(SettingsError):
    """No such setting exists."""


class MissingKey(SettingsError):
    """The provider's API key is not set."""

    status = 503


class PortTaken(SettingsError):
    """Another process listens on this port."""


class NotStarted(SettingsError):
    """The application that this is mounted in does not run its lifespan."""

    status = 503
