"""What the client raises."""

from __future__ import annotations

from holdfast.errors.base import HoldfastError


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

    def __init__(
        self, message: str, *, status: int, code: str = "", retry_after: float | None = None
    ) -> None:
        """`status` is that of the response, `code` that of its problem details, if any;
        `retry_after` is what it says in seconds of the next try."""
        super().__init__(message, retry_after=retry_after)
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
