"""`seal status | rotate | rewrap | shred`: the keys by which what is kept is sealed.

Strategy: the commands work on the stores themselves, with the settings of the node; where a node
has the log's file for itself, `--url` asks that node, which makes the pass. The ring is a matter of
this machine either way: it is never sent anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from holdfast import errors, events, settings
from holdfast.cli import options, output, passes, running, sealed, shredding, stored, target
from holdfast.settings import fields

_DELAY = "From when on the new key is used; every node reads the ring within seconds."


def commands(usual: Mapping[str, settings.Usual]) -> click.Group:
    """The group `seal`. `usual`: see `config.commands`."""
    group = output.Group(
        "seal",
        help="Show, rotate and destroy the keys that seal what is kept.\n\n"
        "`holdfast serve --encrypt` turns sealing on. Each answer has a key of its own, which is "
        "wrapped by a key of the ring; to rotate, rewrap and shred touches these and no data.\n\n"
        "The commands are for the machine and the folder of the server, with its --config and "
        "--log-url. With Redis nodes may run meanwhile; where one node has the log's file, --url "
        "names that node.",
        epilog="  holdfast seal status\n"
        "  holdfast seal rotate\n"
        "  holdfast seal rewrap --destroy-old\n"
        "  holdfast seal shred --tenant acme\n",
    )
    for command in (_status(usual), _rotate(usual), _rewrap(usual), _shred(usual)):
        group.add_command(command)
    return group


def _of_node(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a running node; the command gets it as `node`, None without."""

    @click.option("--url", help="Ask this node, which has the stores open, instead.")
    @target.trust("A key for it with the scope admin.")
    @click.pass_context
    @functools.wraps(command)
    def with_node(
        context: click.Context,
        /,
        *args: Any,
        url: str | None,
        api_key: str | None,
        ca_file: Path | None,
        **given: Any,
    ) -> None:
        typed = context.get_parameter_source("api_key") is ParameterSource.COMMANDLINE
        node = None if url is None else target.Target(url, api_key, ca_file, typed)
        command(*args, node=node, **given)

    return with_node


def _status(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "status",
        cls=output.Command,
        epilog="  holdfast seal status\n"
        "  holdfast seal status --url http://127.0.0.1:8080\n"
        "  holdfast seal status --json | jq .log.by_key\n",
    )
    @options.CONFIG
    @options.LOG_URL
    @_of_node
    @options.JSON
    def status(
        config: Path | None, log_url: str | None, node: target.Target | None, as_json: bool
    ) -> None:
        """Tell which keys there are, since when, and how many streams lie under each.

        Nothing is changed, and no key is shown.
        """
        given = stored.settings_of(usual, config, log_url)

        state = running.run(sealed.looked_at(given) if node is None else sealed.asked(node))
        if as_json:
            output.json_line(state)
        elif node is None:
            sealed.show(state, _where(given), stored.hint(given))
        else:
            sealed.show(state, "")
        if node is None and (folder := sealed.not_seen(given)) is not None:
            output.note(
                f"Not looked at is the log of workers in {output.one_line(str(folder))}, which "
                "only they reach: ask one by --url.\n"
            )

    return status


def _where(given: settings.Settings) -> str:
    path = given.sealing.keys
    return output.one_line(path) if path else "HOLDFAST_SEALING__RING"


def _rotate(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "rotate",
        cls=output.Command,
        epilog="  holdfast seal rotate\n"
        "  holdfast seal rotate --tenant acme\n"
        "  holdfast seal rotate --delay 1h\n",
    )
    @click.option("--tenant", default="", help="A key of this tenant's own, which seals only it.")
    @click.option("--delay", metavar="TIME", default="60s", show_default=True, help=_DELAY)
    @options.CONFIG
    @options.JSON
    def rotate(tenant: str, delay: str, config: Path | None, as_json: bool) -> None:
        """Add a key to the ring, by which new streams are sealed from then on.

        What lies under older keys stays there until `holdfast seal rewrap`. Nodes rotate by
        themselves, as sealing.rotate_every says. A tenant's first own key makes that tenant one
        that can be destroyed with all of its copies.
        """
        try:
            seconds = fields.DURATION.parse(delay)
        except ValueError:
            raise click.BadParameter("accepted is a duration, such as 0s, 60s or 1h.") from None
        source = passes.file_of(stored.settings_of(usual, config, None))
        since = events.now_ms() + int(seconds * 1000)
        made = source.add(tenant, since).keys[-1]
        if as_json:
            output.json_line(sealed.Key(made.id, made.since, made.tenant))
            return
        output.write(f"{made.id}\n")
        whose = f" of {output.one_line(tenant)}" if tenant else ""
        output.note(f"It seals new streams{whose} from {events.rfc3339(since)} on.\n")

    return rotate


