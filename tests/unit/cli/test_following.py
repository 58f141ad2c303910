"""How an answer is shown: which part of it goes where, and in which line."""

from __future__ import annotations

import pytest
from tests.unit.cli import terminals
from tests.unit.client import scripted

from holdfast import errors, events
from holdfast.cli import following

HOW = following.How(json=False, reasoning=False, quiet=False)
REASONING = following.How(json=False, reasoning=True, quiet=False)
QUIET = following.How(json=False, reasoning=False, quiet=True)


def chunk(type: events.ChunkType, delta: str, **fields: object) -> events.Chunk:
    return events.Chunk(type, delta, **fields)  # type: ignore[arg-type]


def show(
    patch: pytest.MonkeyPatch,
    how: following.How,
    *bodies: events.Body,
    out: bool = False,
    err: bool = False,
) -> tuple[str, str, bool]:
    """stdout, stderr and whether text became void."""
    with patch.context() as patched:
        streams = terminals.Streams(patched, out=out, err=err)
        printer = following.Printer(how)
        for seq, body in enumerate(bodies, 1):
            draft = events.draft(body)
            printer.take(events.Event(draft.kind, draft.data, 1, seq, 0))
        printer.finish()
        printer.leave()
        return streams.out, streams.err, printer.voided


def test_the_text_alone_goes_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[events.Body] = [
        scripted.start(),
        chunk("reasoning", "Hm."),
        chunk("content", "Hold"),
        chunk("content", "other", choice=1),
        chunk("opaque", "x"),
        chunk("content", ""),
        events.Usage(1, 2, 3),
        chunk("content", "fast\n"),
        scripted.complete("Holdfast\n"),
    ]
    assert show(monkeypatch, HOW, *bodies) == ("Holdfast\n\n", "", False)
    assert show(monkeypatch, REASONING, *bodies) == ("Holdfast\n\n", "Hm.\n", False)


NEWS: list[tuple[events.Body, str]] = [
    (events.Attempt(2, "a", "m", "provider_failed", "it broke\nbadly"), "attempt 2, a/m: it broke"),
    (events.Attempt(1, "a", "m", "provider_failed"), "attempt 1, a/m: provider_failed"),
    (events.Fallback("a", "b", "overloaded", True, 0, 5), "goes on from a to b: overloaded"),
    (events.Adopted(7), "another writer goes on"),
    (events.Citation("http://x", "X\x1b"), "source: X  http://x"),
]


@pytest.mark.parametrize(("body", "said"), NEWS)
def test_news_are_lines_on_stderr(
    body: events.Body, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err, _ = show(monkeypatch, HOW, chunk("content", "a"), body, chunk("content", "b"))
    assert out == "ab\n"
    (line,) = err.splitlines()
    assert line.startswith(f"[{said}")
    assert line.endswith("]")
    assert "\x1b" not in line
    assert show(monkeypatch, QUIET, body) == ("\n", "", False)


def test_an_attempt_is_told_unless_the_error_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = [events.Attempt(number, "a", "m", "provider_failed") for number in (1, 2)]
    _, err, _ = show(monkeypatch, HOW, *attempts, events.Error("provider_failed", "no", False))
    assert err == "[attempt 1, a/m: provider_failed]\n"


def test_refusals_and_tool_calls_go_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[events.Body] = [
        chunk("refusal", "I will"),
        chunk("refusal", " not."),
        chunk("tool_call", '{"a"', call=0, id="1", name="look\nup"),
        chunk("tool_call", ":1}", call=0),
        chunk("tool_call", "", call=1, id="2", name="dig"),
    ]
    err = 'I will not.\n[tool call look up] {"a":1}\n[tool call dig] \n'
    assert show(monkeypatch, HOW, *bodies) == ("\n", err, False)
    assert show(monkeypatch, QUIET, *bodies) == ("\n", "", False)


@pytest.mark.parametrize("how", [HOW, QUIET])
def test_a_rewind_is_told_always(how: following.How, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[events.Body] = [
        chunk("content", "Hal"),
        events.Rewind("restart"),
        chunk("content", "Whole"),
    ]
    out, err, voided = show(monkeypatch, how, *bodies)
    assert out == "Hal\nWhole\n"
    assert err.startswith("[rewind: restart; what was written above is void")
    assert voided
    out, err, voided = show(monkeypatch, how, *bodies[1:])
    assert (out, voided) == ("Whole\n", False)
    assert err == "[rewind: restart; the answer follows from its start]\n"


def test_on_one_terminal_each_begins_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[events.Body] = [
        chunk("reasoning", "Hm. "),
        chunk("reasoning", "So"),
        chunk("content", "Hold\x1b"),
        events.Adopted(7),
        chunk("content", "fast"),
        events.Rewind("restart"),
        chunk("content", "Kelp"),
    ]
    out, _, voided = show(monkeypatch, REASONING, *bodies, out=True, err=True)
    assert out == (
        "\x1b[2mHm. \x1b[0m\x1b[2mSo\x1b[0m\nHold\ufffd\n[another writer goes on]\nfast\n"
        "[rewind: restart; what was written above is void, the answer follows from its start]\n"
        "Kelp\n"
    )
    assert voided


def test_a_terminal_gets_no_empty_line_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[events.Body] = [chunk("content", "a"), chunk("tool_call", "{}", name="dig")]
    out, _, _ = show(monkeypatch, HOW, *bodies, out=True, err=True)
    assert out == "a\n[tool call dig] {}\n"


def test_into_a_pipe_the_pieces_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[events.Body] = [chunk("content", "a"), chunk("content", "b"), events.Adopted(7)]
    out, err, _ = show(monkeypatch, HOW, *bodies, err=True)
    assert out == "ab\n"
    assert err.startswith("\r1 pieces, 0.0 s\r2 pieces, 0.0 s\n[another")
    assert show(monkeypatch, QUIET, *bodies, err=True)[1] == ""
    assert show(monkeypatch, REASONING, *bodies, err=True)[1] == "[another writer goes on]\n"


def test_an_end_with_error_is_raised() -> None:
    following.raise_failed(None)
    with pytest.raises(errors.AnswerFailed, match="it broke") as failed:
        following.raise_failed(events.Error("provider_failed", "it broke", True))
    assert (failed.value.code, failed.value.retryable) == ("provider_failed", True)
