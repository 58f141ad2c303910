"""Where a ring is, and how a running node follows it.

Strategy: real files, and a clock that is a number. Nothing waits: a look is a call.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing

from holdfast import errors
from holdfast.sealing import holder, ring, sources

NOW = 1_790_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
def file(tmp_path: Path) -> sources.File:
    made = sources.File(tmp_path / "holdfast.keys")
    assert made.make(NOW)
    return made


# The file


def test_a_ring_is_made_once_and_private(file: sources.File) -> None:
    before = os.umask(0)  # whatever others' files are
    try:
        other = sources.File(file.path.with_name("other.keys"))
        assert other.make(NOW)
    finally:
        os.umask(before)
    for one in (file, other):
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o600
    (key,) = file.read().keys
    assert (key.since, key.tenant) == (NOW, "")
    assert not file.make(NOW + 1)
    assert sources.File(file.path).read().keys == (key,)
    assert sorted(one.name for one in file.path.parent.iterdir()) == [
        "holdfast.keys",
        "holdfast.keys.lock",
        "other.keys",
        "other.keys.lock",
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_a_ring_that_others_may_read_is_refused(file: sources.File, mode: int) -> None:
    file.path.chmod(mode)
    for again in (sources.File(file.path).read, lambda: file.add("", NOW)):
        with pytest.raises(errors.SettingsError, match=f"chmod 600 {file.path}"):
            again()
    file.path.chmod(0o400)
    assert sources.File(file.path).read()


def test_what_is_no_ring_is_refused_and_not_repeated(file: sources.File, tmp_path: Path) -> None:
    secret = base64.b64encode(file.read().keys[0].secret).decode()
    file.path.write_text(file.path.read_text().replace('"version": 1', '"version": "hush"'))
    with pytest.raises(errors.SettingsError, match="This is no key ring") as refused:
        sources.File(file.path).read()
    assert str(file.path) in refused.value.message
    assert secret not in refused.value.message
    assert "hush" not in refused.value.message
    with pytest.raises(errors.SettingsError, match="serve --encrypt"):
        sources.File(tmp_path / "none").read()
    with pytest.raises(errors.SettingsError, match=r"cannot be read|is no file"):
        sources.File(tmp_path).read()


def test_an_unchanged_file_is_not_read_again(file: sources.File) -> None:
    first = file.read()
    assert file.read() is first
    other = sources.File(file.path)
    other.add("", NOW + DAY)
    assert len(file.read().keys) == 2


def test_a_change_takes_the_old_ones_place_at_once(
    file: sources.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies as it writes leaves the old ring, and nothing in the way of the next."""
    before = file.read()

    def die(old: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", die)
        with pytest.raises(errors.SettingsError, match="cannot be written: Input/output error"):
            file.add("", NOW + DAY)
    assert sources.File(file.path).read() == before
    file.path.with_name("holdfast.keys.new").write_bytes(b"half a ri")
    assert len(file.add("", NOW + DAY).keys) == 2
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(file: sources.File, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.path)
    sources.File(link).add("", NOW + DAY)
    assert link.is_symlink()
    assert len(file.read().keys) == 2


def test_who_knows_it_by_a_link_waits_for_the_same_lock(
    file: sources.File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LOCK_SECONDS", 0.0)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(file.path)
    with (
        file._locked(),
        pytest.raises(errors.SettingsError, match="changed by another process"),
    ):
        sources.File(link).add("", NOW)
    assert [one.name for one in link.parent.iterdir()] == ["link"]


NODE = 65534
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@ROOT
def test_a_ring_that_root_changes_stays_that_of_the_node(file: sources.File) -> None:
    lock = file.path.with_name("holdfast.keys.lock")
    lock.unlink()
    os.chown(file.path, NODE, NODE)
    file.add("", NOW + DAY)
    for one in (file.path, lock):
        found = one.stat()
        assert (found.st_uid, found.st_gid) == (NODE, NODE)
        assert stat.S_IMODE(found.st_mode) == 0o600


def test_a_ring_that_cannot_be_handed_over_is_not_changed(
    file: sources.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by who may read all files, and give none away. A group is no matter: it may do nothing."""
    before, mine = file.read(), os.fstat

    def of_another(opened: int) -> os.stat_result:
        found = list(mine(opened))
        found[4], found[5] = found[4] + 1, found[5] + 1
        return os.stat_result(found)

    def refuse(opened: int, user: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.fchown", refuse)
    with monkeypatch.context() as patched:
        patched.setattr("os.fstat", of_another)
        with pytest.raises(errors.SettingsError, match="belongs to the user"):
            file.add("", NOW + DAY)
    assert sources.File(file.path).read() == before
    assert not file.path.with_name("holdfast.keys.new").exists()

    def of_a_group(opened: int) -> os.stat_result:
        found = list(mine(opened))
        found[5] += 1
        return os.stat_result(found)

    with monkeypatch.context() as patched:
        patched.setattr("os.fstat", of_a_group)
        assert len(file.add("", NOW + DAY).keys) == 2


def test_a_lock_that_is_held_is_waited_for_and_not_for_ever(
    file: sources.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LOCK_SECONDS", 0.0)
    with file.path.with_name("holdfast.keys.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(errors.SettingsError, match="changed by another process"):
            file.add("", NOW)
    assert len(file.add("", NOW + 1).keys) == 2


def test_destroyed_keys_are_gone_and_the_last_one_stays(file: sources.File) -> None:
    (first,) = file.read().keys
    with pytest.raises(errors.SettingsError, match="no key for tenants"):
        file.destroy(first.id)
    file.add("", NOW + DAY)
    assert first not in file.destroy(first.id).keys
    secret = base64.b64encode(first.secret)
    assert not [one for one in file.path.parent.iterdir() if secret in one.read_bytes()]


def _rotate(path: str, gate: Callable[[], None]) -> None:
    gate()
    sources.File(Path(path)).add("", NOW + DAY + holder.DELAY_MS, NOW + DAY - 1)


def test_of_many_processes_one_rotates(file: sources.File) -> None:
    forked = multiprocessing.get_context("fork")
    together = forked.Barrier(4)
    running = [
        forked.Process(target=_rotate, args=(str(file.path), together.wait)) for _ in range(4)
    ]
    for one in running:
        one.start()
    for one in running:
        one.join(30)
    assert [one.exitcode for one in running] == [0] * 4
    assert len(file.read().keys) == 2


# The environment


def test_a_ring_may_be_given_as_json_or_in_base64(file: sources.File) -> None:
    text = file.path.read_text()
    wrapped = base64.encodebytes(text.encode()).decode()
    for said in (text, f"\n{text}\n", wrapped):
        assert sources.Given(said).read() == file.read()
    for wrong in ("", "{", "hush hush", text[:-3], base64.b64encode(b"{}").decode()):
        with pytest.raises(errors.SettingsError, match="This is no key ring") as refused:
            sources.Given(wrong)
        assert "hush" not in refused.value.message


async def test_what_is_given_cannot_be_rotated_from_here(file: sources.File) -> None:
    given = sources.Given(file.path.read_text())
    assert await given.load() == file.read()
    with pytest.raises(errors.SettingsError, match="HOLDFAST_SEALING__RING"):
        await given.rotate("", NOW, NOW)


def test_settings_name_one_source_or_none(tmp_path: Path) -> None:
    assert sources.named(None, None) is None
    assert isinstance(sources.named(str(tmp_path), None), sources.File)


# The holder


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


class Own:
    """A source of an embedder's."""

    def __init__(self) -> None:
        self.ring: object = ring.Ring((ring.new_key(NOW),))
        self.failure: Exception | None = None
        self.refused: Exception | None = None
        self.rotated: list[tuple[str, int, int]] = []

    async def load(self) -> ring.Ring:
        if self.failure is not None:
            raise self.failure
        return self.ring  # type: ignore[return-value]

    async def rotate(self, tenant: str, since: int, unless: int) -> ring.Ring:
        self.rotated.append((tenant, since, unless))
        if self.refused is not None:
            raise self.refused
        assert isinstance(self.ring, ring.Ring)
        self.ring = self.ring.with_key(ring.new_key(since, tenant))
        return self.ring


def held(source: sources.KeySource | None, clock: Clock, **more: bool) -> holder.Holder:
    return holder.Holder(source, rotate_every=DAY / 1000, clock=clock, **more)


async def test_without_a_source_nothing_is_sealed() -> None:
    none = held(None, Clock())
    await none.start()
    await none.look()
    assert not none.sealer.on
    assert none.sealer.current("acme/ann") == ""
    assert none.key_age_ms is None


async def test_off_reads_and_seals_nothing_new(file: sources.File) -> None:
    off = held(file, Clock(), on=False)
    await off.start()
    assert off.sealer.ring == file.read()
    assert (off.sealer.on, off.sealer.current("a/"), off.key_age_ms) == (False, "", None)
    await off.look()
    assert len(file.read().keys) == 1


async def test_a_key_is_rotated_when_it_is_old_and_used_a_minute_later(file: sources.File) -> None:
    clock = Clock()
    node, other = held(file, clock), held(sources.File(file.path), clock)
    for one in (node, other):
        await one.start()
    (first,) = file.read().keys
    clock.now = NOW + DAY
    await node.look()
    assert len(file.read().keys) == 1
    clock.now += 1
    with structlog.testing.capture_logs() as told:
        await asyncio.gather(node.look(), other.look())
    assert [one["event"] for one in told][:1] == ["key_ring_rotated"]
    first_now, second = file.read().keys
    assert first_now == first
    assert second.since == clock.now + holder.DELAY_MS
    await other.look()
    for one in (node, other):
        assert one.sealer.ring == file.read()
        assert one.sealer.current("acme/") == first.id
    assert node.key_age_ms == DAY + 1
    clock.now += holder.DELAY_MS
    for one in (node, other):
        assert one.sealer.current("acme/") == second.id
    assert node.key_age_ms == 0


async def test_a_tenants_own_keys_are_rotated_by_themselves(file: sources.File) -> None:
    clock = Clock()
    file.add("acme", NOW - DAY)
    node = held(file, clock)
    await node.start()
    assert node.key_age_ms == DAY
    clock.now += 1
    await node.look()
    assert [key.tenant for key in file.read().keys] == ["", "acme", "acme"]
    assert node.key_age_ms == DAY + 1


async def test_never_is_never(file: sources.File) -> None:
    clock = Clock()
    node = holder.Holder(file, rotate_every=0, clock=clock)
    await node.start()
    clock.now += 1000 * DAY
    await node.look()
    assert len(file.read().keys) == 1
    assert node.key_age_ms is None


async def test_a_ring_that_shrank_is_taken_over(file: sources.File) -> None:
    (first,) = file.read().keys
    node = held(file, Clock())
    await node.start()
    wrapped = node.sealer.new("s", "acme/", first.id).wrapped
    file.add("", NOW)
    await node.look()  # there is time: a key in use is not destroyed
    file.destroy(first.id)
    await node.look()
    with pytest.raises(errors.KeyMissing, match=first.id):
        node.sealer.open("s", "acme/", wrapped)


async def test_a_ring_that_goes_bad_is_told_once_and_the_old_one_stays(file: sources.File) -> None:
    node = held(file, Clock())
    await node.start()
    before = node.sealer.ring
    text = file.path.read_text()
    with structlog.testing.capture_logs() as told:
        file.path.write_text("{")
        for _ in range(3):
            await node.look()
        file.path.unlink()
        await node.look()
    assert [one["event"] for one in told] == ["key_ring_unreadable"]
    assert node.sealer.ring is before
    assert (node.failures, node.unreadable) == (4, True)
    file.path.write_text(text)
    file.path.chmod(0o600)
    with structlog.testing.capture_logs() as told:
        await node.look()
        await node.look()
    assert [one["event"] for one in told] == ["key_ring_recovered"]
    assert not node.unreadable


async def test_a_whole_other_ring_is_told_and_not_taken_over(file: sources.File) -> None:
    """Else what is new would be under keys that no other node has, and what was could not be
    read."""
    clock, other = Clock(), sources.File(file.path.with_name("other.keys"))
    other.make(NOW)
    mine, theirs = file.path.read_bytes(), other.path.read_bytes()
    same_id = ring.Ring((ring.RingKey(file.read().keys[0].id, b"z" * 32, NOW),))
    node = held(file, clock)
    await node.start()
    before = node.sealer.ring
    clock.now += 2 * DAY
    with structlog.testing.capture_logs() as told:
        for foreign in (theirs, ring.dump(same_id), b"{", theirs):
            file.path.write_bytes(foreign)
            await node.look()
            assert node.sealer.ring is before
            if foreign != b"{":
                assert file.path.read_bytes() == foreign  # nor rotated
    assert [(one["event"], one["log_level"]) for one in told] == [
        ("key_ring_foreign", "error"),
        ("key_ring_unreadable", "error"),
        ("key_ring_foreign", "error"),
    ]
    assert (node.failures, node.unreadable) == (4, True)
    assert node.key_age_ms == 2 * DAY  # so that the alert comes
    file.path.write_bytes(mine)
    with structlog.testing.capture_logs() as told:
        await node.look()
    assert [one["event"] for one in told] == ["key_ring_recovered", "key_ring_rotated"]


async def test_a_rotation_that_fails_is_told_once_and_tried_again_later() -> None:
    clock, own = Clock(), Own()
    node = held(own, clock)
    await node.start()
    clock.now += 2 * DAY
    own.refused = RuntimeError("hush")
    with structlog.testing.capture_logs() as told:
        for _ in range(3):
            await node.look()
        assert len(own.rotated) == 1
        clock.now += holder.AGAIN_MS
        await node.look()
        assert len(own.rotated) == 2
    assert [(one["event"], one["error"]) for one in told] == [
        ("key_ring_not_rotated", "RuntimeError")
    ]
    own.refused = None
    clock.now += holder.AGAIN_MS
    with structlog.testing.capture_logs() as told:
        await node.look()
    assert [one["event"] for one in told] == ["key_ring_recovered", "key_ring_rotated"]


async def test_a_source_of_others_keeps_a_node_from_starting_and_tells_no_secret() -> None:
    own = Own()
    own.failure = RuntimeError("the key is hush")
    with pytest.raises(errors.SettingsError, match="RuntimeError") as refused:
        await held(own, Clock()).start()
    assert "hush" not in refused.value.message
    assert refused.value.__cause__ is None
    own.failure, own.ring = None, b"a ring"
    with pytest.raises(errors.SettingsError, match="something else"):
        await held(own, Clock()).start()


async def test_a_source_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Own):
        async def load(self) -> ring.Ring:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(holder, "LOAD_SECONDS", 0.0)
    with pytest.raises(errors.SettingsError, match="TimeoutError"):
        await held(Silent(), Clock()).start()
