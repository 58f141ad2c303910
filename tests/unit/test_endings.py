"""The words for ends: each is explained, here and in PROTOCOL."""

from __future__ import annotations

import re

from tests import conftest

from holdfast import endings, errors

WORDS = {value for name, value in vars(endings).items() if name.isupper() and name != "REASONS"}
FAREWELLS = {endings.DRAINING, endings.LOG_UNAVAILABLE, endings.OLD, endings.ACCESS_ENDED}


def test_every_word_is_explained() -> None:
    assert set(endings.REASONS) == WORDS
    assert {word for word, why in endings.REASONS.items() if "a farewell" in why} == FAREWELLS


def test_no_word_is_the_code_of_an_error_that_it_does_not_mean() -> None:
    codes = {word for word in WORDS if errors.named(word).code == word}
    assert codes == {"draining", "log_unavailable"}


def test_the_protocol_has_every_word() -> None:
    text = (conftest.ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
    table = re.search(r"\| `reason` \| \|\n\|---\|---\|\n(.*?)\n\n", text, re.DOTALL)
    assert table is not None
    rows = [line.split("|")[1] for line in table[1].split("\n")]
    assert {word for row in rows for word in re.findall("`([a-z_]+)`", row)} == WORDS
