"""Answers that the provider keeps: asked for, known by an id, and reached again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.providers import said as told

from holdfast import errors, events
from holdfast.providers import failures, openai_responses
from holdfast.providers import translator as translators
from holdfast.providers.openai_responses import background
from holdfast.testing import recordings

PLAIN = openai_responses.Format(obfuscation_option=True, developer_role=True)
FORMAT = msgspec.structs.replace(PLAIN, background=True)
ID = "resp_0850765c843cca5300699cc47d93c0819089a181f5feeff8eb"


def event(type: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"type": f"response.{type}", **fields})


def state(type: str, **response: Any) -> bytes:
    """An event with the whole response."""
    return event(type, response={"id": ID, "status": type, **response})


DELTA = event("output_text.delta", output_index=0, content_index=0, delta="Hi")
END = state("completed")


def translator(format: openai_responses.Format = FORMAT) -> translators.Translator:
    source = failures.Source("p")
    return translators.Translator(format.fold(told.ASKED, source), source)


def play(*reads: bytes, format: openai_responses.Format = FORMAT) -> list[events.Body]:
    made = translator(format)
    return [body for read in reads for body in made.feed(read)] + made.end()


def kept(said: list[events.Body]) -> list[tuple[int, str]]:
    """Where `Kept` stands, and the id."""
    return [(n, body.id) for n, body in enumerate(said) if isinstance(body, events.Kept)]


# What is asked for


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5"])
def test_a_background_run_is_a_stored_stream_and_otherwise_the_same(model: str) -> None:
    plain, sent = PLAIN.payload(told.ASKED, model), FORMAT.payload(told.ASKED, model)
    assert "background" not in plain
    assert plain["store"] is False
    assert sent == plain | {"background": True, "store": True}
    assert sent["stream"] is True


# What is told


def test_the_id_is_told_once_and_before_everything_else() -> None:
    states = [state("created"), state("queued"), state("in_progress")]
    said = play(*states, DELTA, END)
    assert kept(said) == [(0, ID)]
    assert said[1:] == play(*states, DELTA, END, format=PLAIN)


def test_an_answer_that_is_not_in_the_background_has_no_id() -> None:
    assert kept(play(state("created"), DELTA, END, format=PLAIN)) == []
    said = play(state("created", background=False), state("in_progress"), DELTA, END)
    assert kept(said) == []


@pytest.mark.parametrize(
    "first",
    [
        b": a comment\n\n",
        b"data: {broken\n\n",
        event("created"),
        event("created", response=None),
        event("created", response=[ID]),
        event("created", response={"id": 7}),
        event("created", response={"id": ""}),
        b"event: response.keepalive\ndata: {}\n\n",
        b"event: response.keepalive\ndata: [7]\n\n",
    ],
)
def test_the_first_event_that_has_an_id_counts(first: bytes) -> None:
    made = translator()
    out = made.feed(first)
    assert (out, made.error is not None) == ([], b"broken" in first)
    if made.error is None:
        assert kept(made.feed(state("in_progress"))) == [(0, ID)]


def test_an_id_is_told_also_where_the_first_event_is_the_last() -> None:
    said = play(state("completed"))
    assert [type(body) for body in said] == [events.Kept, events.Finish]


def test_an_id_that_comes_after_text_is_not_looked_for() -> None:
    assert kept(play(DELTA, state("in_progress"), DELTA, END)) == []


def test_a_type_may_be_the_events_name() -> None:
    named = DELTA.replace(b'"type":"response.output_text.delta",', b"")
    said = play(b"event: response.output_text.delta\n" + named, state("created"), END)
    assert told.text(said, "content") == "Hi"
    assert kept(said) == []


def test_an_answer_that_fails_at_once_was_kept_all_the_same() -> None:
    made = translator()
    failed = event("failed", response={"id": ID, "status": "failed", "error": {"code": "x"}})
    assert made.feed(failed) == [events.Kept(ID)]
    assert isinstance(made.error, errors.ProviderError)


@pytest.mark.parametrize("name", ["background-original-full", "background-resumed-after-seq0"])
def test_a_recorded_background_run(shared: Path, name: str) -> None:
    """Fetched again it has the same id and says the same. Both files were not stored, and the
    second lacks `response.created`."""
    file = shared / "recordings" / "openai-responses" / f"{name}.sse"
    wire = file.read_bytes()
    for reads in (recordings.whole(wire), recordings.per_byte(wire), recordings.at_random(wire, 1)):
        said = play(*reads)
        assert kept(said) == [(0, ID)]
        assert told.drafts(said[1:]) == told.drafts(play(wire, format=PLAIN))


# Where it is


@pytest.mark.parametrize(
    ("id", "path"),
    [
        (ID, f"/responses/{ID}"),
        ("r", "/responses/r"),
        ("_a.b-c~d:e", "/responses/_a.b-c~d%3Ae"),
        ("cmVzcDE+Mg==", "/responses/cmVzcDE%2BMg%3D%3D"),
        ("x" * background.MAX_ID, f"/responses/{'x' * background.MAX_ID}"),
    ],
)
def test_an_id_is_one_segment_of_the_path(id: str, path: str) -> None:
    assert background.kept_id({"id": id}) == id
    assert background.path(id) == path
    assert FORMAT.replay_path(id, "gpt-4o") == f"{path}?stream=true"
    assert FORMAT.discard_path(id) == f"{path}/cancel"


@pytest.mark.parametrize(
    "id",
    [
        "",
        ".",
        "..",
        "../models",
        "a/b",
        "a?b",
        "a#b",
        "a%2fb",
        "a b",
        "a\n",
        "a\\b",
        "é",
        "٣",
        "\ud83d",
        "x" * (background.MAX_ID + 1),
    ],
)
def test_what_is_no_id_is_neither_told_nor_called(id: str) -> None:
    assert background.kept_id({"id": id}) is None
    assert background.path(id) is None
    assert FORMAT.replay_path(id, "m") is None
    assert FORMAT.discard_path(id) is None


def test_reasoning_is_asked_for_again_where_it_was_asked_for() -> None:
    path = f"/responses/{ID}?stream=true"
    assert FORMAT.replay_path(ID, "gpt-4o") == path
    assert FORMAT.replay_path(ID, "gpt-5") == f"{path}&include%5B%5D=reasoning.encrypted_content"


def test_what_was_kept_is_reached_also_where_nothing_is_kept_any_more() -> None:
    assert PLAIN.keeping.replay_path(ID, "m") == f"/responses/{ID}?stream=true"
    assert PLAIN.keeping.discard_path(ID) == f"/responses/{ID}/cancel"
