"""The document: whole, valid, and made of the routes' own rows and types.

Strategy: it is read as a program reads it. Whatever is said twice in the code (a scope, a pattern,
a status) is held to the place where it is decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given, strategies

from holdfast import errors, events
from holdfast.access import principal
from holdfast.http import openapi, routes
from holdfast.http.openapi import parameters, schemas, table

OWN = [row for row in routes.ROWS if not row.dialect]
ROWS = [openapi.Row(row.method, row.path, row.action, row.handler.__doc__ or "") for row in OWN]
PROBLEMS = {
    error.code: error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.HoldfastError)
}
DOCUMENT = openapi.document([row for row in ROWS if row[:2] in table.CALLS])


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method, path) for method, path, _ in operations()}
    assert described == {(row.method, row.path) for row in OWN}
    assert described == set(table.CALLS)


def test_a_route_without_a_description_is_refused() -> None:
    with pytest.raises(KeyError, match="/v1/nowhere"):
        openapi.document([*ROWS, openapi.Row("GET", "/v1/nowhere", "public", "")])


def test_it_is_valid() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_it_says_something_of_everything() -> None:
    names = []
    for method, path, operation in operations():
        names.append(operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"][0] in [tag["name"] for tag in DOCUMENT["tags"]]
        in_path = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path), (method, path)
        for one in operation["parameters"]:
            assert one["description"]
            assert one["required"] == (one["in"] == "path")
        assert "default" not in operation["responses"]
        assert all(answer["description"] for answer in operation["responses"].values())
    assert len(set(names)) == len(names)


def test_its_links_and_references_lead_somewhere() -> None:
    names = {operation["operationId"] for _, _, operation in operations()}
    followed = set()
    for _, _, operation in operations():
        for answer in operation["responses"].values():
            followed |= set(answer.get("links", {}))
    assert followed
    assert followed <= names
    found = set(references(DOCUMENT))
    assert len(found) > 8
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in DOCUMENT["components"]["schemas"]


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        for value in document.values():
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def test_a_link_to_a_call_that_is_not_there_is_left_out() -> None:
    alone = openapi.document([row for row in ROWS if row[:2] == ("POST", "/v1/streams")])
    answers = alone["paths"]["/v1/streams"]["post"]["responses"]
    assert not any("links" in answer for answer in answers.values())


@pytest.mark.parametrize("row", OWN, ids=lambda row: f"{row.method} {row.path}")
def test_who_may_is_said_as_it_is_decided(row: routes.Row) -> None:
    operation = DOCUMENT["paths"][row.path][row.method.lower()]
    ways = operation["security"]
    assert [way["key"] for way in ways if "key" in way] == (
        [] if row.action == "public" else [[principal.NEEDS[row.action]]]
    )
    assert ({"signature": []} in ways) == (row.action == "follow")
    assert (operation["security"] == []) == (row.action == "public")
    assert ("401" in operation["responses"]) == (row.action != "public")
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name for way in operation["security"] for name in way} <= set(schemes)


def test_each_refusal_has_the_status_and_the_headers_of_its_class() -> None:
    for _, path, operation in operations():
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                continue
            _, said = answer["content"]["application/problem+json"]["schema"]["allOf"]
            assert said["properties"]["status"] == {"const": int(status)}
            found = [
                PROBLEMS[code] for code in said["properties"]["code"]["enum"] if code in PROBLEMS
            ]
            missing = set(said["properties"]["code"]["enum"]) - {error.code for error in found}
            assert missing <= ({"not_found"} if "{" in path else set())
            assert {error.status for error in found} <= {int(status)}
            headers = {name: said["required"] for name, said in answer.get("headers", {}).items()}
            if status == "401":
                assert headers == {"WWW-Authenticate": True}
            if status in ("429", "503"):
                assert headers["Retry-After"] == all(error.retryable for error in found)


def test_a_reader_is_refused_for_nothing_that_passes() -> None:
    answers = DOCUMENT["paths"]["/v1/streams/{stream_id}/events"]["get"]["responses"]
    assert "429" not in answers
    _, said = answers["503"]["content"]["application/problem+json"]["schema"]["allOf"]
    assert not any(PROBLEMS[code].retryable for code in said["properties"]["code"]["enum"])


def test_what_is_added_to_a_field_has_a_field() -> None:
    fields = set()
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            fields |= {field, f"{name}.{field}"}
    assert set(schemas.ADDED) <= fields


def test_every_kind_of_event_has_its_data() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    kinds = [one["properties"]["event"]["const"] for one in schemas["SentEvent"]["oneOf"]]
    assert set(kinds) == set(events.KINDS)
    stored = [one["properties"]["event"]["const"] for one in schemas["EventView"]["oneOf"]]
    assert set(stored) == set(events.KINDS) - {"heartbeat", "reconnect"}


SENT = {
    "a start": ("start", {"stream_id": "x" * 26, "request_id": "r", "provider": "p", "model": "m"}),
    "another kind": ("restart", {"reason": "x"}),
    "a chunk of another type": ("chunk", {"type": "text", "delta": "x"}),
}


def taken(schema: str, value: Any) -> bool:
    whole = {**DOCUMENT["components"]["schemas"][schema], "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


@pytest.mark.parametrize(("kind", "data"), SENT.values(), ids=SENT)
def test_an_event_with_other_data_is_none(kind: str, data: dict[str, Any]) -> None:
    event = {"event": kind, "id": f"{'x' * 26}:1-1", "ts": "2026-01-01T00:00:00.000Z", "data": data}
    assert not taken("EventView", event)
    assert taken("EventView", event | {"event": "rewind", "data": {"reason": "x"}})


BODIES = {
    "a question": ({"model": "m", "messages": [{"role": "user", "content": "x"}]}, True),
    "a context": ({"model": "m", "context": {"system": "x"}}, True),
    "no model": ({"messages": [{"role": "user"}]}, False),
    "null for a model": ({"model": None, "context": {}}, False),
    "no message": ({"model": "m", "messages": []}, False),
    "neither": ({"model": "m", "context": None}, False),
    "another field": ({"model": "m", "context": {}, "stream": True}, False),
    "17 choices": ({"model": "m", "context": {}, "n": 17}, False),
}


@pytest.mark.parametrize(("body", "good"), BODIES.values(), ids=BODIES)
def test_a_body_needs_a_model_and_something_to_say(body: Any, good: bool) -> None:
    assert taken("Body", body) == good


NEAR_IDS = strategies.text("0Az-: \n\u0660", max_size=34) | strategies.from_regex(
    schemas.STREAM_ID, fullmatch=True
)


@given(NEAR_IDS)
def test_the_pattern_of_an_id_is_that_of_the_code(text: str) -> None:
    schema = dict(parameters.STREAM_ID.schema)
    try:
        events.stream_id(text)
    except errors.StreamNotFound:
        assert not jsonschema_rs.is_valid(schema, text)
    else:
        assert jsonschema_rs.is_valid(schema, text)
