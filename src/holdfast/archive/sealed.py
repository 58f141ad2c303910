"""What an archive does about keys, whichever engine it is.

Strategy: values, and verdicts on them; the engines read and write rows. An archive has a key of its
own once it was started with sealing on: its guards, one for each of the ring's keys that is in use
there, are that key wrapped, and by it are sealed the archive's secret and what is kept of
connections. A stream has a data key, beside its row, or it is plain. Its row has in clear what
lists are made by; all of that is in its header too, or bound to it, so that nothing of it can be
changed, nor events be cut off at the end, without the header refusing it.

A header that cannot be opened hides one stream and no list: a list tells what lies in clear.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import structlog

from holdfast import errors, events, storage, told
from holdfast.archive import rows
from holdfast.sealing import codec
from holdfast.sealing import sealer as sealing

SECRET_BYTES = 32
SEALED_BYTES = SECRET_BYTES + codec.SEALED_OVERHEAD
"""Of a secret, and of one that is sealed."""

TOLD = 1000
"""Rows that cannot be read and were told of, so that each is a line once."""

ID_BEGINS = 3
"""Where the id of the ring's key stands in a wrapped key (`codec`), as SQL counts bytes."""

_encode = msgspec.msgpack.Encoder().encode
_header = msgspec.msgpack.Decoder(storage.Header)
_log = structlog.get_logger("holdfast")


class Row(msgspec.Struct, frozen=True):
    """A stream's row, in the order of `COLUMNS`."""

    stream: events.StreamId
    owner: str
    client_id: str | None
    session_id: str | None
    provider: str
    model: str
    created_at: int
    epoch: int
    seq: int
    status: events.Status
    cancelled: bool
    ended_at: int
    header: bytes
    key: bytes | None

    @property
    def head(self) -> storage.Head:
        return storage.Head(self.epoch, self.seq, True)


COLUMNS = (
    "id, owner, client_id, session_id, provider, model, created_at, epoch, seq, status, "
    "cancelled, ended_at, header, key"
)


class Settled(msgspec.Struct, frozen=True):
    """How an archive is opened. `guard` and `blob`, where they are not None, are to be written
    before anything else: its first guard, and its secret as it lies from now on."""

    store: sealing.StoreKey | None
    secret: bytes
    guard: tuple[str, bytes] | None = None
    blob: bytes | None = None


