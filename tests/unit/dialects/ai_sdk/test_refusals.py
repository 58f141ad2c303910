"""How a call fails, for every error that there is."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from holdfast import errors
from holdfast.dialects import ai_sdk


def tree(kind: type[errors.HoldfastError]) -> Iterator[type[errors.HoldfastError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from tree(one)


@pytest.mark.parametrize("kind", list(tree(errors.HoldfastError)), ids=lambda kind: kind.code)
def test_every_error_has_a_sentence_first_and_its_code(kind: type[errors.HoldfastError]) -> None:
    error = kind.__new__(kind)
    errors.HoldfastError.__init__(error, "It was so.")
    status, body = ai_sdk.Dialect().refusal(error, "r7")
    assert status == kind.status
    assert body.startswith(b'{"message":"It was so."')
    assert msgspec.json.decode(body) == {
        "message": "It was so.",
        "code": error.code,
        "retryable": error.retryable,
        "request_id": "r7",
    }
