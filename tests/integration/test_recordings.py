"""Recorded answers through the running server: as expected, however the network cut them.

Strategy: the runner behind `make recordings` is what is called here, once with our own
recordings and once, where they are, with the large set; that it can tell a difference is shown
with recordings that are wrong on purpose.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import recordings as command
from tests.integration import (
    conftest,
    harness,
    recording_corrections,
    recording_expectations,
    replaying,
)

from holdfast import errors, transport
from holdfast.testing import provider as replay
from holdfast.testing import recordings

GOOD = conftest.FIXTURES / "compatible" / "xai-reasoning"
LIMIT = 120.0
"""Seconds for a whole folder; it takes about ten."""


def logs(tmp_path: Path) -> dict[str, str]:
    return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}


async def differing(
    folder: Path, log_url: str, at_least: int, cuts: Collection[str] = recordings.FRAGMENTATIONS
) -> list[replaying.Check]:
    """What differs; every recording that is not left out was compared in all of these cuts."""
    found = recordings.load_recordings(folder)
    async with asyncio.timeout(LIMIT):
        checks = await replaying.check_all(found, log_url, cuts=cuts)
    played = [each for each in found if replaying.why_not(each) is None]
    assert len(played) >= at_least
    compared = {(check.file, check.fragmentation) for check in checks}
    assert len(compared) == len(played) * len(cuts)
    return [check for check in checks if not check.ok]


@pytest.mark.parametrize("log", ["memory", "sqlite"])
async def test_our_recordings_are_read_as_expected(log: str, tmp_path: Path) -> None:
    """Byte by byte on one log alone: what is cut is one again before it comes to a log."""
    cuts = recordings.FRAGMENTATIONS.keys() - ({"per byte"} if log == "memory" else set())
    assert await differing(conftest.FIXTURES, logs(tmp_path)[log], 180, cuts) == []


async def test_the_shared_recordings_are_read_as_expected(shared: Path, tmp_path: Path) -> None:
    """On the log that people have; that engines do not differ is shown with our own."""
    assert await differing(shared / "recordings", logs(tmp_path)["sqlite"], 73) == []


class Counting:
    """A sink that counts its reads."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.ended: asyncio.Future[errors.TransportError | None] = asyncio.Future()

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        assert status == 200

    def body(self, data: bytes) -> None:
        self.reads.append(data)

    def end(self, error: errors.TransportError | None) -> None:
        self.ended.set_result(error)


@pytest.mark.parametrize("label", list(recordings.FRAGMENTATIONS))
async def test_the_network_is_cut_as_the_fragmentation_says(label: str) -> None:
    """A few reads may be joined on their way; that all are would make four tests one."""
    (found,) = recordings.load_recordings(GOOD.parent)[1:2]
    body = recordings.FRAGMENTATIONS[label](found.wire)
    sink, carrier = Counting(), transport.Transport()
    async with replay.ReplayServer([replay.Answer(body=body)]) as server:
        await carrier.open(transport.Request("GET", server.url, ()), sink)
        async with asyncio.timeout(harness.PATIENCE):
            assert await sink.ended is None
        await carrier.close()
    assert b"".join(sink.reads) == found.wire
    assert 0.9 * len(body) <= len(sink.reads) <= len(body)


def test_each_vendor_is_asked_as_its_row_says() -> None:
    vendors = {
        "azure": "openai_chat",
        "openai": "openai",
        "nobody": "openai_chat",
        "groq": "groq",
        "mistral": "mistral",
    }
    for vendor, kind in vendors.items():
        assert replaying.kind_of(recordings.Recording("x", "y", b"", {"vendor": vendor})) == kind
    three = b'data: {"choices":[{"index":2,"delta":{}}]}\n\n'
    found = recordings.Recording("x", "y", three, {"vendor": "groq"})
    assert replaying.choices_of(found) == 3
    assert replaying.kind_of(found) == "openai_chat"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, '{"message": "The provided model identifier is invalid."}', "model_not_found"),
        (400, '{"error": {"message": "prompt is too long: 9 > 8"}}', "context_length"),
        (400, '{"error": "Incorrect API key provided."}', "auth"),
        (400, '{"error": {"message": "no"}}', "rejected"),
        (401, "", "auth"),
        (403, "", "auth"),
        (404, "", "model_not_found"),
        (408, "", "timeout"),
        (418, "", "rejected"),
        (429, '{"code": "insufficient_quota"}', "quota"),
        (429, "slowly", "rate_limited"),
        (500, "invalid api key", "failed"),
        (529, "", "overloaded"),
        (None, '{"type": "invalid_request_error"}', "rejected"),
        (None, "over", "failed"),
    ],
)
def test_the_table_of_error_classes(status: int | None, body: str, code: str) -> None:
    assert recording_expectations.error_class(status, body) == f"provider_{code}"


