"""`keys create`, `keys list` and `keys revoke`, as they are typed; with servers they are in
tests/integration/test_cli_keys.py."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click import shell_completion
from click.testing import CliRunner, Result
from tests.unit.cli import terminals

from holdfast import events, settings
from holdfast.access import keys
from holdfast.archive import base, sqlite
from holdfast.cli import keys as command
from holdfast.cli import main

Run = Callable[..., Result]

KEY = re.compile(r"hfk_([0-9A-Za-z]{12})_[0-9A-Za-z]{43}")
FILE = "holdfast-archive.db"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("create", "web", HOLDFAST_LOG__URL="...")` in a folder and an environment of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})

    def make(*args: str, **environ: str) -> Result:
        return CliRunner().invoke(
            command.commands({}),
            args,
            env=environ,
            prog_name="holdfast keys",
            catch_exceptions=False,
        )

    return make


def made(result: Result) -> str:
    """The key that was printed."""
    assert result.exit_code == 0
    key = result.stdout.removesuffix("\n")
    assert KEY.fullmatch(key)
    return key


def id_of(key: str) -> str:
    return key.split("_")[1]


def kept(file: str = FILE) -> tuple[base.Key, ...]:
    """What is in the archive."""

    async def read() -> base.Keys | None:
        archive = sqlite.SqliteArchive(file)
        await archive.start()
        try:
            return await archive.keys(-1)
        finally:
            await archive.close()

    found = asyncio.run(read())
    return () if found is None else found.keys


def check_failed(done: Result, code: str, *words: str) -> None:
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("holdfast: ")
    assert line.endswith(f" [{code}]")
    for word in words:
        assert word in line


def check_wrong_use(done: Result, *words: str) -> None:
    assert (done.exit_code, done.stdout) == (2, "")
    for word in words:
        assert word in done.stderr.splitlines()[-1]


# create


def test_a_key_is_alone_on_stdout_and_all_else_on_stderr(run: Run, tmp_path: Path) -> None:
    first, second = run("create", "web"), run("create", "web")
    key = made(first)
    place = f"kept in {tmp_path / FILE}."
    assert first.stderr.splitlines() == [
        f"Key {id_of(key)} of default, {place}",
        "It is shown this once. Send it as",
        "  Authorization: Bearer KEY",
        "or put it into HOLDFAST_API_KEY.",
        "It is the first one: from now on nobody is let in without a key.",
    ]
    assert key not in first.stderr
    # A name may be had twice, and only the first key shuts anybody out.
    assert second.stderr == "".join(first.stderr.splitlines(keepends=True)[:4]).replace(
        id_of(key), id_of(made(second))
    )
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert key.encode() not in (tmp_path / FILE).read_bytes()


def test_a_key_in_json_is_one_line_with_all_that_is_known(run: Run) -> None:
    done = run("create", "two", "--json", "--expires", "90d", "--streams", "0")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    (one,) = kept()
    assert KEY.fullmatch(found.pop("key"))
    assert found == {
        "id": one.id,
        "name": "two",
        "tenant": "default",
        "user": "",
        "scopes": ["generate", "read"],
        "created_at": found["created_at"],
        "expires_at": found["expires_at"],
        "revoked_at": None,
        "state": "valid",
        "quota": {"streams": 0},
    }
    moment = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(moment, found["created_at"])
    assert re.fullmatch(moment, found["expires_at"])


def test_every_option_reaches_the_archive(run: Run) -> None:
    args = (
        *("--tenant", "acme", "--user", "Änne Ö/2", "--scope", "admin", "--scope", "read"),
        *("--scope", "admin", "--expires", "1.5h", "--streams", "1", "--connections", "2"),
        *("--requests-per-minute", "3", "--tokens-per-minute", "4", "--tokens-per-day", "5"),
        *("--cost-per-day", "2.50"),
    )
    key = made(run("create", "  the one  ", *args))
    (one,) = kept()
    assert (one.id, one.name, one.tenant, one.user) == (
        id_of(key),
        "  the one  ",
        "acme",
        "Änne Ö/2",
    )
    assert one.scopes == ("read", "admin")
    assert one.expires_at is not None
    assert one.expires_at - one.created_at == 5_400_000
    assert one.quota == base.Quota(1, 2, 3, 4, 5, 2_500_000)
    assert one.revoked_at is None
    listed = json.loads(run("list", "--json").stdout)
    assert listed[0]["quota"]["cost_per_day"] == 2.5


def test_what_is_not_said_is_left_to_the_settings(run: Run) -> None:
    made(run("create", "web"))
    (one,) = kept()
    assert (one.quota, one.expires_at, one.user) == (keys.NO_QUOTA, None, "")
    # 0 is said: it is no limit, whatever the settings have.
    made(run("create", "free", "--tokens-per-day", "0", "--cost-per-day", "0"))
    assert kept()[1].quota == base.Quota(tokens_per_day=0, cost_per_day=0)


def test_an_amount_that_is_too_small_to_count_is_not_without_limit(run: Run) -> None:
    made(run("create", "web", "--cost-per-day", "0.0000001"))
    assert kept()[0].quota.cost_per_day == 1


def test_there_is_an_option_for_every_limit(run: Run) -> None:
    limits = {field.name for field in msgspec.structs.fields(base.Quota)}
    assert limits == set(settings.Quota.model_fields)
    helped = run("create", "--help").stdout
    for name in limits:
        assert f"  --{name.replace('_', '-')} " in helped


@pytest.mark.parametrize(("text", "life"), [("1s", 1_000), ("3650d", 315_360_000_000)])
def test_a_key_lasts_from_a_second_to_ten_years(run: Run, text: str, life: int) -> None:
    done = run("create", "web", "--expires", text)
    made(done)
    (one,) = kept()
    assert one.expires_at is not None
    assert one.expires_at - one.created_at == life
    assert re.search(r", until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ, kept in ", done.stderr)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--scope", "all", "'generate', 'read', 'metrics', 'admin'"),
        ("--scope", "", "'generate', 'read', 'metrics', 'admin'"),
        *(
            ("--expires", wrong, "a duration from 1s to 3650d, such as 90d")
            for wrong in ("soon", "", "0s", "-1d", "999ms", "3651d", "90", "1 2d", "9" * 20 + "d")
        ),
        *(
            ("--streams", wrong, "a whole number from 0 to 1000000000000")
            for wrong in ("-1", "1.5", "many", "", "1000000000001", "0x10", "nan")
        ),
        *(
            ("--cost-per-day", wrong, "an amount from 0 to 1000000000000")
            for wrong in ("-0.5", "nan", "inf", "5 USD", "1e3", "1000000000001")
        ),
        ("--tokens-per-week", "1", "No such option"),
    ],
)
def test_a_wrong_option_is_a_wrong_use(run: Run, option: str, value: str, word: str) -> None:
    check_wrong_use(run("create", "web", option, value), word)
    assert not Path(FILE).exists()


def test_a_key_has_a_name(run: Run) -> None:
    check_wrong_use(run("create"), "Missing argument 'NAME'")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("",), "1 to 100 characters"),
        (("a\nb",), "on one line"),
        (("x" * 101,), "1 to 100 characters"),
        (("a\udcff",), "1 to 100 characters"),  # bytes that are no UTF-8
        (("web", "--user", "a\udcff"), "200 printable characters"),
        (("web", "--tenant", "a\udcff"), "1 to 64 letters"),
        (("web", "--tenant", ""), "tenant"),
        (("web", "--tenant", "a/b"), "1 to 64 letters"),
        (("web", "--tenant", "x" * 65), "1 to 64 letters"),
        (("web", "--tenant", "Ä"), "1 to 64 letters"),
        (("web", "--user", "a\nb"), "printable"),
        (("web", "--user", "x" * 201), "at most 200"),
    ],
)
def test_a_key_that_cannot_be_made_is_one_line(run: Run, args: tuple[str, ...], word: str) -> None:
    check_failed(run("create", *args), "invalid_field", word)
    assert kept() == ()


# Which archive


def test_the_archive_lies_beside_the_log_that_is_named(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    Path("holdfast.toml").write_text(f'[log]\nurl = "sqlite:///{folder}/mine.db"\n')
    Path("other.toml").write_text('[archive]\nurl = "sqlite:///other%20one.db"\n')
    places = {
        folder / "mine-archive.db": ((), {}),
        tmp_path / "other one.db": (("--config", "other.toml"), {}),
        tmp_path / "x-archive.db": (("--log-url", "sqlite:///x.db"), {}),
        tmp_path / "y.db": ((), {"HOLDFAST_ARCHIVE__URL": "sqlite:///y.db"}),
    }
    for file, (args, environ) in places.items():
        assert not file.exists()
        key = made(run("create", "web", *args, **environ))
        (one,) = kept(str(file))
        assert one.id == id_of(key)
        assert [
            row["id"] for row in json.loads(run("list", "--json", *args, **environ).stdout)
        ] == [one.id]
        assert run("revoke", one.id, *args, **environ).stdout == f"{one.id} revoked\n"


@pytest.mark.parametrize(
    ("args", "environ"),
    [
        (("--log-url", "memory://"), {}),
        ((), {"HOLDFAST_LOG__URL": "memory://"}),
        ((), {"HOLDFAST_ARCHIVE__URL": "memory://"}),
    ],
)
@pytest.mark.parametrize("what", [("create", "web"), ("list",), ("revoke", "0" * 12)])
def test_an_archive_that_forgets_takes_no_keys(
    run: Run, what: tuple[str, ...], args: tuple[str, ...], environ: dict[str, str]
) -> None:
    check_failed(run(*what, *args, **environ), "settings_error", "log.url", "sqlite:///FILE")


@pytest.mark.parametrize(
    ("url", "code", "word"),
    [
        ("redis://x", "settings_error", "sqlite:///relative.db"),
        ("sqlite:///none/x.db", "keys_unavailable", "the folder must exist"),
        ("sqlite:///folder", "keys_unavailable", "folder"),
        ("sqlite:///letter.txt", "settings_error", "no database"),
    ],
)
def test_an_archive_that_cannot_be_used_is_one_line(
    run: Run, url: str, code: str, word: str
) -> None:
    Path("folder").mkdir()
    Path("letter.txt").write_text("Dear grandmother, " * 1000)
    check_failed(run("create", "web", HOLDFAST_ARCHIVE__URL=url), code, word)


def test_wrong_settings_are_told(run: Run) -> None:
    Path("holdfast.toml").write_text("[server]\nprot = 1\n")
    for what in (("create", "web"), ("list",), ("revoke", "x")):
        check_failed(run(*what), "unknown_setting", "server.port")
    check_failed(run("list", "--config", "none.toml"), "settings_error", "none.toml")


# list


def test_none_is_listed_and_no_file_is_made(run: Run, tmp_path: Path) -> None:
    done = run("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == (
        f"There is no key in {tmp_path / FILE} yet; `holdfast keys create NAME` makes one.\n"
    )
    as_json = run("list", "--json")
    assert (as_json.exit_code, as_json.stdout, as_json.stderr) == (0, "[]\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_the_oldest_first_and_nothing_secret(run: Run) -> None:
    tokens = [made(run("create", name)) for name in ("b", "a", "c")]
    run("revoke", id_of(tokens[1]))
    done = run("list")
    assert (done.exit_code, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "NAME", "TENANT", "SCOPES", "UNTIL", "STATE"]
    states = [("b", "valid"), ("a", "revoked"), ("c", "valid")]
    for row, token, (name, state) in zip(rows, tokens, states, strict=True):
        pattern = rf"{id_of(token)}  {name} +default  generate read  +{state}"
        assert re.fullmatch(pattern, row)
        assert token.split("_")[2] not in done.stdout


def test_costs_without_prices_are_told(run: Run) -> None:
    """The settings refuse it; a key may come first."""
    said = run("create", "a", "--cost-per-day", "2").stderr
    assert "No model has a price: all it asks for is refused until [prices] says." in said
    assert "a price" not in run("create", "a", "--cost-per-day", "0").stderr
    Path("holdfast.toml").write_text('[prices.all]\nmodels = ["*"]\ninput = 1\noutput = 1\n')
    assert "a price" not in run("create", "a", "--cost-per-day", "2").stderr


def test_the_table_tells_until_when(run: Run) -> None:
    made(run("create", "a", "--expires", "90d"))
    (row,) = json.loads(run("list", "--json").stdout)
    assert run("list").stdout.splitlines()[1].endswith(f"read  {row['expires_at'][:10]}  valid")


def test_the_table_fits_whatever_the_names_are(run: Run) -> None:
    scopes = [word for scope in ("generate", "read", "admin") for word in ("--scope", scope)]
    wide = ("--tenant", "t" * 64, "--user", "u" * 200)
    token = made(run("create", "n" * 100, *wide, *scopes))
    made(run("create", "nightly", "--tenant", "acme", "--user", "änne"))
    run("revoke", id_of(token))
    lines = run("list").stdout.splitlines()
    assert max(map(len, lines)) == 80
    assert "  nnnnnnnnnnnn…  ttttttttttttt…  generate read admin  " in lines[1]
    assert "  nightly        acme/änne       generate read        " in lines[2]


def test_a_name_does_not_command_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that another version took may be."""

    async def keep() -> None:
        archive = sqlite.SqliteArchive(FILE)
        await archive.start()
        name = "a\u2028b\x1b[2J\nc"
        await archive.add(base.Key("0" * 12, b"", name, "t", "", ("read",), 0, keys.NO_QUOTA))
        await archive.close()

    asyncio.run(keep())
    streams = terminals.Streams(monkeypatch, out=True, err=True)
    main(["keys", "list"], prog_name="holdfast", standalone_mode=False)
    _, row = streams.out.splitlines()
    assert row.isprintable()
    assert row.startswith(f"{'0' * 12}  a b [2J c  t  ")


