"""AES-GCM as it is called here gives what NIST published, and our frames are what they are said to
be.

Strategy: the vectors of CAVP (`cryptography_vectors`) run through the very cipher that `codec`
seals with, a cipher object a key, and those that it cannot be asked for (other lengths of nonce or
tag) are counted and left. What lies around the cipher, the frame and the associated data, is held
by bytes that were once sealed, and opened here by hand as the docstring of `codec` tells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast import errors
from holdfast.sealing import codec

FOLDER = "ciphers/AES/GCM"
LENGTHS = re.compile(r"\[(Keylen|IVlen|PTlen|AADlen|Taglen) = (\d+)\]")
ROUND = {
    "Keylen": 8 * codec.KEY_BYTES,
    "IVlen": 8 * codec.NONCE_BYTES,
    "Taglen": 8 * codec.TAG_BYTES,
}
"""What we ask of it, in bits."""


class Vector(NamedTuple):
    key: bytes
    nonce: bytes
    said: bytes
    data: bytes | None
    """None where the tag is wrong."""
    sealed: bytes
    fits: bool


def vectors(name: str) -> Iterator[Vector]:
    """Of one of NIST's files."""
    lengths: dict[str, int] = {}
    row: dict[str, str] = {}
    with cryptography_vectors.open_vector_file(f"{FOLDER}/{name}", "r") as file:
        for line in (*file, "\n"):
            if found := LENGTHS.match(line):
                lengths[found[1]] = int(found[2])
            elif line.strip() == "FAIL":
                row["FAIL"] = ""
            elif " = " in line:
                part, _, value = line.partition(" = ")
                row[part] = value.strip()
            elif "Key" in row:
                yield _vector(row, all(lengths[part] == bits for part, bits in ROUND.items()))
                row = {}


def _vector(row: dict[str, str], fits: bool) -> Vector:
    key, nonce, said, sealed, tag = (
        bytes.fromhex(row[part]) for part in ("Key", "IV", "AAD", "CT", "Tag")
    )
    data = None if "FAIL" in row else bytes.fromhex(row["PT"])
    return Vector(key, nonce, said, data, sealed + tag, fits)


@pytest.mark.case("4.25")
def test_what_nist_sealed_is_what_we_seal() -> None:
    assert vars(codec)["AESGCM"] is AESGCM
    asked = left = 0
    for one in vectors("gcmEncryptExtIV256.rsp"):
        if not one.fits:
            left += 1
            continue
        assert one.data is not None
        cipher = AESGCM(one.key)
        assert cipher.encrypt(one.nonce, one.data, one.said) == one.sealed
        assert cipher.decrypt(one.nonce, one.sealed, one.said) == one.data
        asked += 1
    # 25 pairs of lengths of text and of what is said, 15 each; nonces of 8 and 1024 bits and tags
    # of 32 to 120 are for others.
    assert (asked, left) == (375, 7500)


@pytest.mark.case("4.25")
def test_what_nist_sealed_we_open_and_what_it_forged_we_refuse() -> None:
    opened = refused = left = 0
    for one in vectors("gcmDecrypt256.rsp"):
        cipher = AESGCM(one.key)
        if not one.fits:
            left += 1
        elif one.data is None:
            with pytest.raises(InvalidTag):
                cipher.decrypt(one.nonce, one.sealed, one.said)
            refused += 1
        else:
            assert cipher.decrypt(one.nonce, one.sealed, one.said) == one.data
            opened += 1
    assert (opened + refused, left) == (375, 7500)
    assert min(opened, refused) > 100


@pytest.mark.case("4.25")
def test_no_other_tag_is_taken() -> None:
    """As Wycheproof changes them: a bit, all bits, none, zeros and ones alone, bytes in another
    order."""
    tags = 0
    for one in vectors("gcmEncryptExtIV256.rsp"):
        if not one.fits:
            continue
        cipher, tag = AESGCM(one.key), one.sealed[-codec.TAG_BYTES :]
        number = int.from_bytes(tag, "big")
        wrong = {(number ^ 1 << bit).to_bytes(16, "big") for bit in range(128)}
        wrong |= {bytes(byte ^ 0xFF for byte in tag), bytes(16), b"\xff" * 16, b"", tag[::-1]}
        wrong |= {tag[8:] + tag[:8], tag[:8] * 2, tag[:15], tag + b"\0"}
        for forged in wrong - {tag}:
            with pytest.raises(InvalidTag):
                cipher.decrypt(one.nonce, one.sealed[: -codec.TAG_BYTES] + forged, one.said)
            tags += 1
    assert tags > 375 * 130


# The frame around it. A later version of Holdfast must still open these bytes.

KEY, RING_KEY = bytes(range(32)), bytes(range(32, 64))
KEY_ID, OWNER, STREAM, PLACE = "00112233445566ff", "acme/alice", "a" * 32, b"1-7"
BATCH = bytes.fromhex("0110ed2a45eda37e8565b578dd75ec25a158e4a0db4f7c9402c18fee6b2c8c699b5bc87f")
WRAPPED = bytes.fromhex(
    "012000112233445566ffbb3a6b752a524bd12a0de8ad4b37668e0d6a42ee81ae45d6b416cd502e83"
    "7ce12d70f3562f6b5abffcb59a492b198fdbbac66a3b5b5e0ec8c35cea4a"
)
SAID = b"\x00\x00\x00\x0aacme/alice" + b"\x00\x00\x00\x20" + b"a" * 32


@pytest.mark.case("4.25")
def test_a_frame_of_old_opens_by_hand() -> None:
    kind = b"\x06"
    assert (codec.BATCH, codec.DATA_KEY) == (6, 7)
    by_hand = AESGCM(KEY).decrypt(BATCH[2:14], BATCH[14:], BATCH[:2] + kind + SAID + PLACE)
    assert by_hand == b"a tick"
    assert codec.Sealed(KEY, b"", OWNER, STREAM).unpack(codec.BATCH, BATCH, PLACE) == b"a tick"
    assert len(BATCH) == codec.SEALED_OVERHEAD + len(b"a tick")


@pytest.mark.case("4.25")
def test_a_wrapped_key_of_old_opens_by_hand() -> None:
    assert codec.key_id(WRAPPED) == KEY_ID
    cipher = AESGCM(RING_KEY)
    assert cipher.decrypt(WRAPPED[10:22], WRAPPED[22:], WRAPPED[:10] + b"\x07" + SAID) == KEY
    assert codec.unwrap(cipher, codec.DATA_KEY, WRAPPED, codec.bound_to(OWNER, STREAM)) == KEY


@pytest.mark.case("4.25")
@pytest.mark.parametrize("bits", [96, 104, 112, 120])
def test_a_tag_that_was_cut_is_refused(bits: int) -> None:
    """Which GCM itself would allow."""
    cut = BATCH[: len(BATCH) - codec.TAG_BYTES + bits // 8]
    with pytest.raises(errors.LogCorrupt, match="seal"):
        codec.Sealed(KEY, b"", OWNER, STREAM).unpack(codec.BATCH, cut, PLACE)
