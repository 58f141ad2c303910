"""Which server a command talks to, and with which key.

Strategy: the options of every command that is a client stand here once. A stream may be named
by its URL, which then brings its own server; a key from the environment is for the server of
`--url` and goes to no other, so that a URL from anywhere can be followed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib import parse

import click
import msgspec
from click.core import ParameterSource

from holdfast import client, errors

DEFAULT_URL = "http://127.0.0.1:8080"

_PATH = "/v1/streams/"


class Target(msgspec.Struct, frozen=True):
    """`key_is_for_all`: the key was typed for this very command."""

    url: str
    api_key: str | None
    ca_file: Path | None
    key_is_for_all: bool

    def client(self) -> client.AsyncClient:
        """One that tells at once that no server is there, and comes back to one that was."""
        return client.AsyncClient(self.url, self.api_key, ca_file=self.ca_file, give_up_at_first=0)

    def of(self, stream: str) -> Target:
        """The server of a stream that is given by its id, its URL or the path of that.

        Raises InvalidField for what is none of them.
        """
        base, found, _ = stream.rpartition(_PATH)
        if "/" not in stream or (found and not base):
            return self
        if not found:
            raise errors.InvalidField("This is neither the id nor the URL of a stream.")
        ours = self.key_is_for_all or _origin(base) == _origin(self.url)
        return msgspec.structs.replace(self, url=base, api_key=self.api_key if ours else None)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = parse.urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError as error:
        raise errors.InvalidField(f"This is no URL: {error}.") from None
    return parts.scheme, parts.hostname, port


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a client; the command gets them as `target`."""

    @click.option(
        "--url",
        envvar="HOLDFAST_URL",
        show_envvar=True,
        default=DEFAULT_URL,
        show_default=True,
        help="The server.",
    )
    @click.option(
        "--api-key",
        envvar="HOLDFAST_API_KEY",
        show_envvar=True,
        help="The key for it. Better in the variable: others can see a command line.",
    )
    @click.option(
        "--ca-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Certificates (PEM) that https is trusted by beside the system's.",
    )
    @click.pass_context
    @functools.wraps(command)
    def with_target(
        context: click.Context,
        /,
        *args: Any,
        url: str,
        api_key: str | None,
        ca_file: Path | None,
        **given: Any,
    ) -> None:
        typed = context.get_parameter_source("api_key") is ParameterSource.COMMANDLINE
        command(*args, target=Target(url, api_key, ca_file, typed), **given)

    return with_target