def test_a_key_that_has_expired_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made(run("create", "web", "--expires", "1h"))
    now = events.now_ms()
    for later, state in ((3_599_000, "valid"), (3_600_001, "expired")):
        monkeypatch.setattr(events, "now_ms", lambda later=later: now + later)
        assert [row["state"] for row in json.loads(run("list", "--json").stdout)] == [state]
        assert run("list").stdout.splitlines()[1].endswith(f"  {state}")
    run("revoke", kept()[0].id)
    assert json.loads(run("list", "--json").stdout)[0]["state"] == "revoked"


# revoke


def test_a_key_is_revoked_by_its_id(run: Run) -> None:
    key, other = made(run("create", "web")), made(run("create", "other"))
    done = run("revoke", id_of(key))
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{id_of(key)} revoked\n", "")
    states = {row["id"]: row["state"] for row in json.loads(run("list", "--json").stdout)}
    assert states == {id_of(key): "revoked", id_of(other): "valid"}


def test_a_key_that_was_revoked_stays_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    key = made(run("create", "web"))
    monkeypatch.setattr(events, "now_ms", lambda: 1_800_000_000_000)
    run("revoke", id_of(key))
    monkeypatch.setattr(events, "now_ms", lambda: 1_800_000_009_000)
    again = run("revoke", id_of(key))
    assert (again.exit_code, again.stdout) == (0, f"{id_of(key)} revoked\n")
    assert again.stderr == "It was revoked before, at 2027-01-15T08:00:00Z.\n"
    as_json = run("revoke", "--json", id_of(key))
    assert (as_json.exit_code, as_json.stderr) == (0, "")
    assert json.loads(as_json.stdout)["revoked_at"] == "2027-01-15T08:00:00Z"
    assert json.loads(as_json.stdout)["state"] == "revoked"


