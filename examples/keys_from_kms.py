"""The key ring kept by a KMS: nothing that opens an answer lies on the machine.

A KMS encrypts and decrypts a few bytes and never gives its own key away. Here one in memory stands
for it; `Kms` is what you replace, by your vendor's client.

Run it: .venv/bin/python examples/keys_from_kms.py
"""

import asyncio
import tempfile
import time
from pathlib import Path

from cryptography.fernet import Fernet

import holdfast
from holdfast.sealing import ring


class Kms:
    """Two calls, as every vendor has them."""

    def __init__(self) -> None:
        self._key = Fernet(Fernet.generate_key())

    async def encrypt(self, data: bytes) -> bytes:
        return self._key.encrypt(data)

    async def decrypt(self, data: bytes) -> bytes:
        return self._key.decrypt(data)


class Keys:
    """A `holdfast.KeySource`: the ring lies in a file, and only the KMS can open it. Many nodes
    that share one would hold a lock, or compare and swap, where `rotate` writes."""

    def __init__(self, kms: Kms, file: Path) -> None:
        self._kms, self._file = kms, file
        self._known: tuple[bytes, holdfast.Ring] | None = None

    async def load(self) -> holdfast.Ring:
        sealed = self._file.read_bytes()
        if self._known is None or self._known[0] != sealed:  # asked for every few seconds
            self._known = (sealed, ring.parse(await self._kms.decrypt(sealed)))
        return self._known[1]

    async def rotate(self, tenant: str, since: int, unless: int) -> holdfast.Ring:
        found = await self.load()
        newest = found.newest(tenant)
        if newest is not None and newest.since >= unless:
            return found
        return await self.write(found.with_key(ring.new_key(since, tenant)))

    async def write(self, wanted: holdfast.Ring) -> holdfast.Ring:
        new = self._file.with_suffix(".new")
        new.write_bytes(await self._kms.encrypt(ring.dump(wanted)))
        new.replace(self._file)
        return wanted


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Kms(), Path(folder) / "ring")
        await keys.write(holdfast.Ring((ring.new_key(int(time.time() * 1000)),)))
        settings = holdfast.Settings.model_validate({"log": {"url": f"sqlite:///{folder}/log.db"}})
        node = holdfast.asgi(settings, keys=keys)
        async with node.service as service:
            question = holdfast.Message("user", "What is a holdfast?\n/demo tokens=30 rate=1000")
            created = await service.create(holdfast.Request(model="demo", messages=[question]))
            async for _ in service.events(created.stream):
                pass
            text = (await service.get(created.stream)).choice().content
        print(f"{len(text)} characters, readable on disk: {b'holdfast?' in on_disk(Path(folder))}")


asyncio.run(main())