def _rewrap(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "rewrap",
        cls=output.Command,
        epilog="  holdfast seal rewrap\n"
        "  holdfast seal rewrap --destroy-old\n"
        "  holdfast seal rewrap --destroy-old --url http://127.0.0.1:8080\n",
    )
    @click.option(
        "--destroy-old", is_flag=True, help="Destroy the keys of the ring that nothing needs then."
    )
    @options.CONFIG
    @options.LOG_URL
    @_of_node
    @options.JSON
    def rewrap(
        destroy_old: bool,
        config: Path | None,
        log_url: str | None,
        node: target.Target | None,
        as_json: bool,
    ) -> None:
        """Bring all streams under the present keys, and seal those that are plain.

        No data of what is sealed is touched. May be stopped and run again at any time. With
        --destroy-old copies from before can be read no more: backups, replicas, append-only files.
        """
        given = stored.settings_of(usual, config, log_url)
        work = (
            passes.rewrapped(given, destroy_old)
            if node is None
            else passes.rewrapped_by(node, given, destroy_old)
        )
        found = running.run(work)
        if as_json:
            output.json_line(found)
            return
        output.write(f"{found.done} streams were sealed, or wrapped by another key\n")
        if found.left:
            output.note(f"{found.left} are open, and stay plain until they have ended.\n")
        if found.unreadable:
            output.note(f"{found.unreadable} could not be read, and stay as they are.\n")
        if found.destroyed:
            output.note(f"Destroyed: {', '.join(found.destroyed)}.\n")
        elif found.unneeded:
            output.note(
                f"Nothing needs these keys any more: {', '.join(found.unneeded)}; "
                "--destroy-old destroys them.\n"
            )
        elif destroy_old:
            output.note("Every key is needed; one that was followed just now, for a minute yet.\n")

    return rewrap


def _shred(usual: Mapping[str, settings.Usual]) -> click.Command:
    @click.command(
        "shred",
        cls=output.Command,
        epilog="  holdfast seal shred 4bT0qkZ3S0vJ8M1xYw2hRc5dPz\n"
        "  holdfast seal shred --tenant acme\n"
        "  holdfast seal shred --key 3f9c5a1be27d4480\n"
        "  holdfast seal shred --key 3f9c5a1be27d4480 --key 77aa01c2b3d4e5f6 --forced\n",
    )
    @click.argument("streams", nargs=-1, metavar="[STREAM]...")
    @click.option("--tenant", help="All streams of this tenant, and its own keys.")
    @click.option(
        "--key",
        "key_ids",
        multiple=True,
        help="A key of the ring, by its id, under which nothing lies. May be given again.",
    )
    @click.option("--forced", is_flag=True, help="The keys, with all that lies under them.")
    @options.CONFIG
    @options.LOG_URL
    @_of_node
    @options.JSON
    def shred(
        streams: tuple[str, ...],
        tenant: str | None,
        key_ids: tuple[str, ...],
        forced: bool,
        config: Path | None,
        log_url: str | None,
        node: target.Target | None,
        as_json: bool,
    ) -> None:
        """Destroy streams for ever, all of a tenant's, or keys.

        The stores have nothing of it any more when this returns. Copies can be read until the key
        of the ring is destroyed that wrapped it: a tenant's own keys are destroyed with it.
        """
        if sum((bool(streams), tenant is not None, bool(key_ids))) != 1 or tenant == "":
            raise click.UsageError("Name streams, or a --tenant, or a --key.")
        given = stored.settings_of(usual, config, log_url)
        if streams:
            wanted = [events.stream_id(text) for text in streams]
            _tell_streams(running.run(_each(given, node, wanted)), as_json)
        elif tenant is not None:
            work = _tenant(given, tenant) if node is None else passes.tenant_by(node, given, tenant)
            _tell_tenant(running.run(work), as_json)
        else:
            if node is not None:
                raise errors.InvalidField("A key is destroyed where it is: without --url.")
            ids = tuple(dict.fromkeys(key_ids))
            done = running.run(_keys(given, ids, forced))
            if as_json:
                output.json_line(shredding.Shredded(done, 0, ids))
            else:
                output.write(f"{', '.join(ids)} destroyed, and {done} streams with it\n")

    return shred


async def _each(
    given: settings.Settings, node: target.Target | None, ids: list[events.StreamId]
) -> dict[str, str]:
    """What became of each: destroyed, open, gone or unknown."""
    if node is not None:
        async with node.client() as client:
            return {one: await passes.shredded_by(client.shred, one) for one in ids}
    sealed.check_seen(given)
    kept, found = await sealed.found(given), dict[str, str]()
    async with sealed.started(kept):
        for one in ids:
            if kept.log is not None:
                await kept.log.request_cancel(one)
            found[one] = "destroyed" if await shredding.one(kept, one) else "not there, or open"
    return found


def _tell_streams(found: dict[str, str], as_json: bool) -> None:
    if as_json:
        output.json_line(found)
    else:
        for one, how in found.items():
            output.write(f"{one} {how}\n")
        if "destroyed" in found.values():
            output.note(f"{shredding.COPIES}\n")
    if any(how != "destroyed" for how in found.values()):
        raise SystemExit(output.FAILED)


async def _tenant(given: settings.Settings, name: str) -> shredding.Shredded:
    sealed.check_seen(given)
    kept = await sealed.found(given)
    async with sealed.started(kept):
        return await shredding.tenant(kept, name)


def _tell_tenant(found: shredding.Shredded, as_json: bool) -> None:
    if as_json:
        output.json_line(found)
    else:
        output.write(f"{found.done} streams destroyed\n")
        if found.open:
            output.note(f"{found.open} are open: they were asked to end; run it again then.\n")
        if found.keys:
            output.note(shredding.OWN)
        elif found.done:
            output.note(f"{shredding.COPIES}\n")
    if found.open:
        raise SystemExit(output.FAILED)


async def _keys(given: settings.Settings, ids: tuple[str, ...], forced: bool) -> int:
    sealed.check_seen(given, "`holdfast seal rewrap --destroy-old --url` destroys unneeded keys")
    return await shredding.named(await sealed.found(given, ids), ids, forced=forced)
