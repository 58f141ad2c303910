"""The peers that run on Node: installed once, told on stdin, gone after their block."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from tests.integration import peers

GREETING = {"match": {"userMessage": "hello"}, "response": {"content": "Hello."}}


@pytest.fixture(scope="module")
def modules(pytestconfig: pytest.Config) -> Path:
    return peers.installed(pytestconfig)


def test_an_installation_is_made_once(modules: Path) -> None:
    said: list[str] = []
    assert peers.install(say=said.append) == modules
    assert said == []


def test_the_lock_file_pins_all_that_is_named_and_no_address(modules: Path) -> None:
    lock = (peers.FOLDER / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert "://" not in lock.replace('"url": "https://', "")  # where a package is paid for
    assert lock.count('"integrity"') == lock.count('"node_modules/')


def test_another_pin_is_another_installation(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        (tmp_path / name).write_bytes((peers.FOLDER / name).read_bytes())
    before = peers.fingerprint(tmp_path, "v22.1.0")
    assert before == peers.fingerprint(peers.FOLDER, "v22.1.0")
    assert before != peers.fingerprint(tmp_path, "v22.2.0")
    (tmp_path / "package.json").write_text("{}")
    assert before != peers.fingerprint(tmp_path, "v22.1.0")


def test_another_version_than_is_pinned_is_told(modules: Path, tmp_path: Path) -> None:
    assert peers.strays() == []
    (tmp_path / "node_modules").symlink_to(modules)
    lock = msgspec.json.decode((peers.FOLDER / "package-lock.json").read_bytes())
    lock["packages"]["node_modules/openai"]["version"] = "0.0.1"
    (tmp_path / "package-lock.json").write_bytes(msgspec.json.encode(lock))
    (told,) = peers.strays(tmp_path)
    assert told.startswith("node_modules/openai is ")


def test_npm_that_cannot_install_is_told(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        (tmp_path / name).write_text("{" if name != ".npmrc" else "update-notifier=false\n")
    said: list[str] = []
    for _ in range(2):  # what failed is not taken for done
        with pytest.raises(peers.NotInstalled, match="npm ci failed"):
            peers.install(tmp_path, say=said.append)
    assert len(said) == 2


def test_a_peer_that_does_not_start_is_told(modules: Path) -> None:
    wrong: dict[str, object] = {"match": {}, "response": {}}
    with (
        pytest.raises(RuntimeError, match="not a recognized type"),
        peers.running("aimock.mjs", {"options": {}, "fixtures": [wrong]}),
    ):
        pass


def test_a_peer_has_ended_after_its_block(modules: Path) -> None:
    with peers.running("aimock.mjs", {"options": {}, "fixtures": [GREETING]}) as peer:
        os.kill(peer.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(peer.pid, 0)


def test_a_peer_sees_no_key() -> None:
    given = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "u", "HOME": "h", "PATH": "/bin"}
    seen = peers.environment(given, MORE="1")
    assert seen == {"HOME": "h", "MORE": "1", "PATH": f"{peers.NODE.parent}:/bin"}
