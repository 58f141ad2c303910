"""What is kept verbatim stays within bounds."""

from __future__ import annotations

import msgspec

from holdfast.providers.google import kept


def test_what_is_small_is_kept_as_it_is() -> None:
    fields = {"executableCode": {"code": "x" * 60_000, "n": [1.5, None, True]}}
    assert kept.bounded(fields) is fields


def test_long_texts_go_first() -> None:
    fields = {"a": {"deep": ["x" * (kept.MAX_KEPT + 1), "short", 5]}, "b": "y"}
    assert kept.bounded(fields) == {
        "a": {"deep": [None, "short", 5]},
        "b": "y",
        "truncated": True,
    }


def test_then_everything_goes() -> None:
    assert kept.bounded({"a": ["x" * 100] * 1000}) == {"a": None, "truncated": True}


def test_what_lies_too_deep_goes_too() -> None:
    deep: object = "x" * (kept.MAX_KEPT + 1)
    for _ in range(100):
        deep = [deep]
    assert kept.bounded({"a": deep, "b": "x" * kept.MAX_KEPT})["truncated"]


def test_a_signature_is_never_cut() -> None:
    signature = "s" * (kept.MAX_KEPT * 2)
    made = msgspec.json.decode(kept.part({"text": ""}, signature))
    assert made == {"text": "", "thoughtSignature": signature}
    assert msgspec.json.decode(kept.part({"text": ""}, None)) == {"text": ""}


def test_names_and_texts_are_valid() -> None:
    made = msgspec.json.decode(kept.raw({"a\ud83c": {"b\ud83c": "c\ud83c"}}))
    assert made == {"a\ufffd": {"b\ufffd": "c\ufffd"}}
