"""The model that answers a chat whose body names none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.integration import harness

from holdfast import app, errors, settings

MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
BODY = msgspec.json.encode({"id": "tide", "messages": [MESSAGE]})

BEST = {"best": {"targets": ["demo/demo"]}}
PLAIN = {"kind": "openai_chat", "base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    ("tables", "model"),
    [
        ({}, "demo"),
        ({"dialects": {"chat_model": "a/b"}}, "a/b"),
        ({"routes": BEST}, "best"),
        ({"providers": {"v": {**PLAIN, "models": ["g-*", "m[1]", "m1"]}}}, "m1"),
        ({"providers": {"v": {**PLAIN, "models": ["m1"]}}, "routes": BEST}, "best"),
        ({"providers": {"v": PLAIN}}, None),
    ],
)
def test_the_model_where_the_body_names_none(tables: dict[str, Any], model: str | None) -> None:
    config: settings.Settings = harness.configured(**tables)
    spoken = app.foreign(config, app.providers(config))["ai_sdk"]
    if model is None:
        with pytest.raises(errors.InvalidField, match="chat_model"):
            spoken.parse(BODY)
    else:
        assert spoken.parse(BODY).request.model == model
