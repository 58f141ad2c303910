"""What the tests of the settings share: a folder of their own to read in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.settings import Settings, load


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """`read(toml, environ, overrides)` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def make(
        toml: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Settings:
        config = None
        if toml is not None:
            config = Path("mine.toml")
            config.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
        return load(config, overrides or {}, environ or {})

    return make
