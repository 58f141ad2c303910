"""Why a reader's connection ended: the words for it.

Strategy: who ends a connection says why, in a word of this table or in the code of an error; the
first word stands. Metrics and lists show these words, so there are few. A farewell is the reason
that a reader is told in its `reconnect`.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast import errors

COMPLETED = "completed"
ERROR = "error"
CLIENT_GONE = "client_gone"
STALLED = "stalled"
OLD = "max_connection_age"
ACCESS_ENDED = "access_ended"
DRAINING = errors.Draining.code
LOG_UNAVAILABLE = errors.LogUnavailable.code
SERVER_CLOSED = "server_closed"

REASONS: Mapping[str, str] = {
    COMPLETED: "the reader was sent everything, up to the answer's `complete`",
    ERROR: "the reader was sent everything, up to the answer's `error`",
    CLIENT_GONE: "the client closed it, or the network lost it",
    STALLED: "it was cut, as the reader took nothing for `write_timeout` or `connection_timeout`",
    DRAINING: "a farewell: the server stops",
    LOG_UNAVAILABLE: "a farewell: the log is away",
    OLD: "a farewell: it was open for `max_connection_age`",
    ACCESS_ENDED: "a farewell: the reader's key is not valid any more",
    SERVER_CLOSED: "our side ended it without a word: it failed, or its server took it away",
}
"""All but the codes of errors: such a one is told where the stream can be read no more."""
