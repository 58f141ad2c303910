"""`keys create | list | revoke`: who may ask this installation's nodes.

Strategy: the commands write to the archive that the settings name, beside nodes that run; those
know of it within seconds. A key is printed once, alone on stdout, so that a variable can take it;
nobody can read it back. Where the archive is is told, since the usual mistake is another folder
than the node's; only `create` makes one. A limit is written, and checked, as its setting is. The
usual names of providers' variables are given as to `config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from holdfast import errors, events, settings
from holdfast.access import keys, principal
from holdfast.archive import base
from holdfast.cli import options, output, stored
from holdfast.metering import prices
from holdfast.settings import fields

LIFE = (1.0, 3650 * 86400.0)
"""Seconds that a key may last which ends by itself: at least, and at most."""

MAX_OWNER = 14
"""Characters of a tenant and its user in the table, so that all columns fit."""

MAX_NAMED = 3
"""Keys that are told of those that have a name which was taken for an id."""

_AMOUNTS = ("cost_per_day",)
_EXPIRES = "After how long it ends by itself, such as 12h or 90d."
_TENANT = "Whose streams it makes and sees: a customer's, a team's."
_USER = "Of the tenant; such a key sees this user's streams alone."
_WHOLE = re.compile(rf"{keys.PREFIX}([0-9A-Za-z]{{{keys.ID_LETTERS}}})(?![0-9A-Za-z])")
_ID = re.compile(rf"[0-9A-Za-z]{{{keys.ID_LETTERS}}}")


class Row(msgspec.Struct, frozen=True):
    """What is shown of a key. Times are RFC 3339 in UTC; `quota` has what the key itself says, as
    the settings write it."""

    id: str
    name: str
    tenant: str
    user: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    state: str
    quota: dict[str, float]


class Made(Row, frozen=True):
    """A new key, with the key itself."""

    key: str


def commands(usual: Mapping[str, settings.Usual]) -> click.Group:
    """The group `keys`. `usual`: see `config.commands`."""
    group = output.Group(
        "keys",
        help="Make, list and revoke API keys.\n\n"
        "Without any key, a server is there for programs of its own machine alone. With one, "
        "whoever asks it needs a key, from wherever: one for each program or person, so that "
        "each can be revoked by itself.\n\n"
        "Keys are kept in the archive, which is a file beside the event log where the settings "
        "name no other. So these commands are for the machine and the folder of the server, with "
        "its --config and --log-url. It may run meanwhile, and "
        "knows of each change within seconds.\n\n"
        "Keys of one tenant see and cancel each other's answers; who should not gets a tenant, or "
        "a user, of their own.",
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
        "  holdfast keys create dashboard --scope admin\n"
        "  holdfast keys create prometheus --scope metrics > prometheus.key\n",
    )
    @_wanted
    @options.CONFIG
    @options.LOG_URL
    @options.JSON
    def create(config: Path | None, log_url: str | None, as_json: bool, **wanted: Any) -> None:
        """Make a key, and print it: this once, as nobody can read it back.

        NAME tells you later what the key is for. An option of a limit takes the place of the
        setting quota.LIMIT; 0 is no limit.
        """
        given, now = stored.settings_of(usual, config, log_url), events.now_ms()
        archive = stored.opened(given)
        token, kept, first = stored.work_on(archive, lambda archive: _add(archive, now, **wanted))
        row = _row(kept, now)
        if as_json:
            output.json_line(Made(**msgspec.structs.asdict(row), key=token))
            return
        output.write(f"{token}\n")
        until = f", until {row.expires_at}" if row.expires_at else ""
        output.note(f"Key {row.id} of {row.tenant}{until}, kept{stored.where(archive)}.\n")
        output.note("It is shown this once. Send it as\n  Authorization: Bearer KEY\n")
        output.note("or put it into HOLDFAST_API_KEY.\n")
        if kept.quota.cost_per_day and not given.prices:
            output.note("No model has a price: all it asks for is refused until [prices] says.\n")
        if first:
            output.note("It is the first one: from now on nobody is let in without a key.\n")

    return create


def _wanted(command: Callable[..., None]) -> Callable[..., None]:
    """What is asked of a new key, as `_add` takes it."""
    for name in reversed(settings.Quota.model_fields):
        kind = "AMOUNT" if name in _AMOUNTS else "NUMBER"
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, metavar=kind, callback=_limit)(command)
    for option_of in (
        click.option("--expires", "life", metavar="TIME", callback=_life, help=_EXPIRES),
        click.option(
            "--scope",
            "scopes",
            multiple=True,
            type=click.Choice(principal.SCOPES),
            default=principal.USUAL,
            show_default=True,
            help="generate asks and cancels, read reads, metrics is for Prometheus alone, admin "
            "reads and cancels everybody's streams but does not ask. May be given several times.",
        ),
        click.option("--user", default="", help=_USER),
        click.option("--tenant", default="default", show_default=True, help=_TENANT),
        click.argument("name"),
    ):
        command = option_of(command)
    return command


async def _add(
    archive: base.Archive,
    now: int,
    name: str,
    tenant: str,
    user: str,
    scopes: tuple[str, ...],
    life: float | None,
    **limits: float | None,
) -> tuple[str, base.Key, bool]:
    """A new key, what is kept of it, and whether it is the first; `life` in seconds, amounts in
    the currency."""
    quota = base.Quota(**{k: _kept(k, value) for k, value in limits.items() if value is not None})
    token, kept = keys.new(
        archive.secret,
        name,
        tenant,
        user=user,
        scopes=scopes,
        quota=quota,
        now=now,
        expires_at=None if life is None else now + int(life * 1000),
    )
    before = await archive.keys(-1)
    await archive.add(kept)
    return token, kept, before is None or not before.keys


def _kept(limit: str, value: float) -> int:
    """A limit as it is kept."""
    return prices.millionths(value) if limit in _AMOUNTS else int(value)


def _limit(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A limit, written and checked as its setting is."""
    name = parameter.name or ""
    if text is None:
        return None
    try:
        limit: float = getattr(settings.Quota.model_validate({name: text}), name)
    except ValueError:
        accepted = fields.accepted(settings.Quota.model_fields[name])
        raise click.BadParameter(f"accepted is {accepted}.") from None
    return limit


