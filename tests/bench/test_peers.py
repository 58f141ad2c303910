"""The bench's peers: what is pinned is what is told and installed, and figures are of one size.

Strategy: no peer is installed or started here. The locks in the repository are read, a lock that
pins too little meets the real pip, and tables are made of runs that never were.
"""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from bench import relay, servers
from bench.peers import entry, install
from bench.peers.peer import FILES, Peer, Place


def run(name: str, cpu_us: float, tokens_per_s: float = 1000.0) -> relay.Run:
    return relay.Run(name, cpu_us, cpu_us, tokens_per_s, 1.0, 2.0, 30.0, 0, 0, 0.0, 0.1, 0.2)


def busy(name: str) -> relay.Run:
    """A run in which the load was the slowest part."""
    return run(name, 1)._replace(load=0.9)


def silent(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("peer", entry.PEERS, ids=lambda peer: peer.name)
def test_the_versions_told_are_those_that_its_lock_pins(peer: Peer) -> None:
    told = install.versions(peer.name, peer.shows)
    assert list(told)[: len(peer.shows)] == list(peer.shows)
    assert all(version[0].isdigit() for version in told.values())
    with pytest.raises(KeyError):
        install.versions(peer.name, ["no-such-package"])


@pytest.mark.parametrize("peer", entry.PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_told_where_the_provider_is(peer: Peer, tmp_path: Path) -> None:
    server = peer.start(Place(tmp_path / peer.name, tmp_path, 4711, "redis://127.0.0.1:1"))
    assert server.provider == 4711
    assert server.name == peer.name
    made = "".join(path.read_text() for path in tmp_path.iterdir())
    assert ":4711/" in made or any(":4711" in word for word in server.command)
    assert "@PROVIDER@" not in made


def test_nothing_of_this_environment_reaches_a_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://somewhere")
    place = Place(tmp_path / "peer", tmp_path, 1)
    said = subprocess.run(place.command("env", A="b"), capture_output=True, text=True, check=True)
    kept = dict(line.split("=", 1) for line in said.stdout.splitlines())
    assert kept.keys() == {"PATH", "HOME", "A"}
    assert kept["HOME"] == str(tmp_path)


def lock_of(text: str, folder: Path) -> Path:
    """Files of a peer named `one`."""
    (folder / "one").mkdir(parents=True)
    (folder / "one" / install.PYTHON_LOCK).write_text(text)
    return folder


def wheel(folder: Path) -> Path:
    """A distribution that holds nothing, and asks for one that there is not."""
    path, told = folder / "some_package-1.0-py3-none-any.whl", "some_package-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        lines = (
            "Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\nRequires-Dist: x-missing\n"
        )
        packed.writestr(f"{told}/METADATA", lines)
        packed.writestr(f"{told}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{told}/RECORD", "")
    return path


@pytest.mark.case("4.22")
def test_only_what_is_pinned_by_its_hash_is_installed(tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel(tmp_path).read_bytes()).hexdigest()
    line = f"--no-index\n--find-links {tmp_path}\nsome-package==1.0"
    homes, told = tmp_path / "homes", list[str]()
    for number, mark in enumerate(["", f" --hash=sha256:{64 * 'a'}"]):
        files = lock_of(f"{line}{mark}\n", tmp_path / f"files{number}")
        with pytest.raises(install.NotInstalled):
            install.install("one", told.append, files, homes)
        assert not (homes / "one" / ".installed").exists()
    files = lock_of(f"{line} --hash=sha256:{digest}\n", tmp_path / "files")
    home = install.install("one", told.append, files, homes)
    assert [path.name for path in home.rglob("*.dist-info")] == ["some_package-1.0.dist-info"]
    assert told == 3 * ["one: installing what its lock pins ..."]


def test_a_peer_is_installed_once_for_each_content_of_its_files(tmp_path: Path) -> None:
    files, homes = lock_of("", tmp_path / "files"), tmp_path / "homes"
    home = install.install("one", lambda text: None, files, homes)
    assert (home / "bin" / "python").exists()
    assert install.install("one", silent, files, homes) == home
    (files / "one" / install.PYTHON_LOCK).write_text("some-package==1.0\n")
    with pytest.raises(AssertionError, match="installing"):
        install.install("one", silent, files, homes)


def test_only_who_carries_it_is_measured() -> None:
    homes = {peer.name: FILES for peer in entry.PEERS}
    most = {peer.name: peer.most for peer in entry.PEERS}
    assert entry.able(homes, 1) == list(homes)
    assert entry.able(homes, most["litellm"]) == list(homes)
    assert "litellm" not in entry.able(homes, most["litellm"] + 1)
    assert entry.able({}, 1) == []
    assert entry.able(homes, entry.sizes(1000)[0] * 20) == list(homes)
    assert entry.sizes(1000) == [*entry.SMALLER, 1000]
    assert entry.sizes(entry.SMALLER[0]) == [entry.SMALLER[0]]


def test_a_relay_that_does_not_keep_up_is_told() -> None:
    runs = [run("quick", 10, 990), run("slow", 900, 990), run("slow", 900, 940)]
    assert entry.saturated(runs, 1000) == [
        "slow came to 940 of 1000 tokens/s: its delays say little."
    ]


def test_costs_are_compared_within_a_size() -> None:
    found = {
        50: [run("nginx", 10), run("holdfast", 30), run("peer", 60)],
        200: [run("nginx", 5), run("holdfast", 20), busy("peer")],
    }
    figures = entry.figures(found)
    assert {name: one.value for name, one in figures.items()} == {
        "holdfast ÷ nginx, 50 streams": 3.0,
        "holdfast ÷ peer, 50 streams": 0.5,
        "holdfast ÷ nginx, 200 streams": 4.0,
    }
    assert all(one.ratio and "gaps" in one.beside for one in figures.values())
    lines = entry.table(found, 20, {"peer": "1.2"}).splitlines()
    (row,) = [line for line in lines if "peer 1.2" in line]
    assert "peer: no figure: the load took 90% of its core." in lines
    assert row.startswith("| peer 1.2 | 6.00 | 2.00 | 60.0 |")
    assert [line for line in lines if line.endswith("tokens/s:")] == [
        "50 streams of 20 tokens/s:",
        "200 streams of 20 tokens/s:",
    ]
    assert "holdfast came to 1000 of 4000 tokens/s: its delays say little." in lines


def test_the_port_that_a_program_chose_is_the_last_that_it_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("starting\n")
    assert servers.told_port(log) == 0
    log.write_text("http://127.0.0.1:1/\nhttp://127.0.0.1:23456/openai/v1/\n")
    assert servers.told_port(log) == 23456
