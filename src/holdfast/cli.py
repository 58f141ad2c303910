"""The command line: `holdfast serve | demo | ask`.

Strategy: commands read options, call what the library offers, and print. Answers go to
stdout, everything else to stderr. An error of our tree becomes one readable line and exit
code 1; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
import structlog
import uvloop

import holdfast
from holdfast import app, errors, events, settings
from holdfast.client import AsyncClient
from holdfast.http import limits, server

GC_THRESHOLD = (50_000, 20, 100)
"""The collector looks rarely: what a token needs is freed by counting, and cycles are few."""

DEFAULT_URL = "http://127.0.0.1:8080"


class _Command(click.Command):
    """A command whose epilog keeps its line breaks and whose errors are one line."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\nExamples:\n{self.epilog}")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.HoldfastError as error:
            _fail(error)


def _fail(error: errors.HoldfastError) -> NoReturn:
    click.echo(f"holdfast: {error.message} [{error.code}]", err=True)
    sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(holdfast.__version__, prog_name="holdfast")
def main() -> None:
    """Streams LLM answers that do not break."""


_HOST = click.option("--host", help="Address to listen on.")
_PORT = click.option("--port", type=int, help="Port to listen on; 0 takes any free one.")
_LOG_URL = click.option("--log-url", help="Event log: sqlite:///FILE or memory://")
_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file; without it ./holdfast.toml where there is one.",
)


@main.command(
    cls=_Command,
    epilog="  holdfast serve\n"
    "  holdfast serve --port 9000 --log-url memory://\n"
    "  HOLDFAST_SERVER__PORT=9000 holdfast serve --config /etc/holdfast.toml\n",
)
@_CONFIG
@_HOST
@_PORT
@_LOG_URL
def serve(config: Path | None, host: str | None, port: int | None, log_url: str | None) -> None:
    """Run the server, as holdfast.toml and HOLDFAST_* configure it."""
    _run(_load(config, host, port, log_url), demo=False)


@main.command(cls=_Command, epilog="  holdfast demo\n  holdfast demo --port 9000\n")
@_HOST
@_PORT
@click.option("--log-url", default="memory://", show_default=True, help="Event log.")
def demo(host: str | None, port: int | None, log_url: str) -> None:
    """Run a server that answers by itself, without any key."""
    _run(_load(None, host, port, log_url), demo=True)


def _load(
    config: Path | None, host: str | None, port: int | None, log_url: str | None
) -> settings.Settings:
    given = {"server.host": host, "server.port": port, "log.url": log_url}
    return settings.load(config, given, os.environ)


def _run(config: settings.Settings, *, demo: bool) -> None:
    _configure_logging(config.monitoring.log_level)
    bound = _listen(config.server.host, config.server.port)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            failure = runner.run(_serve(config, bound, demo=demo))
    finally:
        bound.close()
    if failure is not None:
        raise errors.HoldfastError(failure)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return server.listen(host, port)
    except OSError as error:
        raise errors.PortTaken(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port."
        ) from None


async def _serve(config: settings.Settings, bound: socket.socket, *, demo: bool) -> str | None:
    """Serves until a signal; returns why the node could not go on, if it could not."""
    host, port = bound.getsockname()[:2]
    running: list[server.Server] = []

    def fatal(why: str) -> None:
        for one in running:
            one.stop(why)

    limits.raise_file_limit()
    node = app.build(config, fatal=fatal)
    async with node.service:
        running.append(server.Server(server.config(node.asgi), node.service.drain))
        _announce(f"http://{_spell(host)}:{port}", config.log.url, demo=demo)
        if node.service.failure is not None:  # before there was a server to stop
            return node.service.failure
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        await running[0].serve(sockets=[bound])
    return running[0].failure


def _spell(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _announce(url: str, log_url: str, *, demo: bool) -> None:
    click.echo(f"holdfast {holdfast.__version__} serves {url}, log {log_url}", err=True)
    if demo:
        body = '{"model": "demo", "messages": [{"role": "user", "content": "Hello!"}]}'
        click.echo(
            "Try it:\n"
            f"  curl -N {url}/v1/streams -H 'Accept: text/event-stream' \\\n"
            f"       -H 'Content-Type: application/json' -d '{body}'\n"
            "Stop it with Ctrl-C.",
            err=True,
        )


def _configure_logging(level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )


@main.command(
    cls=_Command,
    epilog='  holdfast ask "What is a holdfast?"\n'
    '  holdfast ask --model openai/gpt-5 "Why is the sea salt?" > answer.txt\n'
    '  echo "Translate: kelp" | holdfast ask -\n',
)
@click.argument("prompt")
@click.option("--url", default=DEFAULT_URL, show_default=True, help="The server.")
@click.option("--model", default="demo", show_default=True, help="Model, or provider/model.")
@click.option("--system", help="A system message.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def ask(prompt: str, url: str, model: str, system: str | None, quiet: bool) -> None:
    """Ask a running server and print the answer as it comes; `-` reads the prompt from stdin."""
    text = sys.stdin.read() if prompt == "-" else prompt
    messages = [{"role": "user", "content": text}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    try:
        asyncio.run(_ask(url, model, messages, quiet=quiet))
    except KeyboardInterrupt:
        sys.exit(130)


async def _ask(url: str, model: str, messages: list[dict[str, str]], *, quiet: bool) -> None:
    begun, pieces = time.monotonic(), 0
    show = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
    # A server that is not there is told at once; one that goes away later may come back.
    async with (
        AsyncClient(url, give_up_after=0) as first,
        first.stream(model=model, messages=messages) as asked,
    ):
        stream = asked.stream_id
    async with AsyncClient(url) as client, client.resume(stream) as answer:
        async for text in answer.text_stream:
            click.echo(text, nl=False)
            sys.stdout.flush()
            pieces += 1
            if show:
                click.echo(
                    f"\r{pieces} pieces, {time.monotonic() - begun:.1f} s", nl=False, err=True
                )
        final = await answer.final()
    click.echo()
    if not quiet:
        _summarise(answer.stream_id, final.complete, time.monotonic() - begun, answer.reconnects)


def _summarise(
    stream: str | None, complete: events.Complete | None, seconds: float, reconnects: int
) -> None:
    if complete is None:
        return
    said = f"{complete.length} bytes in {seconds:.1f} s, {complete.finish_reason}, stream {stream}"
    if reconnects:
        said += f", {reconnects} reconnects"
    click.echo(f"[{said}]", err=True)
