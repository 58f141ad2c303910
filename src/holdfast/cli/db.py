"""`db status | upgrade`: the archive's schema, and how far it is.

Strategy: a node brings its archive to its own version when it starts; these commands are for who
wants to see that first, or to do it when no node runs. They start nothing: `status` changes nothing
and makes no archive, and a newer archive is told of and left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from holdfast import events, settings
from holdfast.archive import rows
from holdfast.cli import options, output, running, stored


def commands(usual: Mapping[str, settings.Usual]) -> click.Group:
    """The group `db`. `usual`: see `config.commands`."""
    group = output.Group(
        "db",
        help="Show and upgrade the archive's schema.\n\n"
        "The archive keeps API keys, finished answers, connections and metrics: in a file beside "
        "the event log, or in PostgreSQL, as archive.url says. A node that starts brings it to its "
        "own version by itself; a node of an older version does not start on it any more.",
        epilog="  holdfast db status\n"
        "  holdfast db upgrade --config /etc/holdfast.toml\n"
        "  HOLDFAST_ARCHIVE__URL=postgresql://... holdfast db status --json\n",
    )
    for command in (_status(usual), _upgrade(usual)):
        group.add_command(command)
    return group


def _status(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "status",
        cls=output.Command,
        epilog="  holdfast db status\n  holdfast db status --json | jq -r '.pending[]'\n",
    )
    @options.CONFIG
    @options.LOG_URL
    @options.JSON
    def status(config: Path | None, log_url: str | None, as_json: bool) -> None:
        """Tell where the archive is, its version, and which migrations it has and lacks.

        Nothing is changed, and no archive is made.
        """
        given = stored.settings_of(usual, config, log_url)
        archive = stored.opened(given, "A schema needs")
        state = running.run(archive.status())
        if as_json:
            output.json_line(state)
            return
        output.write(f"{output.one_line(state.place)}: version {state.version}\n")
        cells = [(_name(one), _time(one.applied_at)) for one in state.applied]
        cells += [(name, "pending") for name in state.pending]
        output.write(output.table(("MIGRATION", "APPLIED"), cells, shrinks=0))
        if state.pending:
            output.note("`holdfast db upgrade` applies what is pending, and so does a start.\n")

    return status


def _upgrade(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "upgrade",
        cls=output.Command,
        epilog="  holdfast db upgrade\n",
    )
    @options.CONFIG
    @options.LOG_URL
    @options.JSON
    def upgrade(config: Path | None, log_url: str | None, as_json: bool) -> None:
        """Apply the migrations that the archive lacks, and make it where there is none.

        Each is a transaction under a lock, so that nodes may start meanwhile. One that fails leaves
        the archive at the version before it.
        """
        given = stored.settings_of(usual, config, log_url)
        archive = stored.opened(given, "A schema needs")
        applied = running.run(archive.upgrade())
        if as_json:
            output.json_line(applied)
            return
        for one in applied:
            output.write(f"{_name(one)}\n")
        if not applied:
            output.note(f"{output.one_line(archive.place)} lacks nothing.\n")

    return upgrade


def _name(one: rows.Applied) -> str:
    return f"{one.number:04}_{one.name}"


def _time(ms: int | None) -> str:
    """One that is not known is of a store that kept no times yet."""
    return "before" if ms is None else events.rfc3339(ms)
