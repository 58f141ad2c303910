"""What a log file's blobs hold: the operations of the redo log, and blocks of events.

Strategy: an operation is a change to `streams.Streams` with all that its verdict needs (the
epoch that a claim chose, the time), so that applying the same operations in the same order
makes the same streams. The engine applies an operation with `apply` once it is durable, and a
start applies it again with the same function. A block is a stream, or its tail, as the flat
arrays that it is in memory: a record is one block, a checkpoint one block a stream.

Both are MessagePack of the classes below, with the names of their fields, so those names are
the format: new fields need a default, none is ever renamed. Every blob is packed by `codec`,
and so is the packed request inside a plain header.

Of a sealed stream an operation has in clear what a replay needs to pass over it; the header and
the events are sealed by the stream's own key, a batch at a time. A row may tell of both kinds.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import msgspec

from holdfast import errors, events, storage
from holdfast.eventlog import base, streams
from holdfast.sealing import codec


class Create(msgspec.Struct, frozen=True, tag_field="op", tag="create"):
    stream: events.StreamId
    header: base.Header
    epoch: int
    drafts: tuple[events.Draft, ...]
    ts: int


class Append(msgspec.Struct, frozen=True, tag_field="op", tag="append"):
    tick: base.Tick


class Claim(msgspec.Struct, frozen=True, tag_field="op", tag="claim"):
    stream: events.StreamId
    epoch: int
    drafts: tuple[events.Draft, ...]
    ts: int


class Cancel(msgspec.Struct, frozen=True, tag_field="op", tag="cancel"):
    stream: events.StreamId


class SealedCreate(msgspec.Struct, frozen=True, tag_field="op", tag="create_sealed"):
    """`count` events; `owner` and `created_at` are the header's, for whoever cannot open it."""

    stream: events.StreamId
    owner: str
    created_at: int
    epoch: int
    ts: int
    count: int
    header: bytes
    drafts: bytes


class Unit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A batch of `count` events in a tick that is about sealed streams: `sealed` are its drafts,
    empty where its stream is plain. In this order: new fields come last, with a default."""

    stream: events.StreamId
    epoch: int
    last: int
    ts: int
    count: int
    sealed: bytes
    drafts: tuple[events.Draft, ...] = ()


class SealedAppend(msgspec.Struct, frozen=True, tag_field="op", tag="append_sealed"):
    tick: tuple[Unit, ...]


class SealedClaim(msgspec.Struct, frozen=True, tag_field="op", tag="claim_sealed"):
    stream: events.StreamId
    epoch: int
    ts: int
    count: int
    drafts: bytes


Operation = Create | Append | Claim | Cancel
Stored = Operation | SealedCreate | SealedAppend | SealedClaim
"""What a row of the redo log may have."""

Codecs = Mapping[events.StreamId, codec.Codec]
"""The codecs of the streams that are sealed, and of no others."""

NONE: Codecs = MappingProxyType({})

Outcome = base.Life | base.Exists | list[base.Result] | bool | None


class Block(msgspec.Struct, frozen=True, gc=False):
    """A stream from the event with the seq `first` on; `runs` and `cancelled` are of the
    whole. `ends` and `times` are arrays of 8-byte numbers in the byte order `order`; `ends`
    count from the stream's first byte."""

    first: int
    runs: tuple[tuple[int, int], ...]
    cancelled: bool
    order: str
    kinds: bytes
    ends: bytes
    times: bytes
    data: bytes


T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_operations = msgspec.msgpack.Decoder(list[Stored])
_drafts = msgspec.msgpack.Decoder(tuple[events.Draft, ...])
_block = msgspec.msgpack.Decoder(Block)
_header = msgspec.msgpack.Decoder(base.Header)


def apply(all_streams: streams.Streams, operation: Operation) -> Outcome:
    """Makes the change and gives its verdict."""
    match operation:
        case Append(tick):
            return [all_streams.append(batch) for batch in tick]
        case Create(stream, header, epoch, drafts, ts):
            return all_streams.create(stream, header, epoch, drafts, ts)
        case Claim(stream, epoch, drafts, ts):
            return all_streams.claim(stream, epoch, drafts, ts)
        case Cancel(stream):
            return all_streams.cancel(stream)


place = struct.Struct(">QQQ").pack
"""Where bytes of a sealed stream stand, as three numbers: for a batch its epoch, its last seq and
how many events it has; for a segment the redo row that it is complete up to, its first seq, and 0;
for a record its epoch, 1 and its last seq."""


def encode(operation: Operation, codecs: Codecs = NONE) -> bytes:
    """One operation, to be put into a group."""
    if codecs:
        if isinstance(operation, Append):
            return _encode(_sealed_tick(operation, codecs))
        by = codecs.get(operation.stream)
        if by is not None:
            return _encode(_sealed(operation, by))
    if isinstance(operation, Create):
        operation = msgspec.structs.replace(operation, header=_seal(operation.header))
    return _encode(operation)


def _sealed_tick(operation: Append, codecs: Codecs) -> Stored:
    units: list[Unit] = []
    sealed = False
    for batch in operation.tick:
        stream, epoch, last, drafts = batch.stream, batch.epoch, batch.last, batch.drafts
        by, count = codecs.get(stream), len(drafts)
        if by is None:
            units.append(Unit(stream, epoch, last, batch.ts, count, b"", drafts))
        else:
            sealed = True
            blob = by.pack(codec.BATCH, _encode(drafts), place(epoch, last, count))
            units.append(Unit(stream, epoch, last, batch.ts, count, blob))
    return SealedAppend(tuple(units)) if sealed else operation