@pytest.mark.parametrize(
    "paste",
    ["{key}", " {key}\n", "Authorization: Bearer {key}", '"{key}"', "{begin}", "{begin}_", "{cut}"],
)
def test_a_whole_key_will_do_as_somebody_found_it(run: Run, paste: str) -> None:
    key = made(run("create", "web"))
    given = paste.format(key=key, begin=key[:16], cut=key[:40])
    done = run("revoke", given)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{id_of(key)} revoked\n", "")


def test_an_id_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    made(run("create", "web"))
    place = str(tmp_path / FILE)
    check_failed(run("revoke", "0" * 12), "invalid_field", f"no key {'0' * 12} in {place}", "list")


def test_what_may_be_a_secret_is_not_repeated(run: Run) -> None:
    made(run("create", "web"))
    _, other = keys.new_token()
    check_failed(run("revoke", other), "invalid_field", f"no key {id_of(other)} in ")
    for secret in ("sk-very-secret", other.replace("_", ""), other[:15]):
        done = run("revoke", secret)
        check_failed(done, "invalid_field", "no key of this id in ")
        assert secret not in done.stderr
        assert other.split("_")[2] not in done.stderr


def test_a_name_in_the_place_of_the_id_is_told_with_the_id(run: Run) -> None:
    run("revoke", id_of(made(run("create", "web"))))  # of which there is nothing to say any more
    tokens = [made(run("create", "web")) for _ in range(5)]
    done = run("revoke", "web")
    check_failed(done, "invalid_field", "by its id", "the name web has ")
    ids = [id_of(token) for token in tokens]
    assert [id for id in ids if id in done.stderr] == ids[: command.MAX_NAMED]
    assert sum(key.revoked_at is None for key in kept()) == len(ids)
    # A name that looks like an id is none.
    made(run("create", "0" * 12))
    check_failed(run("revoke", "0" * 12), "invalid_field", f"the name {'0' * 12} has ")


