"""`config check | show | schema`: the settings, before a node is started with them.

Strategy: `settings` decides, these commands print. The usual names of providers' variables
are given by who puts the commands together, so that a test has names of its own. A check goes
as far as `serve` does before it listens: settings are read, the node is built, and whether there
are keys is looked up where others could ask; no file is made.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from holdfast import app, environment, errors, settings
from holdfast.archive import url
from holdfast.cli import options, output, serving, stored
from holdfast.http import server
from holdfast.settings import explain, schema, sources


def commands(usual: Mapping[str, settings.Usual]) -> click.Group:
    """The group `config`. `usual` are the variables of keys and base URLs by provider kind."""
    group = output.Group(
        "config",
        help="Check and show the settings, without starting a node.",
        epilog="  holdfast config check\n"
        "  holdfast config show --all\n"
        "  holdfast config schema > holdfast.schema.json\n",
    )
    for command in (_check_command(usual), _show_command(usual), _schema):
        group.add_command(command)
    return group


def _check_command(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "check",
        cls=output.Command,
        epilog="  holdfast config check\n"
        "  holdfast config check --config /etc/holdfast.toml && systemctl restart holdfast\n"
        "  holdfast config check --json | jq '.providers[] | select(.key == null).name'\n",
    )
    @options.CONFIG
    @options.JSON
    def check(config: Path | None, as_json: bool) -> None:
        """Tell whether `serve` would start with these settings.

        Prints where each provider's key comes from, and the key ring, never a key; or ends with
        exit code 1 and a line for each mistake on stderr, and with --json as `problems` on stdout
        too.
        """
        try:
            loaded = sources.read(config, {}, environment.variables(), usual)
            app.asgi(loaded.settings)
            serving.check_providers(loaded.settings)
            _check_keys(loaded.settings)
        except errors.HoldfastError as error:
            if as_json:
                lines = output.lines(error)
                problems = [{"code": error.code, "message": line} for line in lines]
                output.json_line({"problems": problems})
            raise
        found, sealing = explain.providers(loaded, usual), _sealing(loaded)
        if as_json:
            file = str(loaded.file) if loaded.file else None
            routes = {name: row.model_dump() for name, row in loaded.settings.routes.items()}
            output.json_line(
                {"file": file, "providers": found, "routes": routes, "sealing": sealing}
            )
        else:
            output.write(f"{loaded.file or 'no file'}: fine\n")
            _columns([("", one.name, one.kind, _key(one)) for one in found])
            for name, route in loaded.settings.routes.items():
                asked = ", ".join((name, *route.models))
                output.write(f"  {asked}: first {', then '.join(route.targets)}\n")
            output.write(f"  sealing: {_said(sealing)}\n")

    return check


def _show_command(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "show",
        cls=output.Command,
        epilog="  holdfast config show\n"
        "  holdfast config show --all | grep deadlines\n"
        "  HOLDFAST_SERVER__PORT=9000 holdfast config show --json | jq '.[].source'\n",
    )
    @options.CONFIG
    @options.JSON
    @click.option("--all", "everything", is_flag=True, help="Also what has its default.")
    def show(config: Path | None, as_json: bool, everything: bool) -> None:
        """Print every setting that is not at its default, and where its value comes from.

        Keys and the URLs of proxies are shown as `set`.
        """
        loaded = sources.read(config, {}, environment.variables(), usual)
        rows = explain.rows(loaded, everything=everything)
        if as_json:
            output.json_line(rows)
        elif rows:
            _columns([(row.name, row.value, row.source) for row in rows])
        else:
            output.note("Every setting has its default; --all shows them.\n")

    return show


@click.command(
    "schema",
    cls=output.Command,
    epilog="  holdfast config schema > holdfast.schema.json\n"
    "and in holdfast.toml, as its first line, for editors that know taplo's directive:\n"
    "  #:schema ./holdfast.schema.json\n",
)
def _schema() -> None:
    """Print the JSON Schema of holdfast.toml, for editors."""
    output.write(json.dumps(schema.schema(), indent=2) + "\n")


def _check_keys(given: settings.Settings) -> None:
    """Raises `errors.SettingsError` where nobody needs a key on an address that others reach, or
    the key ring cannot be read."""
    sealer = stored.sealed_by(given)
    if given.jwt.issuer or serving.is_own(_address(given.server.host)):
        return
    archive = url.open_archive(given.archive.url, given.log.url, sealer)
    if not stored.keys(archive):
        raise serving.unkeyed(given.server.host, archive.file)


class _Sealing(msgspec.Struct, frozen=True):
    """Whether what is new is sealed, and where the ring is: a path, or who gave the ring itself."""

    on: bool
    ring: str | None


def _sealing(loaded: sources.Loaded) -> _Sealing:
    said = loaded.settings.sealing
    if said.keys is not None:
        return _Sealing(said.on, str(Path(said.keys).absolute()))
    where = None if said.ring is None else loaded.origin(("sealing", "ring"))
    return _Sealing(said.on and where is not None, where)


def _said(sealing: _Sealing) -> str:
    if sealing.ring is None:
        return "off, as there is no key ring"
    where = f"the key ring in {output.one_line(sealing.ring)}"
    return f"on, by {where}" if sealing.on else f"off; what is sealed is read, by {where}"


def _address(host: str) -> str:
    """As `serve` finds it; the host itself where it has none here."""
    with contextlib.suppress(OSError):
        return str(server.resolved(host, 0)[1][0])
    return host


def _key(provider: explain.Provider) -> str:
    if provider.key is not None:
        return f"key from {provider.key}"
    if provider.wanted:
        return f"no key ({' and '.join(provider.wanted)} not set)"
    return "no key"


def _columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        output.write("  ".join(cells).rstrip() + "\n")
