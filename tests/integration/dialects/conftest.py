"""What the tests of all dialects may ask for.

Strategy: the folder of each dialect has a `stage` and a `stock` client of its own; here is what
does not depend on the client.
"""

from __future__ import annotations

import anyio
import pytest
from tests.integration.dialects import failing


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> failing.Waits:
    """The stock clients for Python wait by `anyio.sleep`."""
    found = failing.Waits()
    monkeypatch.setattr(anyio, "sleep", found.sleep)
    return found


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked but loopback: no proxy, and nobody is told what runs here."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")