class Seals:
    """What an archive at `place` is sealed by; its own key is there once it was opened."""

    def __init__(self, sealer: sealing.Sealer, place: str) -> None:
        self.sealer, self.place = sealer, place
        self.store: sealing.StoreKey | None = None
        self._told = told.Told(TOLD)

    # The archive's own key

    def settle(self, guards: Mapping[str, bytes], blob: bytes) -> Settled:
        """Opens it, by all of its guards and its secret as it lies; a new archive has none yet, so
        that one which is sealed never has it in clear. Raises `errors.SettingsError`, before
        anything was read."""
        store, on = self.sealer.open_store(guards, self.place), self.sealer.on
        secret = self._secret(store, blob) or secrets.token_bytes(SECRET_BYTES)
        guard = None
        if store is None and on:
            store, by = self.sealer.new_store(), self.sealer.current("")
            guard = (by, store.guard(by))
        sealing_it = store is not None and on and len(blob) != SEALED_BYTES
        written = secret if not blob else None
        if store is not None and sealing_it:
            written = store.codec.pack(codec.SECRET, secret)
        self.store = store
        return Settled(store, secret, guard, written)

    def opened(self, guards: Mapping[str, bytes], blob: bytes) -> bytes | None:
        """The secret of what is at the place by now; None where the ring cannot open it."""
        try:
            store = self.sealer.open_store(guards, self.place)
            secret = self._secret(store, blob)
        except errors.SettingsError:
            return None
        self.store = store
        return secret

    def _secret(self, store: sealing.StoreKey | None, blob: bytes) -> bytes:
        if len(blob) != SEALED_BYTES:
            return blob
        if store is None:
            raise errors.SettingsError(
                f"{self.place} is sealed, and has lost what its key is found by; put a copy back."
            )
        try:
            return store.codec.unpack(codec.SECRET, blob)
        except errors.LogCorrupt as error:
            raise errors.SettingsError(f"{self.place}: its secret: {error.message}.") from error

    def guard(self, by: str) -> bytes:
        """The archive's key, wrapped by another of the ring's."""
        assert self.store is not None
        return self.store.guard(by)

    def without(
        self, guards: Mapping[str, bytes], key_id: str
    ) -> tuple[dict[str, bytes], bytes | None]:
        """What is to be done before the guard of this key is dropped: guards to be written first,
        and a new secret where the old one is lost with the last guard, and with it what was kept of
        connections. Raises `errors.SettingsError` where the ring has no other key to go on with."""
        if key_id not in guards or len(guards) > 1:
            return {}, None
        try:
            store = self.sealer.open_store(guards, self.place)
        except errors.SettingsError:
            return {}, secrets.token_bytes(SECRET_BYTES)
        keys = self.sealer.ring.keys if self.sealer.ring else ()
        others = [key for key in keys if not key.tenant and key.id != key_id]
        if store is None or not others:
            raise errors.SettingsError(
                f"{self.place} has no other key than {key_id}: run `holdfast seal rotate` first."
            )
        other = max(others, key=lambda key: key.since).id
        return {other: store.guard(other)}, None

    # Streams

    def new(self, info: storage.Info) -> codec.Codec:
        """For one that is kept from now on."""
        owner = info.header.owner
        return self.sealer.new(info.stream, owner, self.sealer.current(owner))

    def open(self, stream: str, owner: str, key: bytes | None) -> codec.Codec:
        return self.sealer.open(stream, owner, key)

    def reading(self, row: Row) -> codec.Codec:
        """For the events of a stream. Of a sealed one the header is opened, as that proves where
        they end. Raises `errors.LogCorrupt`, `KeyMissing`."""
        with place(row.stream):
            by = self.open(row.stream, row.owner, row.key)
            if by.wrapped is not None:
                unpack_header(by, row)
        return by

    def info(self, row: Row) -> storage.Info:
        """What is known of a stream. Raises `errors.LogCorrupt`, `KeyMissing`."""
        with place(row.stream):
            header = unpack_header(self.open(row.stream, row.owner, row.key), row)
        return _info(row, header)

    def listed(self, row: Row) -> storage.Info:
        """The same for a list, in which one that cannot be read hides no other."""
        try:
            return self.info(row)
        except errors.LogCorrupt as error:
            self._tell(row.stream, error)
        header = storage.Header(
            owner=row.owner,
            created_at=row.created_at,
            provider=row.provider,
            model=row.model,
            client_id=row.client_id,
            session_id=row.session_id,
        )
        return _info(row, header)

    def _tell(self, name: str, error: errors.LogCorrupt) -> None:
        if self._told.first(name):
            _log.error("stream_unreadable", stream=name, error=error.message)

    # Connections

    def pack_connection(self, one: rows.Connection) -> tuple[bytes, bool]:
        """Its data as they lie, and whether they are sealed."""
        if self.store is None or not self.sealer.on:
            return one.data, False
        return self.store.codec.pack(codec.CONNECTION, one.data, _bound(one)), True

    def connection(self, row: rows.Connection, sealed: bool) -> rows.Connection:
        """With its data as they were. Raises `errors.LogCorrupt`, `KeyMissing`."""
        if not sealed:
            return row
        if self.store is None:
            raise errors.KeyMissing(f"{self.place} is sealed, and there is no key for it.")
        try:
            data = self.store.codec.unpack(codec.CONNECTION, row.data, _bound(row))
        except errors.LogCorrupt as error:
            said = f"The archive's connection {row.id}: {error.message}."
            raise errors.LogCorrupt(said) from error
        return msgspec.structs.replace(row, data=data)

    def listed_connection(self, row: rows.Connection, sealed: bool) -> rows.Connection:
        """The same for a list: without data where they cannot be read."""
        try:
            return self.connection(row, sealed)
        except errors.LogCorrupt as error:
            self._tell(row.stream, error)
        return msgspec.structs.replace(row, data=b"")


def _info(row: Row, header: storage.Header) -> storage.Info:
    cancelled = bool(row.cancelled)
    return storage.Info(row.stream, header, row.head, row.status, cancelled, row.ended_at)


def row_of(info: storage.Info, by: codec.Codec) -> Row:
    """A stream that has ended as it is kept: of its header without the request, as nobody adopts
    it any more."""
    header, ended_at = info.header, info.ended_at or 0
    said = (header.owner, header.client_id, header.session_id, header.provider, header.model)
    head = (header.created_at, info.head.epoch, info.head.seq)
    row = Row(info.stream, *said, *head, info.status, info.cancelled, ended_at, b"", by.wrapped)
    return msgspec.structs.replace(row, header=pack_header(by, row, header))


def pack_header(by: codec.Codec, row: Row, header: storage.Header) -> bytes:
    data = _encode(msgspec.structs.replace(header, request=b""))
    return by.pack(codec.HEADER, data, _place(by, row))


def unpack_header(by: codec.Codec, row: Row) -> storage.Header:
    """Raises `errors.LogCorrupt`."""
    try:
        header = _header.decode(by.unpack(codec.HEADER, row.header, _place(by, row)))
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"the header cannot be read: {error}") from error
    if by.wrapped is not None and _clear(header) != _clear(row):
        raise errors.LogCorrupt("what lies beside its header is not what the header says")
    return header


def _clear(said: Row | storage.Header) -> tuple[Any, ...]:
    return (
        said.owner,
        said.client_id,
        said.session_id,
        said.provider,
        said.model,
        said.created_at,
    )


def _place(by: codec.Codec, row: Row) -> bytes:
    if by.wrapped is None:
        return row.stream.encode()
    said = (row.epoch, row.seq, row.status, int(row.cancelled), row.ended_at)
    return ":".join(map(str, said)).encode()


def _bound(one: rows.Connection) -> bytes:
    return codec.bound_to(one.owner, one.stream) + one.id.encode()


@contextlib.contextmanager
def place(stream: str) -> Iterator[None]:
    """Says where bytes lie that cannot be read back."""
    try:
        yield
    except errors.LogCorrupt as error:
        said = f"The archive's stream {stream}: {error.message}"
        raise type(error)(f"{said.rstrip('.')}.") from error
