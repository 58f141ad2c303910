"""A batch as the bytes of one entry, and a header as those of two fields.

Strategy: an entry's id has its epoch and last seq, so a block has the rest: the time, and of each
event its kind and its data, joined. It is packed by its stream's codec, bound to its stream and
its id, so that a reply that belongs to another question is not taken for the answer. MessagePack;
a header's fields have their names, which are the format: new ones need a default, none is ever
renamed.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from holdfast import errors, events, storage
from holdfast.eventlog import base
from holdfast.sealing import codec


class _Block(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`kinds` are those of `storage.CODES`, a byte each; `sizes` those of the parts of `data`."""

    ts: int
    kinds: bytes
    sizes: tuple[int, ...]
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_block = msgspec.msgpack.Decoder(_Block).decode
_header = msgspec.msgpack.Decoder(base.Header).decode


def pack(
    how: codec.Codec,
    stream: events.StreamId,
    epoch: int,
    last: int,
    batch: tuple[events.Draft, ...],
    ts: int,
) -> bytes:
    """The block of these events, the last of which has the seq `last`."""
    if len(batch) == 1:  # what a live answer brings, most of the time
        (draft,) = batch
        block = _Block(ts, bytes((storage.CODES[draft.kind],)), (len(draft.data),), draft.data)
    else:
        block = _Block(
            ts,
            bytes(storage.CODES[draft.kind] for draft in batch),
            tuple(len(draft.data) for draft in batch),
            b"".join(draft.data for draft in batch),
        )
    return how.pack(codec.BATCH, _encode(block), _place(stream, epoch, last))


def unpack(
    how: codec.Codec, stream: events.StreamId, entry: bytes, blob: bytes
) -> Iterator[events.Event]:
    """The events of an entry, by its id and its block. Raises `errors.LogCorrupt`."""
    try:
        epoch, last = map(int, entry.split(b"-"))
        block = _block(how.unpack(codec.BATCH, blob, _place(stream, epoch, last)))
        if len(block.kinds) != len(block.sizes) or sum(block.sizes) != len(block.data):
            raise errors.LogCorrupt("its parts do not fit")
        kinds = [storage.KINDS[code] for code in block.kinds]
    except (errors.LogCorrupt, msgspec.DecodeError, ValueError, IndexError) as error:
        said = getattr(error, "message", error)
        raise errors.LogCorrupt(f"Stream {stream}, entry {entry!r}: {said}.") from error
    start, seq = 0, last - len(kinds)
    for kind, size in zip(kinds, block.sizes, strict=True):
        seq += 1
        yield events.Event(kind, block.data[start : start + size], epoch, seq, block.ts)
        start += size


def repack(
    old: codec.Codec, new: codec.Codec, stream: events.StreamId, entry: bytes, blob: bytes
) -> bytes:
    """The same block by another codec. Raises `errors.LogCorrupt`."""
    try:
        place = _place(stream, *map(int, entry.split(b"-")))
        return new.pack(codec.BATCH, old.unpack(codec.BATCH, blob, place), place)
    except (errors.LogCorrupt, ValueError, TypeError) as error:
        said = getattr(error, "message", error)
        raise errors.LogCorrupt(f"Stream {stream}, entry {entry!r}: {said}.") from error


def pack_header(
    how: codec.Codec, stream: events.StreamId, header: base.Header
) -> tuple[bytes, bytes]:
    """A header without its request, and the request: b"" for none."""
    bare = msgspec.structs.replace(header, request=b"")
    request, bound = header.request, stream.encode()
    return (
        how.pack(codec.HEADER, _encode(bare), bound),
        how.pack(codec.REQUEST, request, bound) if request else b"",
    )


def unpack_header(
    how: codec.Codec, stream: events.StreamId, blob: bytes, request: bytes
) -> base.Header:
    """Raises `errors.LogCorrupt`."""
    bound = stream.encode()
    try:
        header = _header(how.unpack(codec.HEADER, blob, bound))
        asked = how.unpack(codec.REQUEST, request, bound) if request else b""
    except (errors.LogCorrupt, msgspec.DecodeError) as error:
        said = getattr(error, "message", error)
        raise errors.LogCorrupt(f"The header of stream {stream}: {said}.") from error
    return msgspec.structs.replace(header, request=asked) if asked else header


def _place(stream: events.StreamId, epoch: int, last: int) -> bytes:
    return b"%b:%d-%d" % (stream.encode(), epoch, last)
