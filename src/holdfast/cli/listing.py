"""`streams list | show | cancel`: what the server keeps, for people and for programs.

Strategy: what the server answers is printed as it is (`--json`), or as a table of 80 columns.
What a cell holds may come from anybody: it is kept to its line and its width.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

from holdfast import errors, events
from holdfast.cli import output, running, target

_ID = "4bT0qkZ3S0vJ8M1xYw2hRc5dPz"
_JSON = click.option("--json", is_flag=True, help="The server's JSON.")


T = TypeVar("T")


class Row(msgspec.Struct, frozen=True):
    """What a table shows of a stream (PROTOCOL 4.3)."""

    id: str
    status: str
    provider: str
    model: str
    created_at: str
    completed_at: str | None
    position: str


class Page(msgspec.Struct, frozen=True):
    """A page of the list."""

    streams: list[Row]
    next: str | None


class Call(msgspec.Struct, frozen=True):
    """A tool call of an answer."""

    name: str
    arguments: str


class Snapshot(Row, frozen=True):
    """A stream with its answer (PROTOCOL 4.1)."""

    content: str
    finish_reason: str | None
    refusal: str
    tool_calls: list[Call]
    usage: events.Tokens | None
    error: events.Error | None
    length: int
    sha256: str


class Entry(msgspec.Struct, frozen=True):
    """What happened to a stream (PROTOCOL 4.4)."""

    after_ms: int
    what: str
    detail: Mapping[str, str | int | bool | None]


class Node(msgspec.Struct, frozen=True):
    answered: bool


class Timeline(msgspec.Struct, frozen=True):
    """A stream's whole story."""

    entries: list[Entry]
    truncated: bool
    nodes: list[Node]
    archive_answered: bool


def read(found: dict[str, Any], kind: type[T]) -> T:
    """What a server said, as a value. Raises ClientError where it said something else."""
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise errors.ClientError(f"This is no answer of a Holdfast server: {error}.") from None


@click.group(
    cls=output.Group,
    epilog="  holdfast streams list --status streaming\n"
    f"  holdfast streams show {_ID}\n"
    f"  holdfast streams cancel {_ID}\n",
)
def streams() -> None:
    """List, show and cancel streams."""


@streams.command(
    "list",
    cls=output.Command,
    epilog="  holdfast streams list\n"
    "  holdfast streams list --status streaming --limit 10\n"
    "  holdfast streams list --json | jq -r '.streams[].id'\n",
)
@click.option(
    "--status", type=click.Choice(["pending", "streaming", "completed", "error", "cancelled"])
)
@click.option("--client", help="Of this client (X-Client-Id).")
@click.option("--session", help="Of this session (metadata.session_id).")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--before", help="The next page: what the page before told.")
@_JSON
@target.options
def list_(
    status: events.Status | None,
    client: str | None,
    session: str | None,
    limit: int,
    before: str | None,
    json: bool,
    target: target.Target,
) -> None:
    """List your streams, newest first."""

    async def ask() -> dict[str, Any]:
        async with target.client() as asked:
            return await asked.streams(
                status=status, client_id=client, session_id=session, limit=limit, before=before
            )

    found = running.run(ask())
    if json:
        output.json_line(found)
        return
    page = read(found, Page)
    rows = [
        (row.id, row.status, f"{row.provider}/{row.model}", _moment(row.created_at))
        for row in page.streams
    ]
    output.write(output.table(("ID", "STATUS", "MODEL", "CREATED (UTC)"), rows, shrinks=2))
    if page.next:
        output.note(f"[more: --before {output.one_line(page.next)}]\n")


def _moment(rfc3339: str) -> str:
    return rfc3339[:19].replace("T", " ")


