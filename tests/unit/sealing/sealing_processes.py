"""What `test_codec_nonces` starts: processes that seal under one data key, and tell their nonces.

`python sealing_processes.py FOLDER COUNT [counting]`. Two are forked with the key already open, the
worst that a zygote can do, and seal at once; when they are gone a third opens the same wrapped key,
as after a takeover. Each writes its nonces, one after the other, into a file of the folder. With
`counting` nonces are made the wrong way, each process from 0, to show that it would be seen.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from holdfast.sealing import codec, ring, sealer

STREAM, OWNER = "s" * 32, "acme/alice"
SHARES = (0.4, 0.4, 0.2)
"""Of all units, by process; the last is the takeover."""


def seal(wrapped: bytes, by: sealer.Sealer, one: codec.Codec | None, count: int, to: Path) -> None:
    one = one or by.open(STREAM, OWNER, wrapped)
    first, last = 2, 2 + codec.NONCE_BYTES
    nonces = bytearray()
    for number in range(count):
        nonces += one.pack(codec.BATCH, b"tick", b"1-%d" % number)[first:last]
    to.write_bytes(nonces)


def forked(*asked: object) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            seal(*asked)  # type: ignore[arg-type]
            code = 0
        finally:
            os._exit(code)
    return pid


def main(folder: Path, count: int, counting: bool) -> None:
    if counting:
        numbers = itertools.count()
        codec.os.urandom = lambda size: next(numbers).to_bytes(size)  # type: ignore[attr-defined]
    by = sealer.Sealer(ring.Ring((ring.RingKey("a" * 16, b"a" * 32, 0),)))
    one = by.new(STREAM, OWNER, by.current(OWNER))
    assert one.wrapped is not None
    shares = [int(count * share) for share in SHARES]
    both = [
        forked(one.wrapped, by, one, share, folder / str(number))
        for number, share in enumerate(shares[:2])
    ]
    for pid in both:
        assert os.waitpid(pid, 0)[1] == 0
    pid = forked(one.wrapped, by, None, shares[2], folder / "2")
    assert os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["counting"])
