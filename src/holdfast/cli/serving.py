"""`serve` and `demo`: a node of this process, or several of processes that it starts.

Strategy: settings are loaded, the socket is bound, and the node is built and served in one
event loop until a signal. With several workers each of them does that, on the same socket and on a
log that they share. What keeps a server from starting is an error of our tree.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib import parse

import click
import structlog
import uvloop

import holdfast
from holdfast import app, environment, errors, settings
from holdfast.access import gate
from holdfast.archive import url as archive
from holdfast.cli import encrypting, logs, options, output, valkey, workers
from holdfast.eventlog import base
from holdfast.eventlog import url as log
from holdfast.http import server
from holdfast.providers import vendors
from holdfast.telemetry import vitals

GC_THRESHOLD = (50_000, 20, 100)
"""The collector looks rarely: what a token needs is freed by counting, and cycles are few."""

_log = structlog.get_logger("holdfast")

_HOST = click.option("--host", help="Address to listen on.")
_PORT = click.option("--port", type=int, help="Port to listen on; 0 takes any free one.")
_WORKERS = click.option(
    "--workers", type=int, help="Processes that serve the port, over one shared log."
)


@click.command(
    cls=output.Command,
    epilog="  holdfast serve\n"
    "  holdfast serve --port 9000 --log-url memory://\n"
    "  holdfast serve --workers 4\n"
    "  holdfast serve --log-url redis://localhost:6379/0\n"
    "  holdfast serve --encrypt\n"
    "  HOLDFAST_SERVER__PORT=9000 holdfast serve --config /etc/holdfast.toml\n",
)
@options.CONFIG
@_HOST
@_PORT
@options.LOG_URL
@_WORKERS
@encrypting.OPTION
def serve(
    config: Path | None,
    host: str | None,
    port: int | None,
    log_url: str | None,
    workers: int | None,
    encrypt: bool,
) -> None:
    """Run the server, as holdfast.toml and HOLDFAST_* configure it."""
    loaded = _load(config, host, port, log_url, environment.USUAL, workers=workers)
    if encrypt:
        loaded = encrypting.turned_on(loaded)
    if loaded.server.workers > 1:
        _run_workers(loaded)
    else:
        _run(loaded, demo=False)


@click.command(cls=output.Command, epilog="  holdfast demo\n  holdfast demo --port 9000\n")
@_HOST
@_PORT
@click.option("--log-url", default="memory://", show_default=True, help="Event log.")
def demo(host: str | None, port: int | None, log_url: str) -> None:
    """Run a server that answers by itself, without any key, with a page to see it."""
    # It answers by itself: keys and proxies of the environment are not for it. And nobody waits
    # for the end of a demo, or reads its log by a program.
    loaded = _load(None, host, port, log_url, None, drain_timeout=0, log_format="console")
    _run(loaded, demo=True)


def _load(
    config: Path | None,
    host: str | None,
    port: int | None,
    log_url: str | None,
    names: Mapping[str, settings.Usual] | None,
    drain_timeout: float | None = None,
    workers: int | None = None,
    log_format: str | None = None,
) -> settings.Settings:
    given = {
        "server.workers": workers,
        "server.host": host,
        "server.port": port,
        "server.drain_timeout": drain_timeout,
        "log.url": log_url,
        "monitoring.log_format": log_format,
    }
    loaded = settings.load(config, given, environment.variables(), names)
    check_providers(loaded)
    return loaded


def _run(config: settings.Settings, *, demo: bool) -> None:
    lines = logs.configure(config.monitoring)
    bound = _listen(config.server.host, config.server.port)
    try:
        _run_node(config, bound, lines, demo=demo)
    finally:
        bound.close()


def _run_node(
    config: settings.Settings,
    bound: socket.socket,
    lines: logs.Facts,
    worker: vitals.Worker = vitals.ALONE,
    *,
    demo: bool = False,
    quiet: bool = False,
    serves: Callable[[], None] = lambda: None,
) -> None:
    """One node in this process, until a signal."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(_callback_failed)
        serving = _serve(config, bound, lines, worker, demo=demo, quiet=quiet, serves=serves)
        failure = runner.run(serving)
    if failure is not None:
        raise errors.HoldfastError(failure)