def _life(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A duration in seconds. A plain number is refused: who writes it means days, and a setting
    takes it for seconds."""
    if text is None:
        return None
    try:
        seconds = fields.DURATION.parse(text)
    except ValueError:
        seconds = 0.0
    if not LIFE[0] <= seconds <= LIFE[1] or text.strip()[-1:].isdecimal():
        low, high = map(fields.DURATION.show, LIFE)
        raise click.BadParameter(f"accepted is a duration from {low} to {high}, such as 90d.")
    return seconds


def _list(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "list",
        cls=output.Command,
        epilog="  holdfast keys list\n  holdfast keys list --json | jq -r '.[].id'\n",
    )
    @options.CONFIG
    @options.LOG_URL
    @options.JSON
    def list_(config: Path | None, log_url: str | None, as_json: bool) -> None:
        """List all keys, the oldest first; of none more than its id.

        --json tells when each was made, and its limits.
        """
        archive = stored.opened(stored.settings_of(usual, config, log_url))
        rows = [_row(key, events.now_ms()) for key in stored.keys(archive)]
        if as_json:
            output.json_line(rows)
        elif rows:
            cells = [
                (
                    row.id,
                    row.name,
                    _owner(row),
                    " ".join(row.scopes),
                    (row.expires_at or "")[:10],
                    row.state,
                )
                for row in rows
            ]
            head = ("ID", "NAME", "TENANT", "SCOPES", "UNTIL", "STATE")
            output.write(output.table(head, cells, shrinks=1))
        else:
            output.note(
                f"There is no key{stored.where(archive)} yet; "
                "`holdfast keys create NAME` makes one.\n"
            )

    return list_


def _revoke(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "revoke",
        cls=output.Command,
        epilog="  holdfast keys revoke 4bT0qkZ3S0vJ\n",
    )
    @click.argument("id")
    @options.CONFIG
    @options.LOG_URL
    @options.JSON
    def revoke(id: str, config: Path | None, log_url: str | None, as_json: bool) -> None:
        """End a key for ever, by its ID, which `holdfast keys list` tells; a whole key will do.

        Nodes know within seconds: they take nothing by it any more, and its readers are sent away
        within a heartbeat. Answers under way are written on.
        """
        now = events.now_ms()
        # A key that was found somewhere is whole: what follows its id does not matter.
        whole = _WHOLE.search(id)
        named = whole[1] if whole else id.strip()

        async def end(archive: base.Archive) -> base.Key | None:
            return await archive.revoke(named, now)

        archive = stored.opened(stored.settings_of(usual, config, log_url))
        found = (
            stored.work_on(archive, end)
            if stored.is_there(archive) and _ID.fullmatch(named)
            else None
        )
        if found is None:
            raise errors.InvalidField(_unknown(named, archive, now))
        row = _row(found, now)
        if as_json:
            output.json_line(row)
            return
        output.write(f"{row.id} {row.state}\n")
        if found.revoked_at != now:
            output.note(f"It was revoked before, at {row.revoked_at}.\n")

    return revoke


def _unknown(named: str, archive: base.Archive, now: int) -> str:
    """What to say where no key has this id. It may be a secret, and is repeated only where it has
    the shape of an id, or is a name that is known."""
    same = [
        one.id for one in stored.keys(archive) if one.name == named and keys.valid(one, now / 1000)
    ]
    if same:
        ids = ", ".join(same[:MAX_NAMED])
        return f"A key is revoked by its id; the name {named} has {ids}."
    which = f"no key {named}" if _ID.fullmatch(named) else "no key of this id"
    return f"There is {which}{stored.where(archive)}; `holdfast keys list` tells all."


def _row(key: base.Key, now: int) -> Row:
    state = "valid" if keys.valid(key, now / 1000) else "expired"
    said = {k: v for k, v in msgspec.structs.asdict(key.quota).items() if v is not None}
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
        {k: v / prices.UNIT if k in _AMOUNTS else v for k, v in said.items()},
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%FT%TZ")


def _owner(row: Row) -> str:
    owner = f"{row.tenant}/{row.user}" if row.user else row.tenant
    return owner if len(owner) <= MAX_OWNER else f"{owner[: MAX_OWNER - 1]}…"
