"""The three ends of `make audit`: nothing known, something known, and no data to know it from.

Strategy: the real pip-audit asks a service of ours on this machine, which answers as OSV does.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.supply import audit

HASH = " \\\n    --hash=sha256:" + 64 * "a"
LOCK = f"good==1.0{HASH}\nodd==2.0{HASH}\n    # via good\n"

KNOWN: dict[str, Any] = {
    "schema_version": "1.7.0",
    "id": "GHSA-1",
    "aliases": ["CVE-1"],
    "summary": "Reads what it should not.",
    "affected": [
        {
            "package": {"name": "odd", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}
FOUND = "audit: odd 2.0: CVE-1, GHSA-1; fixed in 2.1"


@contextlib.contextmanager
def service(answers: Mapping[str, Any], asked: list[str], status: int = 200) -> Iterator[str]:
    """The address of one that says what is known of each name, and notes what it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(f"{query['package']['name']}=={query['version']}")
            body = json.dumps(answers.get(query["package"]["name"], {})).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "some.lock"
    path.write_text(LOCK)
    return path


@pytest.mark.case("4.22")
def test_nothing_is_known(pins: Path) -> None:
    asked: list[str] = []
    with service({}, asked) as address:
        outcome = audit.audit(pins, address)
    assert sorted(asked) == ["good==1.0", "odd==2.0"]
    assert outcome == audit.Outcome(True, ("audit: no known vulnerability in 2 distributions",))


@pytest.mark.case("4.22")
def test_what_is_known_fails(pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with service({"odd": {"vulns": [KNOWN]}}, []) as address:
        status = audit.main(["--service", address, "--lock", str(pins)])
    assert (status, capsys.readouterr().out) == (1, FOUND + "\n")


def test_without_data_it_is_skipped_and_says_so(
    pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    status = audit.main(["--service", f"http://127.0.0.1:{port}", "--lock", str(pins)])
    said = capsys.readouterr().out
    assert status == 0
    assert said.startswith("audit: skipped: no data about vulnerabilities: ")
    assert "refused" in said
    assert said.count("\n") == 1


def test_a_service_that_fails_is_no_data(pins: Path) -> None:
    with service({}, [], status=503) as address:
        outcome = audit.audit(pins, address)
    assert outcome.passed
    assert outcome.lines[0].startswith("audit: skipped: ")


def test_a_service_that_is_silent_is_not_waited_for(pins: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = audit.audit(pins, address, limit=0.3)
    said = "audit: skipped: no data about vulnerabilities: it took over 0.3 s"
    assert outcome == audit.Outcome(True, (said,))


def test_a_lock_that_cannot_be_read_fails(pins: Path) -> None:
    """It is not to pass for a service that is away."""
    pins.write_text("good==1.0\n")
    outcome = audit.audit(pins, "http://127.0.0.1:1")
    assert not outcome.passed
    assert "does not contain a hash" in outcome.lines[0]


def test_a_found_one_may_be_accepted_and_one_that_was_not_looked_at_not() -> None:
    vulnerability = audit.Vulnerability("CVE-1", ["2.1"], ["GHSA-1"])
    report = audit.Report([audit.Audited("odd", "2.0", [vulnerability])])
    assert audit.judged(report, {}) == audit.Outcome(False, (FOUND,))
    for name in ("GHSA-1", "CVE-1"):
        assert audit.judged(report, {name: "is never called"}).passed
    assert not audit.judged(report, {"CVE-2": "is another one"}).passed
    skipped = audit.Report([audit.Audited("odd", skip_reason="not there")])
    assert not audit.judged(skipped, {}).passed
