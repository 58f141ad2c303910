"""The archive from the command line: `db`, and `keys` where it is in PostgreSQL.

Strategy: the commands run in this process, on a file and on a real database; a server in a thread
is started on what they made.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from click import testing
from tests import postgres_server
from tests.integration import harness, server_in_thread

from holdfast.archive import migrations
from holdfast.cli import main

URL = "HOLDFAST_ARCHIVE__URL"
NAMES = ["0001_keys", "0002_streams", "0003_reports", "0004_seals"]


class Store(msgspec.Struct, frozen=True):
    """An archive that is not made yet: its URL, and where commands say that it is."""

    url: str
    place: str
    folder: Path

    def holdfast(self, *args: str) -> testing.Result:
        return testing.CliRunner().invoke(
            main,
            [*args, "--log-url", f"sqlite:///{self.folder}/log.db"],
            env={URL: self.url},
            catch_exceptions=False,
            prog_name="holdfast",
        )


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        path = tmp_path / "keys.db"
        return Store(f"sqlite:///{path}", str(path), tmp_path)
    server: postgres_server.Server = request.getfixturevalue("postgres")
    where = asyncio.run(server.fresh())
    shown = where.replace(postgres_server.ESCAPED, "***").partition("?")[0]
    return Store(where, shown, tmp_path)


def check_hidden(done: testing.Result) -> None:
    assert postgres_server.ESCAPED not in done.output
    assert postgres_server.PASSWORD not in done.output


def test_the_status_tells_what_is_there_and_what_is_not(store: Store) -> None:
    before = store.holdfast("db", "status")
    assert (before.exit_code, before.stdout.splitlines()[0]) == (0, f"{store.place}: version 0")
    assert before.stdout.count("pending") == len(NAMES)
    assert "holdfast db upgrade" in before.stderr
    done = store.holdfast("db", "upgrade")
    assert (done.exit_code, done.stdout.split(), done.stderr) == (0, NAMES, "")
    after = store.holdfast("db", "status")
    lines = after.stdout.splitlines()
    assert (after.exit_code, after.stderr) == (0, "")
    assert lines[0] == f"{store.place}: version 4"
    assert [line.split()[0] for line in lines[2:]] == NAMES
    assert all(line.endswith("Z") for line in lines[2:])
    again = store.holdfast("db", "upgrade")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == f"{store.place} lacks nothing.\n"
    for one in (before, done, after, again):
        check_hidden(one)


def test_programs_are_told_in_json(store: Store) -> None:
    before = msgspec.json.decode(store.holdfast("db", "status", "--json").stdout)
    assert before == {"place": store.place, "version": 0, "applied": [], "pending": NAMES}
    applied = msgspec.json.decode(store.holdfast("db", "upgrade", "--json").stdout)
    assert [one["name"] for one in applied] == ["keys", "streams", "reports", "seals"]
    after = msgspec.json.decode(store.holdfast("db", "status", "--json").stdout)
    assert after == {"place": store.place, "version": 4, "applied": applied, "pending": []}
    assert msgspec.json.decode(store.holdfast("db", "upgrade", "--json").stdout) == []


def test_a_newer_archive_is_shown_and_not_touched(store: Store) -> None:
    """As it is after a newer version ran: this one knows fewer migrations."""
    with pytest.MonkeyPatch.context() as patched:
        for engine in ("sqlite", "postgres"):
            module = f"holdfast.archive.{engine}.schema.MIGRATIONS"
            known = migrations.load("sqlite" if engine == "sqlite" else "postgres")
            later = migrations.Migration(5, "later", "SELECT 1;")
            patched.setattr(module, (*known, later))
        assert store.holdfast("db", "upgrade").exit_code == 0
    done = store.holdfast("db", "status")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"{store.place}: version 5")
    for command in (("db", "upgrade"), ("keys", "list"), ("keys", "create", "x")):
        refused = store.holdfast(*command)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert f"{store.place} was made by a newer version" in refused.stderr
        assert refused.stderr.endswith("[settings_error]\n")


def test_keys_are_made_listed_and_revoked(store: Store) -> None:
    made = store.holdfast("keys", "create", "web")
    assert made.exit_code == 0
    assert f"kept in {store.place}." in made.stderr
    key = made.stdout.strip()
    listed = store.holdfast("keys", "list")
    assert "web" in listed.stdout
    check_hidden(made)
    check_hidden(listed)
    unknown = store.holdfast("keys", "revoke", "0123456789AB")
    assert f"in {store.place};" in unknown.stderr
    assert store.holdfast("keys", "revoke", key).stdout.endswith("revoked\n")
    assert "revoked" in store.holdfast("keys", "list").stdout


def test_a_node_lets_in_by_the_keys_that_are_there(store: Store) -> None:
    key = store.holdfast("keys", "create", "web").stdout.strip()
    config = harness.configured(f"sqlite:///{store.folder}/log.db", archive={"url": store.url})
    with server_in_thread.running(config) as running:
        target = "/v1/streams/0123456789abcdefghijklmnOP"
        statuses = [
            asyncio.run(harness.ask(running.port, "GET", target, headers)).status
            for headers in ({}, {"Authorization": f"Bearer {key}"})
        ]
    assert statuses == [401, 404]


@pytest.mark.parametrize("command", [("status",), ("upgrade",)])
def test_an_archive_in_memory_has_no_schema(tmp_path: Path, command: tuple[str, ...]) -> None:
    store = Store("memory://", "", tmp_path)
    done = store.holdfast("db", *command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "A schema needs an archive that lasts" in done.stderr


def test_one_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path) -> None:
    store = Store("postgresql://u:hunter2@127.0.0.1:1/d", "", tmp_path)
    for command in (("db", "status"), ("db", "upgrade"), ("keys", "list")):
        done = store.holdfast(*command)
        assert (done.exit_code, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert "postgresql://u:***@127.0.0.1:1/d: " in line
        assert line.endswith("unavailable]")


def test_config_show_tells_the_url_without_its_password(store: Store) -> None:
    done = testing.CliRunner().invoke(main, ["config", "show"], env={URL: store.url})
    assert done.exit_code == 0
    assert "archive.url" in done.stdout
    check_hidden(done)
