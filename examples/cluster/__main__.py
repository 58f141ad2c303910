"""A cluster on this machine: nginx, two nodes, Valkey and PostgreSQL, with one command.

Run it: make cluster, or .venv/bin/python -m examples.cluster

Strategy: the files beside this one are those that a real cluster has, and are used as they stand;
what is a machine's own there (addresses, ports, passwords) is put in here.
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from examples.cluster import servers

HERE = Path(__file__).resolve().parent

EXAMPLES = """\
examples:
  python -m examples.cluster
  python -m examples.cluster --port 8080
  python -m examples.cluster --redis redis://HOST --postgresql postgresql://USER:PASSWORD@HOST/NAME
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
"""What /etc/nginx/nginx.conf says around ours. `X-Node` is for who looks at this example."""

ASK = """
Ask, and see in X-Node which node answers:

  curl -iN {url}/v1/streams -H 'Authorization: Bearer {key}' \\
       -H 'Accept: text/event-stream' -H 'Content-Type: application/json' \\
       -d '{{"model": "demo-slow", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

or have the client do it, which comes back by itself when its node dies:

  HOLDFAST_API_KEY={key} {holdfast} ask --url {url} -m demo-slow 'Hello!'

What all nodes tell, with the operator's key:

  curl -s {url}/v1/metrics -H 'Authorization: Bearer {admin}'
  curl -s {url}/v1/connections -H 'Authorization: Bearer {admin}'

Kill node 1 in mid-answer: kill -9 {one}; or node 2: kill -9 {two}. The answer goes on at the other
one after about 15 seconds, and no byte is lost or doubled. Ctrl-C ends all of this.
"""


def main() -> int:
    given = _arguments()
    try:
        if given.port and servers.is_open(given.port):
            raise servers.Failed(f"port {given.port} is taken.")
        programs = servers.find(given.redis, given.postgresql)
        with servers.folder() as folder:
            group = servers.Servers(folder)
            try:
                _start(group, programs, given)
                group.follow("node")
            finally:
                group.end()
    except servers.Stopped:
        pass
    except servers.Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _start(group: servers.Servers, programs: servers.Programs, given: argparse.Namespace) -> None:
    """All of it; whoever is asked, before who asks."""
    log = _valkey(group, programs.valkey) if programs.valkey else given.redis
    archive = given.postgresql
    if programs.postgresql:
        archive = _postgresql(group, Path(programs.postgresql))
    environment = {
        **os.environ,
        "HOLDFAST_LOG__URL": log,  # the two lines of holdfast.env
        "HOLDFAST_ARCHIVE__URL": archive,
        "HOLDFAST_SERVER__DRAIN_TIMEOUT": "0",  # a Ctrl-C waits for no answer
        "HOLDFAST_MONITORING__LOG_FORMAT": "console",  # and a person reads what they say
    }
    config = ["--config", str(HERE / "holdfast.toml")]
    group.run([programs.holdfast, "db", "upgrade", *config], env=environment)
    create = [programs.holdfast, "keys", "create", *config]
    key = group.run([*create, "example"], env=environment)
    admin = group.run([*create, "operator", "--scope", "admin"], env=environment)
    serve = [programs.holdfast, "serve", *config, "--host", "127.0.0.1"]
    ports = servers.free_port(), servers.free_port()
    one, two = (_node(group, number, ports[number - 1], serve, environment) for number in (1, 2))
    port = given.port or servers.free_port()
    _nginx(group, programs.nginx, port, ports)
    url = f"http://127.0.0.1:{port}"
    servers.say(
        ASK.format(
            url=url,
            key=key.strip(),
            admin=admin.strip(),
            holdfast=programs.holdfast,
            one=one,
            two=two,
        )
    )


def _node(
    group: servers.Servers, number: int, port: int, serve: list[str], environment: dict[str, str]
) -> int:
    """Its process."""
    command = [*serve, "--port", str(port)]
    return group.start(
        f"node {number}", port, command, lambda: servers.is_ready(port), env=environment
    )


def _valkey(group: servers.Servers, program: str) -> str:
    """Its URL."""
    port, password = servers.free_port(), secrets.token_hex(16)
    folder = group.folder / "valkey"
    folder.mkdir(mode=0o700)
    (folder / "valkey.conf").write_text(
        f"include {HERE}/valkey.conf\nbind 127.0.0.1\nport {port}\ndir {folder}\n"
        f"requirepass {password}\nloglevel warning\n"
    )
    command = [program, str(folder / "valkey.conf")]
    group.start("valkey", port, command, lambda: servers.is_open(port))
    return f"redis://:{password}@127.0.0.1:{port}"


def _postgresql(group: servers.Servers, programs: Path) -> str:
    """Its URL. It refuses to run for root, and then runs for `nobody`."""
    port, password = servers.free_port(), secrets.token_hex(16)
    folder = group.folder / "postgresql"
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
    try:
        group.run([str(programs / "initdb"), "--pgdata=data", *access, *shape], **how)
    except servers.Failed as error:
        hint = (
            "\n  It runs as `nobody`, who may have no way there; an ordinary user may start this."
        )
        raise servers.Failed(f"{error}{hint if os.geteuid() == 0 else ''}") from None
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",  # it is thrown away afterwards
        "log_min_messages": "fatal",
        "log_checkpoints": "off",
    }
    command = [str(programs / "postgres"), "-D", "data", "-p", str(port)]
    command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    asks = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    group.start("postgresql", port, command, lambda: not subprocess.call(asks), **how)
    return f"postgresql://holdfast:{password}@127.0.0.1:{port}/postgres"


def _nginx(group: servers.Servers, program: str, port: int, nodes: tuple[int, int]) -> None:
    """Our nginx.conf with these addresses, in an nginx of its own."""
    folder = group.folder / "nginx"
    folder.mkdir(mode=0o711)  # its workers are another user, where root starts it
    site = (HERE / "nginx.conf").read_text(encoding="utf-8")
    for line, address in (
        ("server 10.0.0.11:8080;", f"server 127.0.0.1:{nodes[0]};"),
        ("server 10.0.0.12:8080;", f"server 127.0.0.1:{nodes[1]};"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
    ):
        site, count = re.subn(f"^( +){re.escape(line)}$", rf"\g<1>{address}", site, flags=re.M)
        if count != 1:
            raise servers.Failed(f"nginx.conf has no line `{line}`.")
    (folder / "site.conf").write_text(site, encoding="utf-8")
    (folder / "nginx.conf").write_text(NGINX.format(site=folder / "site.conf"), encoding="utf-8")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    group.start("nginx", port, command, lambda: servers.is_open(port))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.cluster",
        description="nginx, two nodes, Valkey and PostgreSQL on this machine, until Ctrl-C.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="nginx's; any free one without it")
    parser.add_argument("--redis", metavar="URL", help="a Redis or Valkey of yours")
    parser.add_argument("--postgresql", metavar="URL", help="a PostgreSQL of yours")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
