"""The dialect of chat completions beside its streams: errors, heartbeats, ids."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.unit.dialects.openai_chat import told

from holdfast import endings, errors


def tree(root: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    yield root
    for kind in root.__subclasses__():
        yield from tree(kind)


def made(kind: type[errors.HoldfastError]) -> errors.HoldfastError:
    if kind is errors.AnswerFailed:
        return errors.AnswerFailed("It failed.", code="provider_failed", retryable=True)
    if kind is errors.RequestRefused:
        return errors.RequestRefused("Refused.", status=400)
    return kind()


@pytest.mark.parametrize("kind", sorted(set(tree(errors.HoldfastError)), key=str))
def test_each_error_has_openais_envelope(kind: type[errors.HoldfastError]) -> None:
    error = made(kind)
    status, body = told.DIALECT.refusal(error, "r")
    found = json.loads(body)
    assert found.keys() == {"error"}
    assert found["error"].keys() == {"message", "type", "param", "code"}
    assert found["error"]["code"] == error.code
    assert found["error"]["message"] == error.message
    assert 400 <= status < 600
    assert found["error"]["type"].endswith("_error")


@pytest.mark.parametrize("kind", [errors.UnknownModel, errors.UnknownProvider])
def test_a_model_that_there_is_not_is_a_404_as_at_openai(kind: type[errors.HoldfastError]) -> None:
    assert told.DIALECT.refusal(kind(), "r")[0] == 404


@pytest.mark.parametrize(
    ("reason", "type"),
    [("draining", "server_error"), (endings.ACCESS_ENDED, "authentication_error")],
)
def test_who_is_sent_away_is_told_an_error(reason: str, type: str) -> None:
    """Without one, OpenAI's client takes a cut for the end."""
    (got,) = told.chunks(told.DIALECT.reconnect(700, reason))
    assert (got["error"]["code"], got["error"]["type"]) == (reason, type)
    assert f"({reason})" in got["error"]["message"]


def test_a_heartbeat_is_one_line() -> None:
    assert told.DIALECT.heartbeat("2026-11-01T00:00:00.000Z") == b": ping\n"


def test_ids() -> None:
    assert told.DIALECT.stream_of(f"chatcmpl-{told.STREAM}") == told.STREAM
    assert told.DIALECT.stream_of("chatcmpl-") == ""
    assert told.DIALECT.headers == ()
