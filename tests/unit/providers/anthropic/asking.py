"""Requests to put together, and what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import errors, request
from holdfast.providers import anthropic

FORMAT = anthropic.Format()
MODEL = "claude-opus-4-8"
Made = dict[str, Any]


def message(role: str, content: Any = None, **fields: Any) -> request.Message:
    return msgspec.convert({"role": role, "content": content} | fields, request.Message)


USER = message("user", "Hi")


def payload(*messages: request.Message, model: str = MODEL, **fields: Any) -> Made:
    wanted = request.Request(model="asked", messages=list(messages) or [USER], **fields)
    return FORMAT.payload(wanted, model)


def turns(*messages: request.Message, model: str = MODEL) -> list[Made]:
    made: list[Made] = payload(*messages, model=model)["messages"]
    return made


def refused(*messages: request.Message, **fields: Any) -> str:
    with pytest.raises(errors.InvalidField) as caught:
        payload(*messages, **fields)
    return caught.value.message


def said(text: str) -> Made:
    return {"type": "text", "text": text}
