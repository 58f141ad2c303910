"""The request as a value: packed and unpacked, and told apart by its fingerprint."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import request

USER = request.Message("user", "Why is the sea salt?")
PLAIN = request.Request("m", [USER])

text = st.text(st.characters(codec="utf-8"), max_size=20)
json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(-1e9, 1e9) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
json_object = st.dictionaries(text, json, max_size=3)


def maybe(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | some


messages = st.builds(
    request.Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    content=maybe(text | st.lists(json_object, max_size=2)),
    name=maybe(text),
    tool_calls=maybe(st.lists(json_object, max_size=2)),
    tool_call_id=maybe(text),
)
requests = st.builds(
    request.Request,
    model=text,
    messages=st.lists(messages, max_size=3),
    provider=maybe(text),
    temperature=maybe(st.floats(0, 2)),
    top_p=maybe(st.floats(0, 1)),
    max_tokens=maybe(st.integers(1, 2**40)),
    tools=maybe(st.lists(json_object, max_size=2)),
    tool_choice=maybe(text | json_object),
    parallel_tool_calls=maybe(st.booleans()),
    response_format=maybe(json_object),
    stop=maybe(st.lists(text, max_size=2)),
    n=st.integers(1, 16),
    buffer_size=maybe(st.integers(1, 2**20)),
    flush_interval_ms=maybe(st.integers(0, 60_000)),
    context=maybe(json_object),
    fallback=maybe(
        st.builds(
            request.Fallback,
            mode=maybe(st.sampled_from(["continue", "restart", "none"])),
            otherwise=maybe(st.sampled_from(["restart", "error"])),
            providers=maybe(st.lists(text, max_size=request.MAX_TARGETS)),
        )
    ),
    metadata=st.builds(
        request.Metadata,
        purpose=text,
        priority=st.sampled_from(["low", "normal", "high"]),
        session_id=maybe(text),
        user_id=maybe(text),
    ),
)


@settings(max_examples=150)
@given(requests)
def test_what_is_packed_is_unpacked(wanted: request.Request) -> None:
    packed = request.pack(wanted)
    assert request.unpack(packed) == wanted
    assert request.pack(request.unpack(packed)) == packed


def test_a_default_that_was_said_makes_no_other_request() -> None:
    said = msgspec.json.decode(
        b'{"model":"m","messages":[{"role":"user","content":"Why is the sea salt?"}],"n":1,'
        b'"stop":null,"metadata":{"purpose":"chat","priority":"normal","user_id":null}}',
        type=request.Request,
    )
    assert said == PLAIN
    assert request.fingerprint(said) == request.fingerprint(PLAIN)


def test_the_packed_form_is_json_without_what_was_not_said() -> None:
    said = msgspec.json.decode(request.pack(PLAIN))
    assert said == {
        "model": "m",
        "messages": [{"role": "user", "content": "Why is the sea salt?"}],
        "metadata": {
            "purpose": "chat",
            "priority": "normal",
            "session_id": None,
            "user_id": None,
        },
    }


def test_the_order_of_keys_does_not_make_another_request() -> None:
    one = msgspec.structs.replace(PLAIN, response_format={"a": 1, "b": {"c": 2, "d": 3}})
    two = msgspec.structs.replace(PLAIN, response_format={"b": {"d": 3, "c": 2}, "a": 1})
    assert request.pack(one) == request.pack(two)
    assert request.fingerprint(one) == request.fingerprint(two)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"messages": [USER, USER]},
        {"messages": [request.Message("system", USER.content)]},
        {"provider": "p"},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"max_tokens": 1},
        {"tools": []},
        {"tool_choice": "auto"},
        {"parallel_tool_calls": False},
        {"response_format": {}},
        {"stop": []},
        {"n": 2},
        {"buffer_size": 1},
        {"flush_interval_ms": 0},
        {"context": {}},
        {"fallback": request.Fallback()},
        {"fallback": request.Fallback(mode="none")},
        {"fallback": request.Fallback(providers=[])},
        {"metadata": request.Metadata(user_id="u")},
    ],
)
def test_every_field_makes_another_request(change: dict[str, Any]) -> None:
    other = msgspec.structs.replace(PLAIN, **change)
    assert request.fingerprint(other) != request.fingerprint(PLAIN)


def test_the_fingerprint_is_a_sha256_of_the_packed_request() -> None:
    assert request.fingerprint(PLAIN) == hashlib.sha256(request.pack(PLAIN)).digest()


def test_whole_or_as_it_comes_the_same_is_asked_for() -> None:
    foreign = request.Foreign("openai_chat", {"seed": 7})
    asked = [
        msgspec.structs.replace(PLAIN, foreign=msgspec.structs.replace(foreign, whole=whole))
        for whole in (False, True)
    ]
    assert len({request.fingerprint(one) for one in asked}) == 1
    assert request.unpack(request.pack(asked[1])).foreign == asked[1].foreign


def test_what_may_be_taken_back_is_not_part_of_what_is_asked_for() -> None:
    foreign = request.Foreign("openai_chat", {"seed": 7})
    asked = [
        msgspec.structs.replace(PLAIN, foreign=msgspec.structs.replace(foreign, revocable=types))
        for types in ([], ["reasoning"], ["opaque", "reasoning"])
    ]
    assert len({request.fingerprint(one) for one in asked}) == 1
    assert request.unpack(request.pack(asked[2])).foreign == asked[2].foreign


def test_a_request_that_was_kept_before_there_were_fallbacks_is_the_same() -> None:
    kept = (
        b'{"model":"m","messages":[{"role":"user","content":"Why is the sea salt?"}],"metadata":'
        b'{"purpose":"chat","priority":"normal","session_id":null,"user_id":null}}'
    )
    assert request.unpack(kept) == PLAIN
    assert request.pack(PLAIN) == kept


def test_what_of_a_fallback_is_left_to_the_server_is_not_packed() -> None:
    wanted = msgspec.structs.replace(PLAIN, fallback=request.Fallback(otherwise="error"))
    assert msgspec.json.decode(request.pack(wanted))["fallback"] == {"otherwise": "error"}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"model":"m"}', b'{"model":1,"messages":[]}'])
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        request.unpack(data)


def test_labels_that_nobody_knows_are_refused() -> None:
    data = b'{"model":"m","messages":[],"metadata":{"colour":"red"}}'
    with pytest.raises(msgspec.ValidationError, match="colour"):
        request.unpack(data)


@pytest.mark.parametrize("value", [PLAIN, USER, PLAIN.metadata, request.Fallback()])
def test_requests_are_frozen(value: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], "x")
