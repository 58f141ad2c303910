"""What a log file's blobs hold: the operations of the redo log, and blocks of events.

Strategy: an operation is a change to `streams.Streams` with all that its verdict needs (the
epoch that a claim chose, the time), so that applying the same operations in the same order
makes the same streams. The engine applies an operation with `apply` once it is durable, and a
start applies it again with the same function. A block is a stream, or its tail, as the flat
arrays that it is in memory: a record is one block, a checkpoint one block a stream.

Both are MessagePack of the classes below, with the names of their fields, so those names are
the format: new fields need a default, none is ever renamed. Every blob is sealed (`codec`),
and so is the packed request inside a header.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
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


Operation = Create | Append | Claim | Cancel
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
_operations = msgspec.msgpack.Decoder(list[Operation])
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


def touched(operation: Operation) -> Sequence[events.StreamId]:
    """The streams that it is about."""
    if isinstance(operation, Append):
        return [batch.stream for batch in operation.tick]
    return (operation.stream,)


def encode(operation: Operation) -> bytes:
    """One operation, to be put into a group."""
    if isinstance(operation, Create):
        operation = msgspec.structs.replace(operation, header=_seal(operation.header))
    return _encode(operation)


def pack_group(encoded: Sequence[bytes]) -> bytes:
    """A row of the redo log: operations that became durable together, as one array."""
    array_of_32_bit_length = b"\xdd" + len(encoded).to_bytes(4, "big")
    return codec.PLAIN.pack(codec.REDO, b"".join((array_of_32_bit_length, *encoded)))


def unpack_group(blob: bytes) -> list[Operation]:
    """Raises `errors.LogCorrupt`."""
    operations = _decode(_operations, codec.PLAIN.unpack(codec.REDO, blob))
    return [
        msgspec.structs.replace(operation, header=_unseal(operation.header))
        if isinstance(operation, Create)
        else operation
        for operation in operations
    ]


def pack_header(header: base.Header) -> bytes:
    return codec.PLAIN.pack(codec.HEADER, _encode(_seal(header)))


def unpack_header(blob: bytes) -> base.Header:
    """Raises `errors.LogCorrupt`."""
    return _unseal(_decode(_header, codec.PLAIN.unpack(codec.HEADER, blob)))


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


def pack_block(kind: int, block: Block) -> bytes:
    return codec.PLAIN.pack(kind, _encode(block))


def unpack_block(kind: int, blob: bytes) -> Block:
    """Raises `errors.LogCorrupt`."""
    return _decode(_block, codec.PLAIN.unpack(kind, blob))


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
