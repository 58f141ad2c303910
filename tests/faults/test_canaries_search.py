"""The search for canaries finds them in every form, and nothing else."""

from __future__ import annotations

import base64
import gzip
import os
import zlib
from collections.abc import Callable
from urllib import parse

import pytest
import zstandard
from tests.faults import canaries


@pytest.mark.case("4.9")
def test_the_search_finds_each_form() -> None:
    canary = canaries.Canary("secret", f"{canaries.letters(40)}+/é{canaries.letters(20)}", "whole")
    search = canaries.Search([canary])
    names = set()
    for name, form in canary.forms():
        names.add(name)
        for at in range(len(form) - canaries.WINDOW + 1):
            assert search(b"x" * 7 + form[at : at + canaries.WINDOW] + b"\n")
        assert not search(form[: canaries.WINDOW - 1])
    assert names >= {"raw", "hex", "percent", "sha256 in hex", "sha512 in base64"}


@pytest.mark.case("4.9")
@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("behind", range(4))
def test_the_search_finds_base64_of_what_holds_a_secret(before: int, behind: int) -> None:
    secret = f"{canaries.letters(20)}??>>{canaries.letters(20)}"
    search = canaries.Search([canaries.Canary("secret", secret)])
    text = os.urandom(before) + secret.encode() + os.urandom(behind)
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        assert search(encode(text))
    assert search(parse.quote(secret, safe="").encode())
    assert search(parse.quote_plus(f"key={secret}").encode())
    assert not search(base64.b64encode(os.urandom(len(text))))


@pytest.mark.case("4.9")
def test_the_search_finds_nothing_in_noise() -> None:
    many = [canaries.Canary(str(number), canaries.letters(40)) for number in range(20)]
    assert canaries.Search(many)(os.urandom(1 << 20)) == []
    with pytest.raises(ValueError, match="12"):
        canaries.Canary("short", "x" * 11)


@pytest.mark.case("4.9")
@pytest.mark.parametrize(
    "compress",
    [gzip.compress, zlib.compress, lambda data: zlib.compress(data, 1), zstandard.compress],
    ids=["gzip", "zlib", "zlib, fast", "zstd"],
)
def test_what_is_compressed_is_searched_too(compress: Callable[[bytes], bytes]) -> None:
    secret = canaries.letters(40)
    search = canaries.Search([canaries.Canary("secret", secret)])
    noise = os.urandom(100_000)
    less = compress(f"{secret} and again {secret}".encode() * 3)
    assert search(canaries.expanded(noise + less + noise))
    assert not search(canaries.expanded(noise + less[3:] + noise))
    assert search(canaries.expanded(less + less))