def test_revoking_makes_no_file(run: Run, tmp_path: Path) -> None:
    for given in ("0" * 12, "web"):
        check_failed(run("revoke", given), "invalid_field", str(tmp_path / FILE))
    assert list(tmp_path.iterdir()) == []


# Help


def test_help_is_for_who_knows_nothing_yet(run: Run) -> None:
    helped = run("--help").stdout
    for word in ("Without any key", "revoked by itself", "beside the event log", "within seconds"):
        assert word in " ".join(helped.split())
    for name in ("create", "list", "revoke"):
        assert re.search(rf"^  {name} +[A-Z]", helped, re.MULTILINE)
        assert f"  holdfast keys {name}" in helped
        own = run(name, "--help").stdout
        assert f"Examples:\n  holdfast keys {name}" in own
        for option in ("--config", "--log-url", "--json"):
            assert f"  {option} " in own
    assert "keys" in CliRunner().invoke(main, ["--help"]).stdout


@pytest.mark.parametrize(
    ("args", "begun", "found"),
    [
        (["keys"], "", ["create", "list", "revoke"]),
        (["keys", "create"], "--to", ["--tokens-per-minute", "--tokens-per-day"]),
        (["keys", "create", "--scope"], "", ["generate", "read", "metrics", "admin"]),
    ],
)
def test_a_shell_completes_it(args: list[str], begun: str, found: list[str]) -> None:
    complete = shell_completion.ShellComplete(main, {}, "holdfast", "_HOLDFAST_COMPLETE")
    assert [item.value for item in complete.get_completions(args, begun)] == found


def test_a_wrong_command_is_a_wrong_use(run: Run) -> None:
    check_wrong_use(run("delete", "x"), "No such command")
    check_wrong_use(run("revoke"), "Missing argument 'ID'")
    check_wrong_use(run("list", "x"), "unexpected extra argument")
