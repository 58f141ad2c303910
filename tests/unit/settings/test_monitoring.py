"""What is watched: the address of the webhook and its secret."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from holdfast.settings import monitoring, tables

SECRET = "whsec_" + "A" * 32  # 24 bytes
URL = "https://hooks.example/T0/B1?token=hush"


def made(**fields: object) -> monitoring.Monitoring:
    return tables.Settings.model_validate({"monitoring": fields}).monitoring


@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:9093/x", "https://hooks.example", "https://[::1]:8443?a=b"]
)
def test_addresses_that_can_be(url: str) -> None:
    found = made(webhook_url=f" {url}\n").webhook_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example",
        "ftp://hooks.example",
        "https://u:p@hooks.example",
        "https://h/ x",
        "https:///x",
    ],
)
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(webhook_url=url)
    assert url not in str(caught.value)


def test_nothing_shows_address_or_secret() -> None:
    said = made(webhook_url=URL, webhook_secret=SECRET)
    assert "hush" not in f"{said!r}{said}{said.model_dump_json()}"
    assert SECRET not in f"{said!r}{said}{said.model_dump_json()}"
    assert made(webhook_url="", webhook_secret="").webhook_secret is None


@pytest.mark.parametrize("length", [32, 86 - 2, 88 - 4])
def test_a_secret_is_base64_of_a_key(length: int) -> None:
    assert made(webhook_url=URL, webhook_secret="whsec_" + "A" * length).webhook_secret


@pytest.mark.parametrize(
    "secret",
    ["A" * 32, "whsec_" + "A" * 28, "whsec_" + "A" * 33, "whsec_" + "A" * 88, "whsec_" + "-" * 32],
)
def test_a_secret_that_none_could_verify_by(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(webhook_url=URL, webhook_secret=secret)
    assert secret not in str(caught.value)


def test_a_secret_needs_an_address() -> None:
    with pytest.raises(ValidationError, match="webhook_secret needs a webhook_url"):
        made(webhook_secret=SECRET)
