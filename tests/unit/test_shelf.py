"""The shelf: what is kept of whom, in order, and that nothing of who left stays."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from holdfast import shelf


class Book(msgspec.Struct):
    id: str
    owner: str


OWNERS = ("acme/ann", "acme/bob", "acme/", "other/ann", "")
PARTS = (("acme", None), ("acme", "ann"), ("acme", ""), ("other", None), ("", None), (None, None))


def holds(one: Book, tenant: str | None, user: str | None) -> bool:
    named, _, of = one.owner.partition("/")
    return tenant in (None, named) and user in (None, of)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(OWNERS), st.booleans())))
def test_each_is_found_by_who_may_ask_the_newest_first(
    steps: list[tuple[int, str, bool]],
) -> None:
    kept: dict[str, Book] = {}
    found = shelf.Shelf[Book]()
    for number, owner, comes in steps:
        id = str(number)
        if comes and id not in kept:
            kept[id] = Book(id, owner)
            found.put(kept[id])
        elif not comes:
            assert found.take(id) == (kept.pop(id, None) is not None)
        assert len(found) == len(kept)
        assert found.find(id) is kept.get(id)
        assert list(found.oldest_first) == list(kept.values())
        for tenant, user in PARTS:
            of = [one for one in reversed(kept.values()) if holds(one, tenant, user)]
            assert list(found.newest(tenant, user)) == of


def test_nothing_stays_of_who_left() -> None:
    found = shelf.Shelf[Book]()
    found.put(Book("a", "acme/ann"))
    assert found.take("a")
    assert found._of == {}
