"""Frames of chat completions: what every chunk has, the padding, and how a stream ends."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.openai_chat import told

from holdfast import errors, events

CHUNK = events.Chunk


def test_the_frames_of_an_answer() -> None:
    tokens = events.Tokens(3, 2, 5, reasoning_tokens=1, cached_tokens=2)
    got = told.chunks(
        told.frames(
            CHUNK("content", "Ti"),
            CHUNK("content", "de"),
            told.finish(),
            told.complete(usage=tokens),
            usage=True,
        )
    )
    common = {
        "id": f"chatcmpl-{told.STREAM}",
        "object": "chat.completion.chunk",
        "created": 1_795_000_000,
        "model": "p/m",
        "system_fingerprint": None,
    }

    def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return common | {"choices": [choice], "usage": None}

    assert got == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Ti"}),
        chunk({"content": "de"}),
        chunk({}, "stop"),
        common
        | {
            "choices": [],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        },
        "[DONE]",
    ]


def test_usage_is_told_to_who_asked_for_it_where_it_is_known() -> None:
    usage = events.Tokens(3, 2, 5)
    for terms, known, wanted in (({}, usage, 0), ({"usage": True}, None, 0)):
        got = told.chunks(told.frames(told.complete(usage=known), **terms))
        assert sum(one != "[DONE]" and not one["choices"] for one in got) == wanted
    first, *_ = told.chunks(told.frames(told.complete(usage=usage)))
    assert "usage" not in first
    none = events.Tokens(3, 2, 5, reasoning_tokens=0, cached_tokens=0)
    *_, last, _ = told.chunks(told.frames(told.complete(usage=none), usage=True))
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_a_header_without_terms_is_padded() -> None:
    bare = told.header().__class__(owner="", created_at=0, provider="p", model="m")
    fold = told.DIALECT.fold(told.STREAM, bare)
    (event,) = told.numbered([CHUNK("content", "a")])
    assert all("obfuscation" in one for one in told.chunks(fold.render(event)))


TEXTS = [
    "a",
    "word",
    '"',
    '","',
    'say "so", "then"',
    ',"',
    '",',
    "a\\",
    '\\"',
    '\\","',
    "\n\n",
    "data: x\n\n",
    "é",
    "🌊",
    "",
    "}",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("choice", [0, 1])
@pytest.mark.parametrize(
    ("kind", "name"), [("content", "content"), ("reasoning", "reasoning_content")]
)
def test_any_text_is_whole(text: str, choice: int, kind: events.ChunkType, name: str) -> None:
    first, piece = (CHUNK(kind, said, choice) for said in ("x", text))
    got = [one["choices"][0] for one in told.chunks(told.frames(first, piece, piece))]
    said = [one["delta"] for one in got if one["index"] == choice]
    assert said[1:] == [{name: "x"}, {name: text}, {name: text}]


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=8))
def test_all_texts_are_whole(texts: list[str]) -> None:
    got = told.chunks(told.frames(*(CHUNK("content", text) for text in texts)))
    assert [one["choices"][0]["delta"]["content"] for one in got[1:]] == texts


def test_a_plain_chunk_with_more_in_it_is_read() -> None:
    """Nothing of what stands behind the text is taken for text."""
    extra = told.extra(logprobs={"content": [{"token": "a"}]})
    _, _, got = told.chunks(told.frames(CHUNK("content", "x"), CHUNK("content", "a", extra=extra)))
    (choice,) = got["choices"]
    assert choice["delta"] == {"content": "a"}
    assert choice["logprobs"] == {"content": [{"token": "a"}]}


# Padding


def lengths(*texts: str) -> list[int]:
    """Of the frames of these texts."""
    data = told.frames(*(CHUNK("content", text) for text in texts), padded=True)
    return [len(block) for block in data.split(b"\n\n")[1:-1]]


def test_tokens_of_any_usual_length_look_alike() -> None:
    first, *others = lengths("x", *("y" * size for size in range(1, 33)))
    assert set(others) == {first}
    assert lengths("x", "y" * 33)[1] == first + 32
    # Those that are not plain, too.
    assert lengths("x", '"')[1] == first


def test_padding_is_the_same_for_all_readers_and_cannot_be_compressed() -> None:
    texts = ["a"] * 200
    bodies = [CHUNK("content", text) for text in texts]
    data = told.frames(*bodies, padded=True)
    assert data == told.frames(*bodies, padded=True)
    padding = [one["obfuscation"] for one in told.chunks(data)[1:]]
    assert len(set(padding)) == len(padding)
    together = "".join(padding).encode()
    # Base64 has 6 bits in a byte, and nothing else repeats.
    assert len(zlib.compress(together, 9)) > len(together) * 0.74


def test_streams_are_padded_differently() -> None:
    other = events.stream_id("0therOfTheTestsABCDEFGHIJK")
    (event,) = told.numbered([CHUNK("content", "a")])
    frames = [
        told.DIALECT.fold(stream, told.header(padded=True)).render(event)
        for stream in (told.STREAM, other)
    ]
    assert told.chunks(frames[0])[0]["obfuscation"] != told.chunks(frames[1])[0]["obfuscation"]


# Ends

QUIET = (
    events.Attempt(1, "p", "m", error="provider_failed"),
    events.Fallback("a/b", "c/d", "provider_failed", True, 0, 4),
    events.Adopted(2),
    events.Kept("resp_1"),
    events.Usage(1, 1, 2),
)


@pytest.mark.parametrize("body", QUIET, ids=lambda body: type(body).__name__)
def test_what_is_only_for_us_is_not_told(body: events.Body) -> None:
    assert told.frames(body) == b""


def test_an_error_is_the_end_and_no_marker_follows() -> None:
    failed = events.failure(errors.ProviderInterrupted("It broke off."))
    data = told.frames(CHUNK("content", "a"), failed, CHUNK("content", "b"), told.complete())
    got = told.chunks(data)
    assert got[2:] == [
        {
            "error": {
                "message": "It broke off.",
                "type": "server_error",
                "param": None,
                "code": "provider_interrupted",
            }
        }
    ]


@pytest.mark.parametrize("last", [events.Rewind("restarted"), None])
def test_what_began_anew_cannot_be_said(last: events.Rewind | None) -> None:
    fold = told.DIALECT.fold(told.STREAM, told.header())
    first, second = told.numbered([CHUNK("content", "a"), CHUNK("content", "b")])
    fold.render(first)
    assert not fold.ended
    said = fold.render(told.numbered([last])[0]) if last else fold.rewind("unknown_position")
    (got,) = told.chunks(said)
    assert got["error"]["code"] == "rewound"
    assert (last.reason if last else "unknown_position") in got["error"]["message"]
    assert fold.ended
    assert fold.render(second) == b""


THOUGHT = [CHUNK("reasoning", "Old"), CHUNK("reasoning", " thought")]


def test_another_answer_follows_what_was_only_thought() -> None:
    details = CHUNK("opaque", extra=told.extra(reasoning_details=[{"data": "x"}]))
    new = [CHUNK("reasoning", "New"), CHUNK("content", "Yes"), CHUNK("content", "!")]
    ends: list[events.Body] = [told.finish(), told.complete()]
    data = told.frames(*THOUGHT, details, events.Rewind("restart"), *new, *ends)
    (choice,) = told.accumulated(data)["choices"]
    assert choice["message"]["content"] == "Yes!"
    assert choice["message"]["reasoning_content"] == "Old thought\n\nNew"
    assert "reasoning_details" not in choice["message"]  # of the old one, which nobody has
    assert told.frames(details, events.Rewind("restart"), *new) == told.frames(details, *new)


@pytest.mark.parametrize(
    "more",
    [
        [CHUNK("content", "a")],
        [CHUNK("content", "a"), CHUNK("content", "b")],
        [CHUNK("content", ""), CHUNK("content", "b")],
        [CHUNK("content", "a", 1)],
        [CHUNK("refusal", "No")],
        [CHUNK("tool_call", call=0, id="c", name="f")],
        [told.finish()],
    ],
)
def test_what_is_more_than_thought_cannot_be_taken_back(more: list[events.Body]) -> None:
    fold = told.DIALECT.fold(told.STREAM, told.header())
    *rest, last = told.numbered([*THOUGHT, *more, events.Rewind("restart")])
    for event in rest:
        fold.render(event)
    assert not fold.failed
    (got,) = told.chunks(fold.render(last))
    assert got["error"]["code"] == "rewound"
    assert fold.failed


def test_an_id_is_told_once() -> None:
    calls = [CHUNK("tool_call", "{}", call=call, id="c", name="f") for call in range(2)]
    said = [one["tool_calls"][0] for one in told.deltas(*calls) if "tool_calls" in one]
    assert [one["id"] for one in said] == ["c", f"call_{told.STREAM[:24]}_0_1"]


def test_the_end_is_the_end() -> None:
    fold = told.DIALECT.fold(told.STREAM, told.header())
    first, last, more = told.numbered([CHUNK("content", "a"), told.complete(), CHUNK("content")])
    assert told.chunks(fold.render(first) + fold.render(last))[-1] == "[DONE]"
    assert fold.ended
    assert fold.render(more) == b""


def test_an_answer_that_says_nothing_has_an_end() -> None:
    got = told.chunks(told.frames(told.complete()))
    assert got[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert got[1]["choices"][0]["finish_reason"] == "stop"
    assert got[2:] == ["[DONE]"]
    assert json.dumps(got).count("finish_reason") == 2
