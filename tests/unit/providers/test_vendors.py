"""The rows themselves."""

from __future__ import annotations

import fnmatch
import itertools

import msgspec
import pytest

from holdfast import request, transport
from holdfast.providers import base, remote, vendors

ROWS = list(vendors.VENDORS.values())


@pytest.mark.parametrize("vendor", ROWS, ids=lambda vendor: vendor.name)
def test_every_row_can_be_called(vendor: vendors.Vendor) -> None:
    base_url = vendor.base_url or "https://own.example/v1"
    made = remote.Provider(
        "p", vendor.format, transport_=transport.Transport(), base_url=base_url, api_key="k-1"
    )
    wanted = request.Request(
        model="m", messages=[request.Message("user", "Hi")], max_tokens=5, temperature=0.5
    )
    call = made.prepare(wanted, "some/model")
    assert call.url.startswith(f"{base_url}/")
    assert "k-1" not in call.url
    assert any("k-1" in value for _, value in call.headers)
    assert b"Hi" in call.body
    assert b"some/model" in call.body or "some%2Fmodel" in call.url
    assert isinstance(msgspec.json.decode(call.body), dict)
    provider: base.Provider = made
    assert provider.kind == vendor.format.kind


@pytest.mark.parametrize("vendor", ROWS, ids=lambda vendor: vendor.name)
def test_a_row_is_whole(vendor: vendors.Vendor) -> None:
    url = vendor.base_url
    assert url is None or not url.endswith("/")
    secure = url is not None and url.startswith("https://")
    assert secure == bool(vendor.api_key_env)


def test_no_two_vendors_claim_the_same_models() -> None:
    patterns = [(vendor.name, pattern) for vendor in ROWS for pattern in vendor.models]
    for (one, mine), (other, theirs) in itertools.combinations(patterns, 2):
        if one != other:
            assert not fnmatch.fnmatchcase(mine.replace("*", "x"), theirs)
            assert not fnmatch.fnmatchcase(theirs.replace("*", "x"), mine)