def _run_workers(config: settings.Settings) -> None:
    """Several nodes, each in a process of its own."""
    lines = logs.configure(config.monitoring)
    workers.unwind_at_signals()
    bound = _listen(config.server.host, config.server.port)
    with contextlib.ExitStack() as kept:
        kept.callback(bound.close)
        own = None
        if config.log.url.partition(":")[0].lower() in valkey.STANDS_FOR:
            own = kept.enter_context(_own_valkey(config))
            config = _on(config, own.url)

        ours = secrets.token_hex(8)

        def work(number: int, serves: Callable[[], None] | None) -> int:
            worker, serving = vitals.Worker(ours, number), serves or (lambda: None)
            lines["worker"] = lambda: number
            try:
                _run_node(config, bound, lines, worker, quiet=serves is None, serves=serving)
            except errors.HoldfastError as error:
                output.fail(error)
            return 0

        # Who connects while the workers drain is to be refused, and not to wait for nobody.
        group = workers.Workers(
            config.server.workers,
            work,
            needed=own and own.pid,
            stopping=bound.close,
        )
        code = group.run()
        if own is not None and group.lost is not None:
            raise own.ended(group.lost)
    if code:
        raise SystemExit(code)


def _own_valkey(config: settings.Settings) -> contextlib.AbstractContextManager[valkey.Server]:
    """Raises `errors.SettingsError` where a single process could not have its log there either."""
    log.open_log(config.log.url)
    return valkey.serving(config.log.url, config.log.durability)


def _on(config: settings.Settings, log_url: str) -> settings.Settings:
    """The same on another log. Keys and what is archived stay where those of a single process
    are."""
    archive_url = config.archive.url or archive.beside(config.log.url)
    shared = {
        "log": config.log.model_copy(update={"url": log_url}),
        "archive": config.archive.model_copy(update={"url": archive_url}),
    }
    return config.model_copy(update=shared)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return server.listen(host, port)
    except OSError as error:
        raise errors.PortTaken(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port."
        ) from None


async def _serve(
    config: settings.Settings,
    bound: socket.socket,
    lines: logs.Facts,
    worker: vitals.Worker,
    *,
    demo: bool,
    quiet: bool,
    serves: Callable[[], None],
) -> str | None:
    """Serves until a signal; returns why the node could not go on, if it could not. `serves` is
    called as it begins."""
    host, port = bound.getsockname()[:2]
    running: list[server.Server] = []

    def fatal(why: str) -> None:
        for one in running:
            one.stop(why)

    as_line = logs.is_json(config.monitoring, sys.stderr)
    server.raise_file_limit()
    node = app.asgi(config, fatal=fatal, page=demo, worker=worker)
    async with node.service:
        access = node.service.access
        nodes = node.service.log.nodes
        if nodes is not None:
            lines["node"] = _name_of(nodes)
        # The demo may listen anywhere: it serves this machine alone, wherever it is asked.
        if not demo:
            _check_open(access, host, quiet=quiet, line=as_line)
        sockets = server.socket_limit(node.service.connections.limit)
        file = None if access is None or access.is_open else access.file

        def begun() -> None:
            if not quiet:
                url = f"http://{_reached(host) if demo else _spell(host)}:{port}"
                places = {
                    "log": settings.masked(config.log.url),
                    **({"keys": output.one_line(str(file))} if file else {}),
                    **({"node": nodes.name} if nodes else {}),
                }
                _announce(url, places, demo=demo, line=as_line)
            serves()

        running.append(
            server.Server(
                server.config(node, sockets),
                node.service.drain,
                node.service.hurry,
                begun,
            )
        )
        if node.service.failure is not None:  # before there was a server to stop
            return node.service.failure
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        await running[0].serve(sockets=[bound])
    return running[0].failure


