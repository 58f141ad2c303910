"""The range of times that a query asks Redis for."""

from __future__ import annotations

import pytest

from holdfast.eventlog import base
from holdfast.eventlog.redis import index


@pytest.mark.parametrize(
    ("to", "before", "wanted"),
    [
        (None, None, "+inf"),
        (9, None, "(9"),
        (None, (9, "id"), 9),  # others of just that time may follow
        (9, (8, "id"), 8),
        (9, (9, "id"), "(9"),
        (9, (10, "id"), "(9"),
        (0, None, "(0"),
    ],
)
def test_the_latest_time(to: int | None, before: tuple[int, str] | None, wanted: object) -> None:
    assert index._high(base.Query(created_to=to, before=before)) == wanted
