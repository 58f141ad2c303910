"""Each recorded answer through each dialect: what stock clients read is the answer.

Strategy: see `dialects/column.py`. A dialect is a column, whose rows name all that its clients are
told otherwise than natively; a row that has ceased to be true fails as one that is missing does,
and so does a table in docs/dialects.md that is not made of these rows.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.integration import conftest
from tests.integration.dialects import (
    column,
    for_ai_sdk,
    for_anthropic,
    for_openai_chat,
    for_openai_responses,
)
from tests.integration.stock import words

from holdfast import answer
from holdfast.testing import recordings

COLUMNS = (for_openai_chat.COLUMN, for_openai_responses.COLUMN, for_anthropic.COLUMN)

DOCS = Path(__file__).resolve().parents[3] / "docs" / "dialects.md"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.usefixtures("direct"),
]


@pytest.mark.parametrize("one", COLUMNS, ids=lambda one: one.name)
async def test_the_shared_recordings(one: column.Column, shared: Path) -> None:
    found = recordings.load_recordings(shared / "recordings")
    results = await column.compared(found, one)
    assert len(results) >= 73
    said = column.complaints(results, one)
    assert not said, "\n".join(said)


async def test_our_recordings() -> None:
    """Every shape that an answer may have, and no shared folder needed: chat says all of them."""
    found = recordings.load_recordings(conftest.FIXTURES)
    results = await column.compared(found, for_openai_chat.COLUMN)
    assert len(results) >= 180
    said = column.complaints(results, for_openai_chat.COLUMN)
    assert not said, "\n".join(said)


async def test_a_row_that_is_wrong_is_told(shared: Path) -> None:
    """One that is missing, one that is not true, one of no recording."""
    one = for_openai_chat.COLUMN
    found = recordings.load_recordings(shared / "recordings" / "openai-chat")
    (good,) = [each for each in found if each.name == "tool-basic"]
    other = msgspec.structs.replace(good, name="other")

    def deaf(told: answer.Answer, choices: int) -> words.Values:
        return one.expected(told, choices) | {"text": "another"}

    rows = {"openai-chat/other": column.Row({"text": ""}, "w"), "gone": column.Row({}, "")}
    wrong = msgspec.structs.replace(one, expected=deaf, rows=rows)
    said = column.complaints(await column.compared([good, other], wrong), wrong)
    told = "the client was told {'text': ''} and natively it is {'text': 'another'}"
    assert said == [
        f"OpenAI chat, openai-chat/tool-basic as a stream: its row says {{}}, {told}",
        f"OpenAI chat, openai-chat/tool-basic as a whole: its row says {{}}, {told}",
        "OpenAI chat: gone is a row and no recording",
    ]


def test_the_docs_have_the_table(shared: Path) -> None:
    found = recordings.load_recordings(shared / "recordings")
    table = column.table(found, (*COLUMNS, for_ai_sdk.COLUMN))  # see ai_sdk/test_recordings.py
    assert table in DOCS.read_text(encoding="utf-8"), f"docs/dialects.md lacks:\n{table}"


def test_a_table_tells_what_differs() -> None:
    files = [recordings.Recording("k", name, b"", {"protocol": "chat"}) for name in "abc"]
    files += [recordings.Recording("k", "d", b"", {"protocol": "nobody's"})]
    rows = {f"k/{name}": column.Row({"usage": None, "text": ""}, "why") for name in "ac"}
    columns = [for_openai_chat.COLUMN, msgspec.structs.replace(COLUMNS[0], name="B", rows=rows)]
    assert column.table(files, columns).splitlines() == [
        "| recordings | OpenAI chat | B |",
        "| --- | --- | --- |",
        "| k (3) | equal | equal but for `a` (usage, text), `c` (usage, text): why |",
        "| k (1) | not played | not played |",
    ]
