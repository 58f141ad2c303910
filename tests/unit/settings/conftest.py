"""What the tests of the settings share: a folder of their own to read in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.settings import Loaded, Settings, sources


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loaded]:
    """`loaded(toml, environ, overrides, usual)` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def make(
        toml: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        **usual: Any,
    ) -> Loaded:
        config = None
        if toml is not None:
            config = Path("mine.toml")
            config.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
        return sources.read(config, overrides or {}, environ or {}, **usual)

    return make


@pytest.fixture
def read(loaded: Callable[..., Loaded]) -> Callable[..., Settings]:
    """The same, for the settings alone."""

    def make(*args: Any, **kwargs: Any) -> Settings:
        return loaded(*args, **kwargs).settings

    return make