@streams.command(
    cls=output.Command,
    epilog=f"  holdfast streams show {_ID}\n  holdfast streams show --json {_ID} | jq .usage\n"
    f"  holdfast streams show --timeline {_ID}\n",
)
@click.argument("stream")
@click.option("--timeline", is_flag=True, help="What happened to it, and who read it, and when.")
@_JSON
@target.options
def show(stream: str, timeline: bool, json: bool, target: target.Target) -> None:
    """Show what is known of a stream, then its text so far."""
    target = target.of(stream)

    async def ask() -> dict[str, Any]:
        async with target.client() as asked:
            return await (asked.timeline(stream) if timeline else asked.get(stream))

    found = running.run(ask())
    if json:
        output.json_line(found)
    elif timeline:
        _tell(read(found, Timeline))
    else:
        _show(read(found, Snapshot))


def _tell(told: Timeline) -> None:
    output.write(story(told.entries))
    if told.truncated:
        output.note("[there may be more than this]\n")
    if not (told.archive_answered and all(node.answered for node in told.nodes)):
        output.note("[connections may be missing: a node or the archive did not answer]\n")


def story(entries: Sequence[Entry]) -> str:
    """A table whose last column goes on in further lines, so that nothing is cut."""
    times = [f"{entry.after_ms / 1000:.3f} s" for entry in entries]
    head = ("AFTER", "WHAT", "DETAIL")
    first = max(map(len, (head[0], *times)))
    second = max(map(len, (head[1], *(entry.what for entry in entries))))
    room = output.WIDTH - first - second - 2 * len(output.GAP)
    rows = list[tuple[str, str, str]]()
    for after, entry in zip(times, entries, strict=True):
        said = ", ".join(
            f"{name} {_word(of)}" for name, of in entry.detail.items() if of is not None
        )
        lines = textwrap.wrap(said, max(room, 1)) or [""]
        rows.append((after.rjust(first), entry.what, lines[0]))
        rows += [("", "", line) for line in lines[1:]]
    return output.table(head, rows, shrinks=2)


def _word(of: str | int | bool) -> str:
    return str(of).lower() if isinstance(of, bool) else str(of)


def _show(shown: Snapshot) -> None:
    known = [(name, said) for name, said in _facts(shown) if said]
    width = max(len(name) for name, _ in known)
    for name, said in known:
        output.write(f"{name:<{width}}{output.GAP}{output.one_line(said)}\n")
    if shown.content:
        output.write(f"\n{shown.content}\n")


def _facts(shown: Snapshot) -> list[tuple[str, str]]:
    """What there is to say beside the text, by name; "" for nothing."""
    error = shown.error
    usage = msgspec.structs.asdict(shown.usage) if shown.usage else {}
    return [
        ("id", shown.id),
        ("status", shown.status),
        ("model", f"{shown.provider}/{shown.model}"),
        ("created", shown.created_at),
        ("completed", shown.completed_at or ""),
        ("finish", shown.finish_reason or ""),
        ("error", f"{error.message} [{error.code}]" if error else ""),
        ("refusal", shown.refusal),
        *(("tool call", f"{call.name}({call.arguments})") for call in shown.tool_calls),
        ("usage", ", ".join(f"{count} {name}" for name, count in usage.items() if count)),
        ("length", f"{shown.length} bytes"),
        ("sha256", shown.sha256),
        ("position", shown.position),
    ]


@streams.command(
    cls=output.Command,
    epilog=f"  holdfast streams cancel {_ID}\n  holdfast streams cancel --no-wait {_ID}\n",
)
@click.argument("stream")
@click.option("--no-wait", is_flag=True, help="Do not wait for its end.")
@_JSON
@target.options
def cancel(stream: str, no_wait: bool, json: bool, target: target.Target) -> None:
    """Cancel a stream, and wait until it has ended. One that has ended stays as it is."""
    found = running.run(_cancel(target.of(stream), stream, wait=not no_wait))
    if json:
        output.json_line(found)
    else:
        row = read(found, Row)
        output.write(f"{output.one_line(row.id)} {output.one_line(row.status)}\n")


async def _cancel(target: target.Target, stream: str, *, wait: bool) -> dict[str, Any]:
    async with target.client() as asked:
        found = await asked.cancel(stream)
        row = read(found, Row)
        if not wait or row.completed_at:
            return found
        async with asked.resume(stream, after=row.position) as answer:
            async for _ in answer:
                pass
        return await asked.cancel(stream)
