"""Where the prompt comes from. The rest is in tests/integration/test_cli_answers.py."""

from __future__ import annotations

import io
import sys

import click
import pytest
from tests.unit.cli import terminals

from holdfast.cli import asking


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_not_waited_for_unless_it_is_asked_for(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed() -> terminals.Stream:
        return terminals.Stream(io.BytesIO(b"typed"), terminal)

    monkeypatch.setattr(sys, "stdin", typed())
    assert asking._prompt("given") == "given"
    assert asking._prompt("-") == "typed"
    monkeypatch.setattr(sys, "stdin", typed())
    if terminal:
        with pytest.raises(click.UsageError, match="Give a PROMPT"):
            asking._prompt(None)
    else:
        assert asking._prompt(None) == "typed"


@pytest.mark.parametrize("size", [7, 8, 9])
def test_stdin_has_a_limit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_PROMPT", 8)
    monkeypatch.setattr(sys, "stdin", terminals.Stream(io.BytesIO(b"x" * size), False))
    if size > 8:
        with pytest.raises(click.UsageError, match="over 8 bytes"):
            asking._prompt(None)
    else:
        assert asking._prompt(None) == "x" * size
