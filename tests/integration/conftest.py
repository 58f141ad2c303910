"""What the tests of the running server have in common.

Strategy: they run on the event loop that the server runs on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "recordings"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
