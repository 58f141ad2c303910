"""Where a key ring is: in a file, in the environment, or wherever an embedder keeps it.

Strategy: a ring is read whole and written whole. A file is private to whoever runs the node, and a
new one takes its place in one step, so that a reader has the old or the new ring and never half of
one; it belongs to whom the old one belonged to. Who changes it holds a lock beside it and reads it
again first: of many processes that find a key too old at once, one makes the next.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from holdfast import errors
from holdfast.sealing import ring

LOCK_SECONDS = 10.0
"""How long a change waits for another one, which takes some milliseconds."""

_LOCK_LOOK = 0.02

Change = Callable[[ring.Ring], ring.Ring]


class KeySource(Protocol):
    """What keeps the ring. An embedder's own may ask a KMS (docs/sealing.md)."""

    async def load(self) -> ring.Ring:
        """The ring of now; asked for at the start and every few seconds, so what has not changed
        is to be cheap. Whatever is raised keeps a node from starting; one that runs goes on with
        the ring it has."""

    async def rotate(self, tenant: str, since: int, unless: int) -> ring.Ring:
        """The ring with a new key, of a tenant's own or for all (""), that is used from `since`
        (ms since 1970) on; without one where the newest is used from `unless` or later: another
        node was quicker. Raises `errors.SettingsError` where it cannot be changed from here."""


class File:
    """A ring in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, int, int], ring.Ring] | None = None

    async def load(self) -> ring.Ring:
        return await asyncio.to_thread(self.read)

    async def rotate(self, tenant: str, since: int, unless: int) -> ring.Ring:
        return await asyncio.to_thread(self.add, tenant, since, unless)

    def read(self) -> ring.Ring:
        """Raises `errors.SettingsError`."""
        try:
            found = self.path.stat()
            known = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._read is not None and self._read[0] == known:
                return self._read[1]
            with self.path.open("rb") as opened:
                found = os.fstat(opened.fileno())
                self._check_private(found)
                data = opened.read(ring.MAX_BYTES + 1)
        except FileNotFoundError:
            raise errors.SettingsError(
                f"There is no key ring at {self.path}: `holdfast serve --encrypt` makes one where "
                "nothing is sealed yet."
            ) from None
        except OSError as error:
            raise errors.SettingsError(
                f"The key ring {self.path} cannot be read: {error.strerror}."
            ) from None
        try:
            parsed = ring.parse(data)
        except errors.SettingsError as error:
            raise errors.SettingsError(f"{self.path}: {error.message}") from None
        self._read = ((found.st_mtime_ns, found.st_ino, found.st_size), parsed)
        return parsed

    def make(self, now: int) -> bool:
        """A ring with its first key, where there is none; whether it was made. Raises
        `errors.SettingsError`."""
        with self._locked():
            if self.path.exists():
                return False
            self._write(ring.Ring((ring.new_key(now),)))
        return True

    def add(self, tenant: str, since: int, unless: int | None = None) -> ring.Ring:
        """As `rotate`; always a new key without `unless`."""

        def change(found: ring.Ring) -> ring.Ring:
            newest = found.newest(tenant)
            if unless is not None and newest is not None and newest.since >= unless:
                return found
            return found.with_key(ring.new_key(since, tenant))

        return self._change(change)

    def destroy(self, *ids: str) -> ring.Ring:
        """The ring without these keys. Raises `errors.SettingsError`, also where no key for all
        would be left."""
        return self._change(lambda found: found.without(*ids))

    def _change(self, change: Change) -> ring.Ring:
        with self._locked():
            found = self.read()
            try:
                wanted = change(found)
            except ValueError as error:
                raise errors.SettingsError(f"{self.path}: {error}.") from None
            if wanted is not found:
                self._write(wanted)
            return wanted

    def _check_private(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise errors.SettingsError(f"The key ring {self.path} is no file.")
        if found.st_mode & 0o077:
            raise errors.SettingsError(
                f"Others may read the key ring {self.path}: run `chmod 600 {self.path}`, and "
                "rotate if they may have."
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes of the machine, whichever link they know the file by."""
        path = self._real()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._hand_over(lock, path)
            self._take(lock)
            yield
        finally:
            os.close(lock)

    def _take(self, lock: int) -> None:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise errors.SettingsError(
                        f"The key ring {self.path} is being changed by another process."
                    ) from None
            except OSError as error:
                raise self._unwritable(error) from None
            time.sleep(_LOCK_LOOK)

    def _write(self, wanted: ring.Ring) -> None:
        """Whole and durable before it takes the old one's place. A link stays a link."""
        path = self._real()
        new = path.with_name(f"{path.name}.new")
        try:
            new.unlink(missing_ok=True)  # of one that was killed; the lock is ours
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as opened:
                self._hand_over(file, path)
                opened.write(ring.dump(wanted))
                opened.flush()
                os.fsync(opened.fileno())
            new.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except (OSError, errors.SettingsError) as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise self._unwritable(error) from None
            raise

    def _real(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _hand_over(self, file: int, path: Path) -> None:
        """To whoever has the ring that is there: the node is to read what root has changed. Raises
        `errors.SettingsError`."""
        try:
            wanted = path.stat()
        except FileNotFoundError:
            return
        found = os.fstat(file)
        try:
            if found.st_uid != wanted.st_uid:
                os.fchown(file, wanted.st_uid, -1)
        except OSError:
            raise errors.SettingsError(
                f"The key ring {self.path} belongs to the user {wanted.st_uid}, who could not read "
                "it any more: change it as that user, or as root."
            ) from None
        if found.st_gid != wanted.st_gid:
            with contextlib.suppress(OSError):  # which may do nothing with a file of mode 0600
                os.fchown(file, -1, wanted.st_gid)

    def _unwritable(self, error: OSError) -> errors.SettingsError:
        return errors.SettingsError(
            f"The key ring {self.path} cannot be written: {error.strerror}."
        )


class Given:
    """A ring that somebody else gave, and changes: that of the environment. It stays as it is."""

    def __init__(self, text: str) -> None:
        """As JSON, or that in base64. Raises `errors.SettingsError`, which shows nothing of it."""
        self._ring = ring.parse(_plain(text))

    def read(self) -> ring.Ring:
        return self._ring

    async def load(self) -> ring.Ring:
        return self._ring

    async def rotate(self, tenant: str, since: int, unless: int) -> ring.Ring:
        raise unchangeable()


def unchangeable() -> errors.SettingsError:
    """What is said of a ring that cannot be changed from here."""
    return errors.SettingsError(
        "The key ring is in the environment (HOLDFAST_SEALING__RING) and cannot be changed from "
        "here: change it where it is kept, and start the nodes anew."
    )


def _plain(text: str) -> bytes:
    said = text.strip()
    if said.startswith("{"):
        return said.encode()
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode("".join(said.split()), validate=True)
    return b""  # which is no ring


Named = File | Given
"""What settings can name."""


def named(path: str | None, text: str | None) -> Named | None:
    """The source that settings name; None where they name none. Raises `errors.SettingsError`."""
    if path is not None:
        return File(Path(path))
    return None if text is None else Given(text)
