"""What is said beside an answer: heartbeats, goodbyes, refusals."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from holdfast import errors
from holdfast.dialects import base, openai_responses

DIALECT = openai_responses.Dialect()


def tree(kind: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def test_it_is_a_dialect() -> None:
    spoken: base.Foreign = DIALECT
    assert spoken.name == "openai_responses"


def test_a_heartbeat_ends_no_event() -> None:
    assert DIALECT.heartbeat("2026-11-01T00:00:00.000Z") == b": ping\n"


def test_who_can_come_back_is_told_nothing() -> None:
    assert DIALECT.reconnect(500, "draining") == b""


def test_every_error_has_openais_envelope_and_our_code() -> None:
    for kind in tree(errors.HoldfastError):
        error = kind.__new__(kind)
        errors.HoldfastError.__init__(error, "What was wrong.")
        status, body = DIALECT.refusal(error, "r")
        told = msgspec.json.decode(body)["error"]
        assert (told["message"], told["code"]) == ("What was wrong.", kind.code)
        assert told["type"]
        no_model = issubclass(kind, errors.UnknownModel | errors.UnknownProvider)
        assert status == (404 if no_model else kind.status)
