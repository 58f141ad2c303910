"""Where the prompt comes from. The rest is in tests/integration/test_cli_answers.py."""

from __future__ import annotations

import asyncio
import io
import sys

import click
import pytest
from tests.unit.cli import terminals

from holdfast import errors
from holdfast.cli import asking, following, target


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


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (asyncio.CancelledError(), True),
        (errors.GaveUp(), True),
        (errors.ClientError("An answer over its limit."), True),
        (errors.AnswerFailed("no", code="provider_failed", retryable=False), False),
        (errors.RequestRefused("no", status=404), False),
        (BrokenPipeError(), False),
    ],
)
async def test_an_answer_that_goes_on_is_told_with_its_server(
    error: BaseException, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = target.Target("http://home:8080", None, None, False)
    stream = "0123456789abcdefghijklmnOP"
    async with where.client() as asked:
        answer = asked.resume(stream)
        for quiet in (False, True):
            streams = terminals.Streams(monkeypatch, out=False, err=False)
            how = following.How(json=False, reasoning=False, quiet=quiet)
            with (
                pytest.raises(type(error)),
                asking._telling_what_goes_on(where, answer, how),
            ):
                raise error
            line = f"[the answer goes on: holdfast tail --url http://home:8080 {stream}]\n"
            assert streams.err == (line if told and not quiet else "")


@pytest.mark.parametrize("given", [None, "-"])
def test_a_closed_stdin_is_no_prompt(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(click.UsageError, match="Give a PROMPT"):
        asking._prompt(given)


@pytest.mark.parametrize("size", [7, 8, 9])
def test_stdin_has_a_limit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_PROMPT", 8)
    monkeypatch.setattr(sys, "stdin", terminals.Stream(io.BytesIO(b"x" * size), False))
    if size > 8:
        with pytest.raises(click.UsageError, match="over 8 bytes"):
            asking._prompt(None)
    else:
        assert asking._prompt(None) == "x" * size
