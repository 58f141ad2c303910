"""The search of stolen files finds secrets in every form and frame, and nothing else."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable

import pytest
from tests import postgres_server, redis_servers
from tests.faults import canaries
from tests.faults.stolen import searching

from holdfast.sealing import compressing

TEXT = canaries.letters(48)
CANARY = canaries.Canary("secret", TEXT)
KEY = searching.Bytes("key", os.urandom(32))
SAID = b'{"of":"an answer","answer":"%b"}' % TEXT.encode()


@pytest.fixture(scope="module")
def search() -> searching.Search:
    return searching.Search([CANARY, KEY])


@pytest.mark.case("4.25")
@pytest.mark.parametrize("secret", [CANARY, KEY], ids=["a text", "a key"])
def test_fifteen_bytes_of_a_form_are_found_wherever_they_are(
    search: searching.Search, secret: searching.Secret
) -> None:
    for _, form in secret.forms():
        for at in range(len(form) - 14):
            said = b"-" * (3 + at % 8) + form[at : at + 15] + b"\n"
            assert secret.name in search(said)
        # The next byte is another one: what fills up the last step of a search may be it by chance.
        short, after = form[: canaries.WINDOW - 1], form[canaries.WINDOW - 1]
        assert not search(short + bytes([after ^ 1]))


FRAMES: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "fast zlib": lambda data: zlib.compress(data, 1),
    "gzip": gzip.compress,
    "as records": lambda data: compressing.compress(data)[1],
}


@pytest.mark.case("4.25")
@pytest.mark.parametrize("frame", FRAMES)
def test_what_is_compressed_is_found_and_what_is_cut_off_as_far_as_it_goes(
    search: searching.Search, frame: str
) -> None:
    noise = os.urandom(500)
    made = FRAMES[frame](SAID * 3)
    assert search(noise + made + noise)["secret"]
    twice = FRAMES[frame](noise + made + noise)
    assert search(noise + twice)["secret"]
    if frame != "as records":  # a block of zstd is whole or nothing, and has letters as they are
        assert not search(noise + made[6:] + noise)
        long = FRAMES[frame](SAID + os.urandom(5000))
        assert search(noise + long[:2000])["secret"]


@pytest.mark.case("4.25")
def test_what_redis_compresses_is_found(
    search: searching.Search, valkey: redis_servers.Server
) -> None:
    valkey.do("SET", "stolen", SAID * 50)
    dumped = valkey.do("DUMP", "stolen")
    valkey.do("DEL", "stolen")
    assert search(dumped, lzf=True)["secret"] == {"raw", "lzf: raw"}
    assert not search(dumped[: dumped.index(TEXT[:9].encode())], lzf=True)


@pytest.mark.case("4.25")
async def test_what_postgres_compresses_is_found(
    search: searching.Search, postgres: postgres_server.Server
) -> None:
    where = await postgres.fresh()
    said = f"x{SAID.decode()}{'x' * 3000}"
    await postgres.execute(where, f"CREATE TABLE stolen AS SELECT '{said}' AS said")
    await postgres.execute(where, "CHECKPOINT")
    ((path,),) = await postgres.execute(where, "SELECT pg_relation_filepath('stolen')")
    data = (postgres.folder / "data" / str(path)).read_bytes()
    assert TEXT.encode() not in data
    assert search(data) == {"secret": {"raw, by pglz"}}
