"""Who watches: a patience for who takes nothing, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import MutableMapping
from typing import Any

import pytest

from holdfast import service, settings
from holdfast.dialects import native
from holdfast.eventlog import memory
from holdfast.http import live_response
from holdfast.providers import registry
from holdfast.testing import simulated


class Nothing:
    """Frames of which there are none."""

    def take(self) -> bytes:
        return b""


@simulated.timed
async def test_a_watcher_that_takes_not_even_its_goodbye_is_not_waited_for() -> None:
    sent: list[str] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.get_running_loop().create_future()

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("it says nothing")

    async with service.Service(
        memory.MemoryLog(), registry.Registry(), settings.Settings()
    ) as node:
        response = live_response.LiveResponse(
            node, lambda wake: contextlib.nullcontext(Nothing()), native.Native(), lambda: False
        )
        now = simulated.now()
        await response({"type": "http"}, receive, send)
        assert simulated.now() - now == pytest.approx(node.config.server.write_timeout)
        assert sent == ["http.response.start", "http.response.body"]
