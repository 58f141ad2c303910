"""The pool's decisions, on plain values."""

from __future__ import annotations

from holdfast.transport.pool import Pool


def test_what_was_used_last_serves_first() -> None:
    pool: Pool[str] = Pool(10, 15.0)
    for now, name in enumerate("abc"):
        assert pool.put("origin", name, now) == []
    assert pool.take("elsewhere", 3) is None
    assert [pool.take("origin", 3) for _ in range(4)] == ["c", "b", "a", None]
    assert len(pool) == 0


def test_over_the_limit_the_one_used_longest_ago_goes() -> None:
    pool: Pool[str] = Pool(2, 15.0)
    assert pool.put("one", "a", 0) == []
    assert pool.put("two", "b", 1) == []
    assert pool.put("one", "c", 2) == ["a"]
    assert pool.take("two", 3) == "b"
    assert pool.put("two", "b", 4) == []
    assert pool.put("two", "d", 5) == ["c"]
    assert len(pool) == 2


def test_an_old_one_does_not_serve_and_is_named_for_closing() -> None:
    pool: Pool[str] = Pool(10, 15.0)
    assert pool.next_expiry() is None
    pool.put("origin", "a", 0)
    pool.put("origin", "b", 10)
    assert pool.next_expiry() == 15.0
    assert pool.expired(14.9) == []
    assert pool.expired(15.0) == ["a"]
    assert pool.next_expiry() == 25.0
    assert pool.take("origin", 25.1) is None
    assert pool.expired(25.1) == ["b"]
    assert pool.next_expiry() is None
    assert len(pool) == 0


def test_without_keep_alive_or_room_nothing_is_kept() -> None:
    for pool in (Pool[str](10, 0), Pool[str](0, 15.0)):
        assert pool.put("origin", "a", 0) == ["a"]
        assert pool.take("origin", 0) is None
        assert pool.next_expiry() is None
        assert len(pool) == 0


def test_one_that_is_gone_is_forgotten() -> None:
    pool: Pool[str] = Pool(10, 15.0)
    pool.put("origin", "a", 0)
    pool.put("origin", "b", 0)
    pool.drop("b")
    pool.drop("b")
    pool.drop("never there")
    assert pool.take("origin", 1) == "a"
    assert pool.take("origin", 1) is None
