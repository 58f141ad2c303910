"""Complaints about settings: what may be a secret is not repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from holdfast import settings
from holdfast.settings import complaints


def kinds(of: Any) -> Iterator[Any]:
    """A type, and all those that it is made of."""
    yield of
    for one in get_args(of):
        yield from kinds(one)


def secrets(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        for kind in kinds(field.annotation):
            if kind is SecretStr:
                yield name
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secrets(kind)


def test_no_wrong_value_of_a_secret_setting_is_shown() -> None:
    found = set(secrets(settings.Settings))
    assert {"api_key", "webhook_url", "webhook_secret"} <= found
    assert found <= complaints._UNSHOWN
