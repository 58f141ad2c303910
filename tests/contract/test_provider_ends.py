"""When an answer counts as whole: one table over all formats and all ways to end.

Strategy: for each format the same five pieces of its wire (some text, the finish reason, the end
marker, an error, more text), from which each row of the table makes an answer. The expected
outcome is a word in the table; formats differ only where their own documentation says so.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from tests.contract import attempting

from holdfast.testing import simulated


class Wire(NamedTuple):
    """The pieces of one format. `finish` ends the only choice, `marker` ends the answer; ""
    where the format has no such piece of its own."""

    text: bytes
    finish: bytes
    marker: bytes
    error: bytes


def data(payload: str, event: str | None = None) -> bytes:
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {payload}\n\n".encode()


CHAT = Wire(
    data('{"choices":[{"index":0,"delta":{"content":"Kelp"}}]}'),
    data('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'),
    data("[DONE]"),
    data('{"error":{"message":"no","type":"server_error"}}'),
)
RESPONSES = Wire(
    data('{"type":"response.created","response":{"id":"r","status":"in_progress"}}')
    + data(
        '{"type":"response.output_item.added","output_index":0,'
        '"item":{"id":"m","type":"message","role":"assistant","content":[]}}'
    )
    + data(
        '{"type":"response.output_text.delta","item_id":"m","output_index":0,'
        '"content_index":0,"delta":"Kelp"}'
    ),
    b"",
    data(
        '{"type":"response.completed","response":{"id":"r","status":"completed","output":[],'
        '"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}}'
    ),
    data('{"type":"error","code":"server_error","message":"no"}', "error"),
)
ANTHROPIC = Wire(
    data(
        '{"type":"message_start","message":{"id":"m","role":"assistant","content":[],'
        '"usage":{"input_tokens":1,"output_tokens":1}}}',
        "message_start",
    )
    + data(
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        "content_block_start",
    )
    + data(
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Kelp"}}',
        "content_block_delta",
    ),
    data('{"type":"content_block_stop","index":0}', "content_block_stop")
    + data(
        '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}',
        "message_delta",
    ),
    data('{"type":"message_stop"}', "message_stop"),
    data('{"type":"error","error":{"type":"api_error","message":"no"}}', "error"),
)
GOOGLE = Wire(
    data('{"candidates":[{"content":{"parts":[{"text":"Kelp"}],"role":"model"}}]}'),
    data(
        '{"candidates":[{"content":{"parts":[],"role":"model"},"finishReason":"STOP"}],'
        '"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}'
    ),
    b"",
    data('{"error":{"code":500,"message":"no","status":"INTERNAL"}}'),
)
INTERACTIONS = Wire(
    data(
        '{"event_type":"interaction.created","interaction":{"id":"i","status":"in_progress"}}',
        "interaction.created",
    )
    + data('{"event_type":"step.start","index":0,"step":{"type":"model_output"}}', "step.start")
    + data(
        '{"event_type":"step.delta","index":0,"delta":{"type":"text","text":"Kelp"}}',
        "step.delta",
    ),
    b"",
    data(
        '{"event_type":"interaction.completed","interaction":{"id":"i","status":"completed"}}',
        "interaction.completed",
    ),
    data('{"event_type":"error","error":{"code":"internal","message":"no"}}', "error"),
)
WIRES = {
    "openai_chat": CHAT,
    "openai_responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "google": GOOGLE,
    "google_interactions": INTERACTIONS,
}

BROKEN, LATE, FAILED = "ProviderInterrupted", "ProviderTimeout", "ProviderFailed"

# What came, letter by letter (t text, f finish, m marker, e error), and how the body ended, to
# the outcome. Every format has its own column only where it differs from the first.
TABLE: dict[tuple[str, attempting.Ending], str] = {
    ("", "clean"): BROKEN,
    ("", "cut"): BROKEN,
    ("", "stall"): LATE,
    ("t", "clean"): BROKEN,
    ("t", "cut"): BROKEN,
    ("t", "stall"): LATE,
    ("tf", "clean"): "complete",
    ("tf", "cut"): "complete",
    ("tf", "stall"): "complete",
    ("tm", "clean"): "complete",
    ("tm", "cut"): "complete",
    ("tm", "stall"): "complete",
    ("tfm", "clean"): "complete",
    ("tfm", "cut"): "complete",
    ("tfm", "stall"): "complete",
    ("te", "clean"): FAILED,
    ("te", "cut"): FAILED,
    ("te", "stall"): FAILED,
    ("tfe", "clean"): FAILED,
    ("tfe", "cut"): FAILED,
    ("tfe", "stall"): FAILED,
    ("tme", "clean"): "complete",
    ("tfme", "clean"): "complete",
    ("e", "clean"): FAILED,
    ("m", "clean"): "complete",
    ("m", "cut"): "complete",
}
SPEAKS_ON: dict[tuple[str, attempting.Ending], str] = {
    # The finish reason stands before further text, as gateways and Google do it.
    ("tft", "clean"): "complete",
    ("tft", "cut"): BROKEN,
    ("tft", "stall"): LATE,
    ("tftm", "cut"): "complete",
    ("tftf", "clean"): "complete",
    ("tftf", "cut"): BROKEN,
    ("tftf", "stall"): LATE,
}
OTHERWISE: dict[tuple[str, str, attempting.Ending], str] = {
    # Google says STOP on chunks that more text follows: only the end of the body ends it.
    ("google", "tf", "cut"): BROKEN,
    ("google", "tf", "stall"): LATE,
    # A reason that text follows is none.
    ("google", "tft", "clean"): BROKEN,
}


def rows() -> list[tuple[str, str, attempting.Ending, str]]:
    return [
        (kind, came, ending, OTHERWISE.get((kind, came, ending), outcome))
        for kind in attempting.FORMATS
        for (came, ending), outcome in (TABLE | SPEAKS_ON).items()
        if (came, ending) in TABLE or kind in ("openai_chat", "google")
        # A format without a finish reason or a marker of its own has no such row.
        if all(piece_of(kind, letter) for letter in came)
    ]


def piece_of(kind: str, letter: str) -> bytes:
    wire = WIRES[kind]
    return {"t": wire.text, "f": wire.finish, "m": wire.marker, "e": wire.error}[letter]


@pytest.mark.parametrize(("kind", "came", "ending", "outcome"), rows())
@simulated.timed
async def test_an_answer_is_whole_only_by_its_providers_own_end(
    kind: str, came: str, ending: attempting.Ending, outcome: str
) -> None:
    reads = [piece_of(kind, letter) for letter in came]
    for cut in (reads, [b"".join(reads)] if reads else []):
        played = await attempting.play(kind, cut, ending)
        assert played.verdict == outcome
        assert played.text() == "Kelp" * came.count("t")


def test_every_format_has_its_pieces() -> None:
    assert set(WIRES) == set(attempting.FORMATS)
    for wire in WIRES.values():
        assert wire.text
        assert wire.error
        assert wire.finish or wire.marker
