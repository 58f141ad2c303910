"""Observers: code of the embedder that is told what happens.

Strategy: an observer is told of beginnings and ends, never of a token. It is called on the
event loop and must be quick; one that fails is logged and hurts no stream. All six methods
are optional: an observer has those that it wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import structlog

from holdfast import errors

What = Literal[
    "connection_opened",
    "connection_closed",
    "stream_started",
    "stream_completed",
    "stream_failed",
    "metrics_updated",
]

_log = structlog.get_logger("holdfast")


class Observers:
    """Tells all observers; each gets the same arguments.

    connection_opened(connection), connection_closed(connection), stream_started(stream_id,
    header), stream_completed(stream_id, complete), stream_failed(stream_id, error),
    metrics_updated(snapshot).
    """

    def __init__(self, observers: Sequence[object] = ()) -> None:
        self._observers = tuple(observers)

    def tell(self, what: What, *facts: object) -> None:
        for observer in self._observers:
            try:
                method = getattr(observer, what, None)
                if method is not None:
                    method(*facts)
            except Exception as error:
                _log.error(
                    "observer_failed",
                    observer=type(observer).__name__,
                    told=what,
                    trace=errors.trace(error),
                )
