"""How a stream begins: its id, its header, its first event, and who finds it there already."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import errors, events, request
from holdfast.eventlog import base
from holdfast.producing import opening

USER = request.Message("user", "Why is the sea salt?")
WANTED = request.Request(
    "gpt",
    [USER],
    buffer_size=100,
    flush_interval_ms=50,
    metadata=request.Metadata(session_id="s", user_id="u"),
)
SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32


# The prompt service that is built in


async def test_without_a_context_a_request_stays_as_it_is() -> None:
    assert await opening.expand_context(WANTED) is WANTED


async def test_the_system_text_becomes_the_first_message() -> None:
    wanted = msgspec.structs.replace(WANTED, context={"system": "Be brief."})
    expanded = await opening.expand_context(wanted)
    assert expanded.messages == [request.Message("system", "Be brief."), USER]
    assert expanded.context is None
    assert wanted.messages == [USER]


@pytest.mark.parametrize(
    "context", [{}, {"system": 7}, {"system": None}, {"system": "x", "user": "y"}, {"user": "y"}]
)
async def test_any_other_context_needs_a_hook(context: dict[str, object]) -> None:
    wanted = msgspec.structs.replace(WANTED, context=context)
    with pytest.raises(errors.InvalidField, match="`context`"):
        await opening.expand_context(wanted)


# The id


def test_without_a_key_every_stream_is_new() -> None:
    ids = {opening.stream_id(opening.NOBODY, SECRET) for _ in range(100)}
    assert len(ids) == 100


def test_the_same_key_of_the_same_owner_leads_to_the_same_stream() -> None:
    origin = opening.Origin("ann", idempotency_key="k")
    found = opening.stream_id(origin, SECRET)
    assert opening.stream_id(opening.Origin("ann", "r", "c", "k"), SECRET) == found
    assert events.stream_id(found) == found
    assert opening.stream_id(origin, OTHER_SECRET) != found


names = st.text(st.sampled_from("ab"), max_size=4)


@settings(max_examples=100)
@given(st.tuples(names, names), st.tuples(names, names))
def test_owners_and_keys_are_told_apart(one: tuple[str, str], two: tuple[str, str]) -> None:
    first, second = (
        opening.stream_id(opening.Origin(owner, idempotency_key=key), SECRET)
        for owner, key in (one, two)
    )
    assert (first == second) is (one == two)


# The header and the first event


def test_a_header_holds_what_is_known_before_the_first_event() -> None:
    prepared = msgspec.structs.replace(WANTED, messages=[USER, USER])
    origin = opening.Origin("ann", "r", "c", "k", "openai", "key:x")
    assert opening.header(WANTED, prepared, origin, "groq", "m", 1234) == base.Header(
        owner="ann",
        created_at=1234,
        provider="groq",
        model="m",
        request_id="r",
        dialect="openai",
        fingerprint=request.fingerprint(WANTED),
        request=request.pack(prepared),
        client_id="c",
        session_id="s",
        user_id="u",
        key="key:x",
        buffer_size=100,
        flush_interval_ms=50,
    )


def test_by_itself_a_stream_is_nobodys_and_native() -> None:
    header = opening.header(WANTED, WANTED, opening.NOBODY, "groq", "m", 1)
    assert (header.owner, header.dialect, header.client_id) == ("", "native", None)


def test_a_request_without_an_id_gets_one() -> None:
    one, two = (
        opening.header(WANTED, WANTED, opening.NOBODY, "groq", "m", 1).request_id for _ in range(2)
    )
    assert one
    assert one != two


def test_the_first_event_tells_the_header() -> None:
    stream = events.new_stream_id()
    header = opening.header(
        WANTED, WANTED, opening.Origin(request_id="r"), "groq", "m", 1_767_225_600_123
    )
    assert opening.start(stream, header) == events.draft(
        events.Start(stream, "r", "groq", "m", "2026-01-01T00:00:00.123Z")
    )


# A stream that is there already


@pytest.mark.parametrize("change", [{"dialect": "other"}, {"terms": b"{}"}])
def test_what_was_asked_in_another_way_attaches_to_nothing(change: dict[str, Any]) -> None:
    first = opening.header(WANTED, WANTED, opening.NOBODY, "p", "m", 1)
    asked = msgspec.structs.replace(opening.NOBODY, **change)
    again = opening.header(WANTED, WANTED, asked, "p", "m", 2)
    for one, other in ((first, again), (again, first)):
        with pytest.raises(errors.IdempotencyMismatch):
            opening.attach(events.new_stream_id(), one, other)


def test_the_same_body_attaches() -> None:
    stream = events.new_stream_id()
    first = opening.header(WANTED, WANTED, opening.NOBODY, "groq", "m", 1)
    again = opening.header(WANTED, WANTED, opening.NOBODY, "openai", "n", 2)
    assert opening.attach(stream, again, first) == opening.Created(stream, first, fresh=False)


def test_another_body_is_refused() -> None:
    first = opening.header(WANTED, WANTED, opening.NOBODY, "groq", "m", 1)
    other = msgspec.structs.replace(WANTED, temperature=1.0)
    again = opening.header(other, WANTED, opening.NOBODY, "groq", "m", 1)
    with pytest.raises(errors.IdempotencyMismatch):
        opening.attach(events.new_stream_id(), again, first)
