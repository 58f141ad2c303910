"""The client: reads an answer to its end, whatever happens to the connections.

`client` holds `AsyncClient` and the answer under way, `reconnect` the pure policy of when to
come back.
"""

from __future__ import annotations

from holdfast.client.client import AsyncClient
from holdfast.client.reading import AnswerStream

__all__ = ["AnswerStream", "AsyncClient"]