# The command


def copy(folder: Path, name: str = "xai-reasoning", **changed: Any) -> None:
    """One of our recordings, with another expectation."""
    (folder / "compatible").mkdir(parents=True, exist_ok=True)
    shutil.copy(GOOD.with_suffix(".jsonl"), folder / "compatible" / f"{name}.jsonl")
    beside = msgspec.json.decode(Path(f"{GOOD}.expected.json").read_bytes()) | changed
    (folder / "compatible" / f"{name}.expected.json").write_bytes(msgspec.json.encode(beside))


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy(tmp_path)
    other = tmp_path / "compatible" / "other.expected.json"
    other.write_bytes(b'{"protocol": "cohere"}')
    for name in ("other", "alone"):
        (tmp_path / "compatible" / f"{name}.sse").write_bytes(b"data: [DONE]\n\n")
    assert command.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["file", "cut", "compared", "expected", "got"]
    assert ["compatible/xai-reasoning", "all", "4", "finish", "stop", "stop", "ok"] in [
        line.split() for line in out
    ]
    assert "not played compatible/other: no provider of ours speaks it: cohere" in out
    assert "not played compatible/alone: no expectation beside it" in out
    assert out[-1] == "1 recordings, 32 comparisons: 0 differ; 2 recordings not played"


@pytest.mark.parametrize(
    ("changed", "row"),
    [
        ({"final_text": "Neap tides"}, "text Neap tides Neap tide DIFFERS"),
        ({"reasoning_text": ""}, "reasoning none Slow water. DIFFERS"),
        ({"finish": "length"}, "finish length stop DIFFERS"),
        ({"usage": None}, "usage none 8 4 12 DIFFERS"),
        ({"tool_calls": [{"name": "f", "arguments": "{}"}]}, "tool calls f {} none DIFFERS"),
        ({"error": {"status_code": 429}}, "error provider_rate_limited none DIFFERS"),
        ({"refusal_text": "No."}, "refusal No. none DIFFERS"),
    ],
)
def test_the_command_tells_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], row: str
) -> None:
    copy(tmp_path, **changed)
    assert command.main([str(tmp_path), "--quiet"]) == 1
    told = capsys.readouterr()
    rows = [" ".join(line.split()) for line in told.out.splitlines()]
    assert f"compatible/xai-reasoning all 4 {row}" in rows
    assert told.err == ""


def test_a_long_difference_is_shown_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = command._shown("a" * 100 + "b" + "a" * 99, "a" * 200)
    assert all("…" in cell and len(cell) <= command.WIDTH for cell in row)
    assert "aba" in row[0]
    assert command._shown("a\nb", "a\nb") == ("a\\nb", "a\\nb")


def test_a_request_that_is_refused_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(tmp_path, "x" * 240)  # the model's name is over the limit of the request
    assert command.main([str(tmp_path), "--quiet"]) == 1
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split()[1:6] == ["all", "4", "status", "200", "400"]
    assert row.endswith("DIFFERS")


def test_a_correction_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(tmp_path, sha256="5eed", finish="length")
    reason = recording_corrections.Correction("stop", "the recording says stop")
    monkeypatch.setattr(recording_corrections, "of", {"5eed": {"finish": reason}}.get)
    assert command.main([str(tmp_path), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "corrected  compatible/xai-reasoning, finish: the recording says stop" in out


@pytest.mark.parametrize("make", ["missing", "empty", "broken", "later"])
def test_nothing_to_compare_is_no_success(
    make: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / make
    if make != "missing":
        folder.mkdir()
    if make == "broken":
        copy(folder)
        (folder / "compatible" / "xai-reasoning.expected.json").write_bytes(b"{")
    if make == "later":
        copy(folder, protocol="cohere")
    assert command.main([str(folder)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"recordings: {folder}: ")


@pytest.mark.parametrize("url", ["redis://there", "sqlite:////no/such/folder/log.db"])
def test_a_server_that_does_not_start_is_told(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(tmp_path)
    assert command.main([str(tmp_path), "--log-url", url]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("recordings: the server does not start: ")


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["--help"])
    assert left.value.code == 0
    assert "Exit code" in capsys.readouterr().out
