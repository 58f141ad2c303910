"""The client: reads an answer to its end, whatever happens to the connections.

`client` holds `AsyncClient`, `reading` the answer under way, `synchronous` the same for programs
without an event loop, `reconnect` the pure policy of when to come back.
"""

from __future__ import annotations

from holdfast.client.client import AsyncClient
from holdfast.client.reading import AnswerStream
from holdfast.client.synchronous import Client

__all__ = ["AnswerStream", "AsyncClient", "Client"]