def _sealed(operation: Create | Claim | Cancel, by: codec.Codec) -> Stored:
    if isinstance(operation, Cancel):
        return operation
    stream, epoch, ts, count = (
        operation.stream,
        operation.epoch,
        operation.ts,
        len(operation.drafts),
    )
    last = count if isinstance(operation, Create) else 0
    drafts = by.pack(codec.BATCH, _encode(operation.drafts), place(epoch, last, count))
    if isinstance(operation, Claim):
        return SealedClaim(stream, epoch, ts, count, drafts)
    header = operation.header
    packed = pack_header(header, by)
    return SealedCreate(stream, header.owner, header.created_at, epoch, ts, count, packed, drafts)


def open_drafts(
    operation: SealedCreate | SealedClaim | Unit, by: codec.Codec
) -> tuple[events.Draft, ...]:
    """Raises `errors.LogCorrupt`."""
    match operation:
        case Unit(last=last):
            blob = operation.sealed
            if not blob and by.wrapped is None:
                return operation.drafts
        case SealedCreate():
            blob, last = operation.drafts, operation.count
        case SealedClaim():
            blob, last = operation.drafts, 0
    where = place(operation.epoch, last, operation.count)
    return _decode(_drafts, by.unpack(codec.BATCH, blob, where))


def is_plain(operation: Stored) -> bool:
    """Whether it has something of a stream that no key hides."""
    match operation:
        case SealedAppend(tick):
            return any(unit.drafts for unit in tick)
        case Append(tick):
            return any(batch.drafts for batch in tick)
        case _:
            return isinstance(operation, Create | Claim)


def pack_group(encoded: Sequence[bytes]) -> bytes:
    """A row of the redo log: operations that became durable together, as one array."""
    array_of_32_bit_length = b"\xdd" + len(encoded).to_bytes(4, "big")
    return codec.PLAIN.pack(codec.REDO, b"".join((array_of_32_bit_length, *encoded)))


def unpack_group(blob: bytes) -> list[Stored]:
    """Raises `errors.LogCorrupt`. What is sealed stays it."""
    operations = _decode(_operations, codec.PLAIN.unpack(codec.REDO, blob))
    return [
        msgspec.structs.replace(operation, header=_unseal(operation.header))
        if isinstance(operation, Create)
        else operation
        for operation in operations
    ]


def pack_header(header: base.Header, by: codec.Codec = codec.PLAIN) -> bytes:
    return by.pack(codec.HEADER, _encode(header if by.wrapped else _seal(header)))


def unpack_header(blob: bytes, by: codec.Codec = codec.PLAIN) -> base.Header:
    """Raises `errors.LogCorrupt`."""
    header = _decode(_header, by.unpack(codec.HEADER, blob))
    return header if by.wrapped else _unseal(header)


def cut(stream: streams.Stream, first: int) -> Block:
    """A copy of a stream from the event with the seq `first` on."""
    index = first - 1
    start = stream.ends[index - 1] if index else 0
    return Block(
        first=first,
        runs=stream.runs,
        cancelled=stream.cancelled,
        order=sys.byteorder,
        kinds=bytes(stream.kinds[index:]),
        ends=stream.ends[index:].tobytes(),
        times=stream.times[index:].tobytes(),
        data=bytes(stream.data[start:]),
    )


def extend(stream: streams.Stream, block: Block) -> None:
    """Puts a block behind what the stream has; raises `errors.LogCorrupt` if it does not fit."""
    ends, times = _numbers(block.ends, block.order), _numbers(block.times, block.order)
    size = len(stream.data) + len(block.data)
    if (
        block.first != stream.last + 1
        or not len(block.kinds) == len(ends) == len(times)
        or size != (ends or stream.ends or (0,))[-1]
    ):
        raise errors.LogCorrupt("a block of events does not fit the stream")
    stream.data += block.data
    stream.ends += ends
    stream.kinds += block.kinds
    stream.times += times
    stream.last += len(ends)
    stream.runs, stream.epoch = block.runs, block.runs[-1][1]
    stream.cancelled = block.cancelled
    if stream.last and storage.KINDS[stream.kinds[-1]] in events.TERMINAL:
        stream.ended_at = stream.times[-1]


def pack_block(kind: int, block: Block, by: codec.Codec = codec.PLAIN, where: bytes = b"") -> bytes:
    """`where` is for a sealed stream; plain blocks never knew their place."""
    return repack_block(kind, _encode(block), by, where)


def unpack_block(
    kind: int, blob: bytes, by: codec.Codec = codec.PLAIN, where: bytes = b""
) -> Block:
    """Raises `errors.LogCorrupt`."""
    return _decode(_block, by.unpack(kind, blob, where if by.wrapped else b""))


def repack_block(kind: int, block: bytes, by: codec.Codec, where: bytes) -> bytes:
    """A block whose MessagePack is there already; records are compressed."""
    return by.pack(kind, block, where if by.wrapped else b"", compress=kind == codec.RECORD)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise errors.LogCorrupt(f"the payload cannot be read: {error}") from error


def _numbers(data: bytes, order: str) -> array[int]:
    numbers = array("Q")
    try:
        numbers.frombytes(data)
    except ValueError as error:
        raise errors.LogCorrupt(f"the payload cannot be read: {error}") from error
    if order != sys.byteorder:
        numbers.byteswap()
    return numbers


def _seal(header: base.Header) -> base.Header:
    if not header.request:
        return header
    return msgspec.structs.replace(header, request=codec.PLAIN.pack(codec.REQUEST, header.request))


def _unseal(header: base.Header) -> base.Header:
    if not header.request:
        return header
    return msgspec.structs.replace(
        header, request=codec.PLAIN.unpack(codec.REQUEST, header.request)
    )
