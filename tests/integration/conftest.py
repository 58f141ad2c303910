"""What the tests of the running server have in common.

Strategy: they run on the event loop that the server runs on, and none passes in which the
server logged an error: a bug in a task of its own would else go unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "recordings"
"""Our own recordings."""

Logged = list[MutableMapping[str, Any]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of all tests here."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def logged() -> Iterator[Logged]:
    """What was logged so far; a test that means to see an error takes it out."""
    with structlog.testing.capture_logs() as entries:
        yield entries
    assert [entry for entry in entries if entry["log_level"] in ("error", "critical")] == []
