"""Which tool call a fragment belongs to, by what servers are known to send."""

from __future__ import annotations

import pytest

from holdfast.providers.openai_chat import tool_calls

# index, id, name, arguments -> ordinal
Fragment = tuple[int | None, str, str, str, int]

STREAMS: dict[str, list[Fragment]] = {
    "as OpenAI has it": [
        (0, "a", "f", "", 0),
        (0, "", "", "{", 0),
        (1, "b", "g", "", 1),
        (0, "", "", "}", 0),
        (1, "", "", "{}", 1),
    ],
    "index 0 for all, whole calls": [(0, "a", "f", "{}", 0), (0, "b", "f", "{}", 1)],
    "index 0 for all, in fragments": [
        (0, "a", "f", "{", 0),
        (0, "", "", "}", 0),
        (0, "b", "f", "{", 1),
        (0, "", "", "}", 1),
    ],
    "index 0 for all, interleaved by id": [
        (0, "a", "f", "{", 0),
        (0, "b", "g", "{", 1),
        (0, "a", "", "}", 0),
        (0, "", "", " ", 0),
        (0, "b", "", "}", 1),
    ],
    "the name in every fragment, the id in the first": [
        (0, "a", "f", "", 0),
        (0, "", "f", "{", 0),
        (0, "", "f", "}", 0),
        (1, "b", "f", "{}", 1),
    ],
    "index 0 for all and no ids": [(0, "", "f", "{}", 0), (0, "", "f", "{}", 1)],
    "no index, ids": [(None, "a", "f", "{", 0), (None, "", "", "}", 0), (None, "b", "g", "{}", 1)],
    "no index, ids in every fragment": [
        (None, "a", "f", "{", 0),
        (None, "b", "g", "{", 1),
        (None, "a", "", "}", 0),
        (None, "b", "", "}", 1),
    ],
    "no index and no ids": [(None, "", "f", "{}", 0), (None, "", "f", "{}", 1)],
    "no index, no ids, no arguments": [(None, "", "f", "", 0), (None, "", "g", "", 1)],
    "id and name repeated": [(0, "a", "f", "{", 0), (0, "a", "f", "}", 0)],
    "another id in every fragment": [(0, "a", "f", "{", 0), (0, "b", "", "}", 0)],
    "one id for two indices": [(0, "a", "f", "{}", 0), (1, "a", "g", "{}", 1)],
    "the name comes later": [(0, "a", "", "", 0), (0, "", "f", "{}", 0)],
    "the id comes later": [(0, "", "f", "", 0), (0, "a", "", "{}", 0)],
    "indices with gaps": [(7, "a", "f", "", 0), (3, "b", "g", "", 1), (7, "", "", "{}", 0)],
}


@pytest.mark.case("2.23")
@pytest.mark.parametrize("name", STREAMS)
def test_each_fragment_finds_its_call(name: str) -> None:
    calls = tool_calls.Calls()
    found = []
    for index, id, function, arguments, _ in STREAMS[name]:
        call = calls.place(index, id, function)
        calls.learn(call, id, function)
        call.has_arguments = call.has_arguments or bool(arguments)
        found.append(call.ordinal)
    assert found == [ordinal for *_, ordinal in STREAMS[name]]
    assert calls.count == max(found) + 1


def test_id_and_name_are_news_once() -> None:
    calls = tool_calls.Calls()
    call = calls.place(0, "a", "")
    assert calls.learn(call, "a", "") == ("a", None)
    assert calls.learn(call, "a", "f") == (None, "f")
    assert calls.learn(call, "b", "f") == (None, None)