def _name_of(nodes: base.Nodes) -> Callable[[], str]:
    """This node's, whenever it is asked; the last line comes when the log is closed."""
    known = nodes.name

    def name() -> str:
        nonlocal known
        with contextlib.suppress(errors.LogError):
            known = nodes.name
        return known

    return name


def is_own(address: str) -> bool:
    """Whether what listens there is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a name without an address here: nothing will listen
        return True


def unkeyed(host: str, file: Path | None) -> errors.SettingsError:
    """Why a node without keys does not listen there; `file` is where its keys would be."""
    where = f" in {output.one_line(str(file))}" if file else ""
    return errors.SettingsError(
        f"There is no key{where} yet, so {host} would be open to everybody. Make one with "
        "`holdfast keys create`, set [jwt], or listen on 127.0.0.1."
    )


def check_providers(given: settings.Settings) -> None:
    """Raises `errors.SettingsError` where a provider is this very server: each answer would ask
    for another one, without end."""
    host, port = given.server.host, given.server.port
    for name, row in given.providers.items():
        vendor = vendors.VENDORS.get(row.kind)
        url = row.base_url or (vendor and vendor.base_url) or ""
        if _is_here(url, host, port):
            raise errors.SettingsError(
                f"providers.{name}.base_url: {url} is the address of this server, which would ask "
                "itself without end. It is what clients are given; where a variable of the "
                "vendor's says it to them, start the server without that, or on another port."
            )


def _is_here(url: str, host: str, port: int) -> bool:
    """Whether a provider's URL leads to what listens at this host and port."""
    said = parse.urlsplit(url)
    if said.scheme != "http" or (said.port or 80) != port:
        return False
    named = said.hostname or ""
    return named == host or (_is_near(named) and (_is_near(host) or host in ("0.0.0.0", "::")))


def _is_near(host: str) -> bool:
    """Whether it is a name or an address of loopback."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _check_open(access: gate.Gate | None, host: str, *, quiet: bool, line: bool) -> None:
    """Raises `errors.SettingsError` where others than this machine would be served unasked."""
    if access is None or not access.is_open:
        return
    if not is_own(host):
        raise unkeyed(host, access.file)
    if quiet:
        return
    said = (
        "there is no key, so every program of this machine may ask and read; "
        "`holdfast keys create` makes one"
    )
    if line:
        _log.warning("server_open", hint=said)
    else:
        click.echo(f"warning: {said}", err=True)


def _spell(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _reached(host: str) -> str:
    """An address that a browser of this machine can open, where all addresses are listened on."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, _spell(host))


def _announce(url: str, places: Mapping[str, str], *, demo: bool, line: bool) -> None:
    """`places` are where the log is and such, by what is there."""
    version = holdfast.__version__
    if line:
        log_url, keys = places["log"], places.get("keys")
        _log.info("server_started", version=version, url=url, log=log_url, keys=keys)
        return
    said = ", ".join([f"{name} {place}" for name, place in places.items()])
    click.echo(f"holdfast {version} serves {url}, {said}", err=True)
    if demo:
        body = '{"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]}'
        click.echo(
            f"Open {url}/ in a browser of this machine, or try:\n"
            f"  curl -N {url}/v1/streams -H 'Accept: text/event-stream' \\\n"
            f"       -H 'Content-Type: application/json' -d '{body}'\n"
            "Stop it with Ctrl-C.",
            err=True,
        )


def _callback_failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio itself would log with the arguments and the results of what failed, which may
    be prompts and answers."""
    what = str(context.get("message", "")).partition("(")[0][:100]
    _log.error("callback_failed", what=what, trace=errors.trace(context.get("exception")))
