"""`keys create | list | revoke`: who may ask this installation's nodes.

Strategy: the commands write to the archive that the settings name, beside nodes that run; those
know of it within seconds. A key is printed once, alone on stdout, so that a variable can take it;
nobody can read it back. The usual names of providers' variables are given as to `config`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from holdfast import errors, settings
from holdfast.access import keys, principal
from holdfast.archive import base, url
from holdfast.cli import environment, listing, output, running
from holdfast.settings import fields

T = TypeVar("T")

_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file; without it ./holdfast.toml where there is one.",
)
_LOG_URL = click.option("--log-url", help="Event log of the node, where `serve` was told one.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, on one line.")
_LIMITS = tuple(field.name for field in msgspec.structs.fields(base.Limits))


class Row(msgspec.Struct, frozen=True):
    """What is shown of a key. Times are RFC 3339 in UTC; `quota` has what the key itself says."""

    id: str
    name: str
    tenant: str
    user: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    state: str
    quota: base.Limits


class Made(Row, frozen=True):
    """A new key, with the key itself."""

    key: str


def commands(usual: Mapping[str, settings.Usual]) -> click.Group:
    """The group `keys`. `usual`: see `config.commands`."""
    group = output.Group(
        "keys",
        help="Make, list and revoke API keys.",
        epilog="  holdfast keys create web\n"
        "  holdfast keys list\n"
        "  holdfast keys revoke 4bT0qkZ3S0vJ\n",
    )
    for command in (_create(usual), _list(usual), _revoke(usual)):
        group.add_command(command)
    return group


def _create(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "create",
        cls=output.Command,
        epilog="  holdfast keys create web\n"
        "  export HOLDFAST_API_KEY=$(holdfast keys create laptop)\n"
        "  holdfast keys create acme --tenant acme --tokens-per-day 5000000 --expires 90d\n"
        "  holdfast keys create dashboard --scope admin\n",
    )
    @click.argument("name")
    @click.option("--tenant", default="default", show_default=True, help="Whose streams it makes.")
    @click.option("--user", default="", help="Of the tenant; without one it sees all of its users.")
    @click.option(
        "--scope",
        "scopes",
        multiple=True,
        type=click.Choice(principal.SCOPES),
        default=("generate", "read"),
        show_default=True,
        help="What it is for; may be given several times.",
    )
    @click.option("--expires", help="After how long it ends by itself, such as 90d.")
    @_limits
    @_CONFIG
    @_LOG_URL
    @_JSON
    def create(
        name: str,
        tenant: str,
        user: str,
        scopes: tuple[str, ...],
        expires: str | None,
        config: Path | None,
        log_url: str | None,
        as_json: bool,
        **limits: int | float | None,
    ) -> None:
        """Make a key, and print it: this once, as nobody can read it back."""
        now = int(time.time() * 1000)
        ends = None if expires is None else now + int(_seconds(expires) * 1000)
        cost = limits.pop("cost_per_day", None)
        quota = base.Limits(
            **{name: int(value) for name, value in limits.items() if value is not None},
            cost_per_day=None if cost is None else round(cost * 1_000_000),
        )

        async def make(archive: base.Archive) -> tuple[str, base.Key]:
            token, kept = keys.new(
                archive.secret,
                name,
                tenant,
                user=user,
                scopes=scopes,
                quota=quota,
                now=now,
                expires_at=ends,
            )
            await archive.add(kept)
            return token, kept

        token, kept = _on(usual, config, log_url, make)
        if as_json:
            output.json_line(Made(**msgspec.structs.asdict(_row(kept, now)), key=token))
        else:
            output.write(f"{token}\n")
            output.note(f"Key {kept.id} of {tenant}; it is shown this once. Send it as\n")
            output.note("  Authorization: Bearer KEY\nor put it into HOLDFAST_API_KEY.\n")

    return create


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each limit of a quota."""
    for name in reversed(_LIMITS):
        kind = click.FloatRange(0) if name == "cost_per_day" else click.IntRange(0)
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, type=kind, help=f"In place of quota.{name}.")(command)
    return command


def _seconds(text: str) -> float:
    try:
        seconds = fields.DURATION.parse(text)
    except ValueError:
        why = "takes a duration such as 12h or 90d"
        raise click.BadParameter(why, param_hint="--expires") from None
    if seconds <= 0:
        raise click.BadParameter("is to be after now", param_hint="--expires")
    return seconds


def _list(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "list",
        cls=output.Command,
        epilog="  holdfast keys list\n  holdfast keys list --json | jq -r '.[].id'\n",
    )
    @_CONFIG
    @_LOG_URL
    @_JSON
    def list_(config: Path | None, log_url: str | None, as_json: bool) -> None:
        """List all keys, the oldest first; of none more than its id."""

        async def read(archive: base.Archive) -> base.Keys | None:
            return await archive.keys(-1)

        found = _on(usual, config, log_url, read)
        now = int(time.time() * 1000)
        rows = [_row(key, now) for key in found.keys] if found is not None else []
        if as_json:
            output.json_line(rows)
        elif rows:
            cells = [
                (
                    row.id,
                    row.name,
                    _owner(row),
                    " ".join(row.scopes),
                    row.created_at[:10],
                    row.state,
                )
                for row in rows
            ]
            head = ("ID", "NAME", "TENANT", "SCOPES", "CREATED", "STATE")
            output.write(listing.table(head, cells, shrinks=1))
        else:
            output.note("There is no key yet; `holdfast keys create NAME` makes one.\n")

    return list_


def _revoke(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "revoke",
        cls=output.Command,
        epilog="  holdfast keys revoke 4bT0qkZ3S0vJ\n",
    )
    @click.argument("id")
    @_CONFIG
    @_LOG_URL
    @_JSON
    def revoke(id: str, config: Path | None, log_url: str | None, as_json: bool) -> None:
        """End a key for ever, by its id. Nodes know within seconds: they take nothing by it any
        more, and its readers are sent away within a heartbeat. Answers under way are written on."""
        now = int(time.time() * 1000)

        async def end(archive: base.Archive) -> base.Key | None:
            return await archive.revoke(id, now)

        found = _on(usual, config, log_url, end)
        if found is None:
            raise errors.InvalidField("There is no key of this id; `holdfast keys list` has all.")
        row = _row(found, now)
        if as_json:
            output.json_line(row)
        else:
            output.write(f"{row.id} {row.state}\n")

    return revoke


def _on(
    usual: Mapping[str, settings.Usual],
    config: Path | None,
    log_url: str | None,
    work: Callable[[base.Archive], Awaitable[T]],
) -> T:
    """Works on the archive of these settings."""
    given = settings.load(config, {"log.url": log_url}, environment.variables(), usual)
    archive = url.open_archive(given.archive.url, given.log.url)
    if not archive.lasting:
        raise errors.SettingsError(
            "Keys need an archive that lasts: set log.url or archive.url to sqlite:///FILE."
        )

    async def run() -> T:
        await archive.start()
        try:
            return await work(archive)
        finally:
            await archive.close()

    return running.run(run())


def _row(key: base.Key, now: int) -> Row:
    state = "valid" if keys.valid(key, now / 1000) else "expired"
    return Row(
        key.id,
        key.name,
        key.tenant,
        key.user,
        key.scopes,
        _time(key.created_at) or "",
        _time(key.expires_at),
        _time(key.revoked_at),
        "revoked" if key.revoked_at is not None else state,
        key.quota,
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%FT%TZ")


def _owner(row: Row) -> str:
    return f"{row.tenant}/{row.user}" if row.user else row.tenant
