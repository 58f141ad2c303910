"""A stock client on Node: what it is to ask for, and what it makes of the answer.

Strategy: one process, a script of `tests/peers`, asks for all answers of a file of tests. It is
told over HTTP whom to ask, in which way and for what, and answers with what its client told or
raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import pytest
from tests.integration import harness, peers
from tests.integration.dialects import answers

Got = dict[str, Any]
"""What the client made of it, as `told`, or as `error`."""


class Stage(answers.Stage, frozen=True, kw_only=True):
    """With the process that asks, at a port."""

    port: int

    async def ask(self, way: str, url: str, request: dict[str, Any], **more: Any) -> Got:
        command = {"way": way, "url": url, "request": request, **more}
        body = msgspec.json.encode(command)
        got: Got = (await harness.ask(self.port, "POST", "/", {}, body)).json()
        return got


AnyStage = TypeVar("AnyStage", bound=Stage)


@contextlib.contextmanager
def staged(
    kind: type[AnyStage], stage: answers.Stage, script: str, config: pytest.Config
) -> Iterator[AnyStage]:
    """The stage with a process that runs this script."""
    peers.installed(config)
    with peers.running(script, {}) as node:
        yield kind(stage.server, stage.provider, stage.gate, port=node.port)
